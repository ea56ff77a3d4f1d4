"""Makes of a tool's arguments the request that the operation behind it is called with.

Pure. Stricter than WSO2, on purpose: what an argument may become in a path, a query or a header is never left to
chance, and an argument that cannot arrive as the tool's schema says is refused before anybody is asked.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import quote, urlencode

from local_gateway.gateway.path_normalization import decode_path
from wso2_terms.tools import BODY, PARAMETER_LOCATIONS, ParameterLocation, remove_prefix

# What a header's value may hold (RFC 9110, 5.5), but for blanks at either end and anything beyond ASCII.
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
INVALID_PATH_ARGUMENT = "An argument cannot be a part of the path"

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


@dataclass(frozen=True, slots=True)
class ToolArgument:
    """One argument of a tool. type: as JSON Schema names it, None for any plain value. choices: empty for any."""

    name: str
    location: ParameterLocation | Literal["body"]
    type: str | None
    choices: tuple[Any, ...]
    is_required: bool


@dataclass(frozen=True, slots=True)
class BackendRequest:
    """What the operation is asked. path: below the API's context, with the query, encoded; query: `?` and query."""

    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class InvalidArguments:
    """Why a tool cannot be called with these arguments, in one sentence; never repeats a value."""

    reason: str


def parse_arguments(schema_definition: str) -> tuple[ToolArgument, ...]:
    """Read a stored schema, whose arguments' names begin with their place."""
    schema = cast("dict[str, Any]", json.loads(schema_definition))
    required: list[str] = schema.get("required") or []
    properties = cast("dict[str, dict[str, Any]]", schema.get("properties") or {})
    return tuple(
        ToolArgument(
            name=remove_prefix(stored),
            location=_find_location(stored),
            type=kind if isinstance(kind := described.get("type"), str) else None,
            choices=tuple(described.get("enum") or ()),
            is_required=stored in required or stored.startswith("path_"),
        )
        for stored, described in properties.items()
        if stored == BODY or remove_prefix(stored) != stored
    )


def build_backend_request(
    target: str, arguments: tuple[ToolArgument, ...], values: Mapping[str, Any], forbidden_headers: frozenset[str]
) -> BackendRequest | InvalidArguments:
    """Put arguments where they belong.

    Args:
        target: the operation's path with its variables: `/decisions/{decision_id}`.
        arguments: what the tool takes.
        values: what the caller gives, by name.
        forbidden_headers: names in lower case that no argument may set.
    """
    if unknown := values.keys() - {argument.name for argument in arguments}:
        name = min(unknown)
        shown = name if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) else "of that name"
        return InvalidArguments(f"The tool takes no argument {shown}")
    for argument in arguments:
        if reason := _validate_argument(argument, values.get(argument.name), forbidden_headers):
            return InvalidArguments(f"The argument {argument.name} {reason}")
    pairs = [(argument, values[argument.name]) for argument in arguments if values.get(argument.name) is not None]
    path = target
    for name, text in _select_texts("path", pairs):
        path = path.replace(f"{{{name}}}", quote(text, safe=""))
    # The rule for paths that come from outside holds for those that are made here: one reading, no way up or down.
    if decode_path(path) is None:
        return InvalidArguments(INVALID_PATH_ARGUMENT)
    query = urlencode(_select_texts("query", pairs), quote_via=quote)
    body = next((json.dumps(value).encode() for argument, value in pairs if argument.location == "body"), None)
    return BackendRequest(path, f"?{query}" if query else "", dict(_select_texts("header", pairs)), body)


def _select_texts(location: ParameterLocation, pairs: list[tuple[ToolArgument, Any]]) -> list[tuple[str, str]]:
    return [(argument.name, _format_value(value)) for argument, value in pairs if argument.location == location]


def _find_location(stored: str) -> ParameterLocation | Literal["body"]:
    for place in PARAMETER_LOCATIONS:
        if stored.startswith(f"{place}_"):
            return place
    return "body"


def _validate_argument(argument: ToolArgument, value: object, forbidden_headers: frozenset[str]) -> str | None:
    if value is None:
        return "is missing" if argument.is_required else None
    if argument.location == "body":
        return None if isinstance(value, dict) else "is no object"
    if not _has_type(value, argument.type):
        return f"is no {argument.type}" if argument.type in _TYPES else "is no text, number or boolean"
    if not _is_utf8(value):
        return "is no text that UTF-8 can carry"
    if argument.choices and value not in argument.choices:
        return f"is none of {', '.join(str(choice) for choice in argument.choices)}"
    if argument.location == "path" and value == "":
        return "is empty"
    if argument.location == "header":
        if argument.name.lower() in forbidden_headers:
            return "is a header that the gateway sets itself"
        if not _HEADER_VALUE.fullmatch(_format_value(value)):
            return "holds what a header cannot carry"
    return None


def _has_type(value: object, name: str | None) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    kinds = _TYPES.get(name or "", (str, int, float, bool))
    # bool is an int to Python and none to JSON Schema.
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _is_utf8(value: object) -> bool:
    # JSON can write half of a surrogate pair, which no encoding of a request can.
    return not isinstance(value, str) or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _format_value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
