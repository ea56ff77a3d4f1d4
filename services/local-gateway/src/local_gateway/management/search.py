"""Finds APIs and MCP servers as the Publisher's search does.

As far as `name:` and `version:` go; other words are sought in names. Pure.
Source: WSO2 API Manager 4.6, publisher-api.yaml (`query` of GET /apis).
"""

from collections.abc import Iterable
from typing import TypeVar

from local_gateway.state import ProductRecord

P = TypeVar("P", bound=ProductRecord)


def search_products(products: Iterable[P], query: str) -> list[P]:
    """Return what a query matches: parts of names, whole versions, in whatever case."""
    parts = dict(part.split(":", 1) for part in query.split() if ":" in part)
    name, version = parts.get("name", "").lower(), parts.get("version", "")
    text = " ".join(part for part in query.split() if ":" not in part).lower()

    def matches(product: P) -> bool:
        found = product.name.lower()
        return name in found and text in found and version in ("", product.version)

    return [product for product in products if matches(product)]
