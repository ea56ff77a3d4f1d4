"""Finds the API and resource that a call means.

What is matched is the decoded path, and what is sent on is built from what was matched, so that no second reading
of the path can lead a call to another resource than the one it was allowed for. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from local_gateway.gateway.snapshot import Resource, ServedApi
from wso2_terms.codes import METHOD_NOT_ALLOWED, NO_RESOURCE, NOT_FOUND, Fault

# What stands in a path without being percent-encoded, besides letters and digits (RFC 3986, pchar), but for the
# semicolon: some servers cut it off with what follows, so two readers may see two paths.
_PLAIN = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@%/-]*")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Encoded: slash, backslash, percent sign, semicolon and controls. Each is read in different ways by different servers.
_AMBIGUOUS_ESCAPE = re.compile(r"%(?:2f|5c|25|3b|0[0-9a-f]|1[0-9a-f]|7f)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Match:
    """The resource that a call means. path: what the backend is asked for, encoded."""

    api: ServedApi
    resource: Resource
    path: str


@dataclass(frozen=True, slots=True)
class Miss:
    """Why there is no match, and the API when at least that is known."""

    fault: Fault
    api: ServedApi | None


class Router:
    """Looks paths up in what is deployed."""

    def __init__(self, apis: Iterable[ServedApi]) -> None:
        self._prefixes: list[tuple[str, ServedApi]] = []
        self._plain: dict[str, dict[str, Match]] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], Resource]]] = {}
        for api in apis:
            self._add(api, api.context)
            if api.is_default_version:
                self._add(api, api.context.removesuffix(f"/{api.version}"))
        # The longest prefix first: the context of one API may begin with that of another.
        self._prefixes.sort(key=lambda entry: len(entry[0]), reverse=True)

    def find(self, verb: str, raw_path: str) -> Match | Miss:
        """Find what a call means.

        Args:
            verb: HTTP method.
            raw_path: path as it came, without the query.
        """
        known = self._plain.get(raw_path)
        if known is not None:
            match = known.get(verb)
            return match if match is not None else Miss(METHOD_NOT_ALLOWED, next(iter(known.values())).api)
        path = decoded_path(raw_path)
        if path is None:
            return Miss(NOT_FOUND, None)
        for prefix, api in self._prefixes:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                return self._find_in(api, prefix, path[len(prefix) :], verb)
        return Miss(NOT_FOUND, None)

    def _find_in(self, api: ServedApi, prefix: str, rest: str, verb: str) -> Match | Miss:
        plain: Mapping[str, Match] = self._plain.get(prefix + rest, {})
        if verb in plain:
            return plain[verb]
        fitting = [resource for pattern, resource in self._patterns[api.context] if pattern.fullmatch(rest)]
        for resource in fitting:
            if resource.verb == verb:
                return Match(api, resource, quote(rest, safe="/!$&'()*+,=:@"))
        return Miss(METHOD_NOT_ALLOWED if plain or fitting else NO_RESOURCE, api)

    def _add(self, api: ServedApi, prefix: str) -> None:
        self._prefixes.append((prefix, api))
        patterns: list[tuple[re.Pattern[str], Resource]] = []
        for resource in api.resources:
            if "{" in resource.target or "*" in resource.target:
                patterns.append((_pattern(resource.target), resource))
            else:
                self._plain.setdefault(prefix + resource.target, {})[resource.verb] = Match(
                    api, resource, resource.target
                )
        # Templates before wildcards, longer ones before shorter ones.
        patterns.sort(key=lambda entry: ("*" in entry[1].target, -len(entry[1].target)))
        self._patterns[api.context] = patterns


def decoded_path(raw_path: str) -> str | None:
    """Decode a path once, None where it can be read in more than one way.

    >>> decoded_path("/solar/1.0.0/%73olar-status")
    '/solar/1.0.0/solar-status'
    >>> decoded_path("/solar/1.0.0/..%2fadmin") is None
    True
    """
    if not raw_path.startswith("/") or not _PLAIN.fullmatch(raw_path):
        return None
    if _BROKEN_ESCAPE.search(raw_path) or _AMBIGUOUS_ESCAPE.search(raw_path):
        return None
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return None
    segments = path.split("/")[1:]
    # An empty last segment is a trailing slash, which is one reading; all else invites a second one.
    if any(segment in (".", "..") for segment in segments) or "" in segments[:-1]:
        return None
    return path


def _pattern(target: str) -> re.Pattern[str]:
    body, wildcard = (target.removesuffix("/*"), "(?:/.*)?") if target.endswith("/*") else (target, "")
    parts = re.split(r"(\{[^/{}]*\}|\*)", body)
    return re.compile(
        "".join("[^/]+" if part.startswith("{") else "[^/]*" if part == "*" else re.escape(part) for part in parts)
        + wildcard
    )
