"""Finds APIs as the Publisher's search does, as far as `name:` and `version:` go; other words are sought in names.

Pure. Source: WSO2 API Manager 4.6, publisher-api.yaml (`query` of GET /apis).
"""

from collections.abc import Iterable

from local_gateway.state import Api


def search(apis: Iterable[Api], query: str) -> list[Api]:
    """Return the APIs that a query matches: parts of names, whole versions, in whatever case."""
    parts = dict(part.split(":", 1) for part in query.split() if ":" in part)
    name, version = parts.get("name", "").lower(), parts.get("version", "")
    text = " ".join(part for part in query.split() if ":" not in part).lower()

    def matches(api: Api) -> bool:
        found = api.name.lower()
        return name in found and text in found and version in ("", api.version)

    return [api for api in apis if matches(api)]
