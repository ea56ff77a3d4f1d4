"""Builds the backend request of a tool call from the tool's arguments.

Stricter than WSO2 on purpose: an argument that cannot be sent as the tool's schema declares it is rejected before the
backend is called.
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

# Field values of RFC 9110, 5.5, without leading or trailing blanks and without characters beyond ASCII.
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
    """One argument of a tool."""

    name: str
    """Name without the prefix of its location."""

    location: ParameterLocation | Literal["body"]
    """Part of the request that carries the argument."""

    type: str | None
    """JSON Schema type, None for any text, number or boolean."""

    choices: tuple[Any, ...]
    """Allowed values (`enum`), empty for any."""

    is_required: bool
    """A call without the argument is rejected."""


@dataclass(frozen=True, slots=True)
class BackendRequest:
    """Request that a tool call becomes."""

    path: str
    """Encoded path below the API's context."""

    query: str = ""
    """Encoded query with its `?`, empty if there is none."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Headers set by arguments."""

    body: bytes | None = None
    """JSON body, None if the operation has none."""


@dataclass(frozen=True, slots=True)
class InvalidArguments:
    """Why a tool cannot be called with the given arguments."""

    reason: str
    """One sentence; never contains a value."""


def parse_arguments(schema_definition: str) -> tuple[ToolArgument, ...]:
    """Parse a stored tool schema, whose argument names start with their location."""
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
    """Build the request of an operation from the arguments of a tool call.

    Args:
        target: Path template of the operation, e.g. `/decisions/{decision_id}`.
        arguments: Arguments that the tool takes.
        values: Values of the call by argument name.
        forbidden_headers: Header names in lower case that no argument may set.
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
    # Paths from arguments follow the rule for paths from clients: unambiguous and without dot segments.
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
    # In Python bool is a subclass of int, in JSON Schema a boolean is not an integer.
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _is_utf8(value: object) -> bool:
    # JSON can contain an unpaired surrogate, which UTF-8 cannot encode.
    return not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value)


def _format_value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
