"""Finds the API or MCP server and the resource that a call addresses.

The decoded path is matched, and the path for the backend is built from the match, so that no second interpretation of
the path can lead a call to another resource than the authorized one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from local_gateway.gateway.path_normalization import decode_path
from local_gateway.gateway.routing_model import GatewayProduct, Resource
from wso2_terms.codes import METHOD_NOT_ALLOWED, NO_RESOURCE, NOT_FOUND, Fault


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """The resource that a call addresses."""

    product: GatewayProduct
    """The API or MCP server."""

    resource: Resource
    path: str
    """Encoded path for the backend, below its URL."""


@dataclass(frozen=True, slots=True)
class RouteNotFound:
    """Why no resource matches."""

    fault: Fault
    """The fault to return."""

    product: GatewayProduct | None
    """The API or MCP server, if at least its context matches."""


class Router:
    """Looks up paths among the deployed products."""

    def __init__(self, products: Iterable[GatewayProduct]) -> None:
        self._prefixes: list[tuple[str, GatewayProduct]] = []
        self._plain: dict[str, dict[str, RouteMatch]] = {}
        self._patterns: dict[str, list[tuple[re.Pattern[str], Resource]]] = {}
        for api in products:
            self._add(api, api.context)
            if api.is_default_version:
                self._add(api, api.context.removesuffix(f"/{api.version}"))
        # Longest prefix first: the context of one API may be a prefix of another's.
        self._prefixes.sort(key=lambda entry: len(entry[0]), reverse=True)

    def find(self, verb: str, raw_path: str) -> RouteMatch | RouteNotFound:
        """Find the resource that a call addresses.

        Args:
            verb: HTTP method.
            raw_path: Path as received, without the query.
        """
        matches = self._plain.get(raw_path)
        if matches is not None:
            match = matches.get(verb)
            return (
                match if match is not None else RouteNotFound(METHOD_NOT_ALLOWED, next(iter(matches.values())).product)
            )
        path = decode_path(raw_path)
        if path is None:
            return RouteNotFound(NOT_FOUND, None)
        for prefix, api in self._prefixes:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                return self._find_in(api, prefix, path[len(prefix) :], verb)
        return RouteNotFound(NOT_FOUND, None)

    def _find_in(self, product: GatewayProduct, prefix: str, rest: str, verb: str) -> RouteMatch | RouteNotFound:
        plain: Mapping[str, RouteMatch] = self._plain.get(prefix + rest, {})
        if verb in plain:
            return plain[verb]
        resources = [resource for pattern, resource in self._patterns[product.context] if pattern.fullmatch(rest)]
        for resource in resources:
            if resource.verb == verb:
                return RouteMatch(product, resource, quote(rest, safe="/!$&'()*+,=:@"))
        return RouteNotFound(METHOD_NOT_ALLOWED if plain or resources else NO_RESOURCE, product)

    def _add(self, product: GatewayProduct, prefix: str) -> None:
        self._prefixes.append((prefix, product))
        patterns: list[tuple[re.Pattern[str], Resource]] = []
        for resource in product.resources:
            if "{" in resource.target or "*" in resource.target:
                patterns.append((_compile_target(resource.target), resource))
            else:
                self._plain.setdefault(prefix + resource.target, {})[resource.verb] = RouteMatch(
                    product, resource, resource.target
                )
        # Templates before wildcards, longer ones before shorter ones.
        patterns.sort(key=lambda entry: ("*" in entry[1].target, -len(entry[1].target)))
        self._patterns[product.context] = patterns


def _compile_target(target: str) -> re.Pattern[str]:
    body, wildcard = (target.removesuffix("/*"), "(?:/.*)?") if target.endswith("/*") else (target, "")
    parts = re.split(r"(\{[^/{}]*\}|\*)", body)
    return re.compile(
        "".join("[^/]+" if part.startswith("{") else "[^/]*" if part == "*" else re.escape(part) for part in parts)
        + wildcard
    )
