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

from local_gateway.gateway.paths import decoded_path
from wso2_terms.tools import BODY, PARAMETER_LOCATIONS, ParameterLocation, remove_prefix

# What a header's value may hold (RFC 9110, 5.5), but for blanks at either end and anything beyond ASCII.
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
NO_PART_OF_A_PATH = "An argument cannot be a part of the path"

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a tool. type: as JSON Schema names it, None for any plain value. choices: empty for any."""

    name: str
    place: ParameterLocation | Literal["body"]
    type: str | None
    choices: tuple[Any, ...]
    is_required: bool


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What the operation is asked. path: below the API's context, with the query, encoded; query: `?` and query."""

    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a tool cannot be called with these arguments, in one sentence; never repeats a value."""

    reason: str


def arguments_of(schema_definition: str) -> tuple[Argument, ...]:
    """Read a stored schema, whose arguments' names begin with their place."""
    schema = cast("dict[str, Any]", json.loads(schema_definition))
    required: list[str] = schema.get("required") or []
    properties = cast("dict[str, dict[str, Any]]", schema.get("properties") or {})
    return tuple(
        Argument(
            name=remove_prefix(stored),
            place=_place(stored),
            type=kind if isinstance(kind := described.get("type"), str) else None,
            choices=tuple(described.get("enum") or ()),
            is_required=stored in required or stored.startswith("path_"),
        )
        for stored, described in properties.items()
        if stored == BODY or remove_prefix(stored) != stored
    )


def outgoing(
    target: str, arguments: tuple[Argument, ...], given: Mapping[str, Any], forbidden_headers: frozenset[str]
) -> Outgoing | Unusable:
    """Put arguments where they belong.

    Args:
        target: the operation's path with its variables: `/decisions/{decision_id}`.
        arguments: what the tool takes.
        given: what the caller gives, by name.
        forbidden_headers: names in lower case that no argument may set.
    """
    if unknown := given.keys() - {argument.name for argument in arguments}:
        return Unusable(f"The tool takes no argument {_told(min(unknown))}")
    for argument in arguments:
        if reason := _wrong(argument, given.get(argument.name), forbidden_headers):
            return Unusable(f"The argument {argument.name} {reason}")
    values = [(argument, given[argument.name]) for argument in arguments if given.get(argument.name) is not None]
    path = target
    for name, text in _at("path", values):
        path = path.replace(f"{{{name}}}", quote(text, safe=""))
    # The rule for paths that come from outside holds for those that are made here: one reading, no way up or down.
    if decoded_path(path) is None:
        return Unusable(NO_PART_OF_A_PATH)
    query = urlencode(_at("query", values), quote_via=quote)
    body = next((json.dumps(value).encode() for argument, value in values if argument.place == "body"), None)
    return Outgoing(path, f"?{query}" if query else "", dict(_at("header", values)), body)


def _at(place: ParameterLocation, values: list[tuple[Argument, Any]]) -> list[tuple[str, str]]:
    return [(argument.name, _text(value)) for argument, value in values if argument.place == place]


def _place(stored: str) -> ParameterLocation | Literal["body"]:
    for place in PARAMETER_LOCATIONS:
        if stored.startswith(f"{place}_"):
            return place
    return "body"


def _wrong(argument: Argument, value: object, forbidden_headers: frozenset[str]) -> str | None:
    if value is None:
        return "is missing" if argument.is_required else None
    if argument.place == "body":
        return None if isinstance(value, dict) else "is no object"
    if not _is_of_type(value, argument.type):
        return f"is no {argument.type}" if argument.type in _TYPES else "is no text, number or boolean"
    if not _is_utf8(value):
        return "is no text that UTF-8 can carry"
    if argument.choices and value not in argument.choices:
        return f"is none of {', '.join(str(choice) for choice in argument.choices)}"
    if argument.place == "path" and value == "":
        return "is empty"
    if argument.place == "header":
        if argument.name.lower() in forbidden_headers:
            return "is a header that the gateway sets itself"
        if not _HEADER_VALUE.fullmatch(_text(value)):
            return "holds what a header cannot carry"
    return None


def _is_of_type(value: object, name: str | None) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    kinds = _TYPES.get(name or "", (str, int, float, bool))
    # bool is an int to Python and none to JSON Schema.
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _is_utf8(value: object) -> bool:
    # JSON can write half of a surrogate pair, which no encoding of a request can.
    return not isinstance(value, str) or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _told(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) else "of that name"
