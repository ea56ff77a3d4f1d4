"""Payloads that break the standard's JSON Schema in small things: what is clear in them is kept, the rest left out.

The same for every message of every version: each error of the schema says where it is, and what a value must
be there. Nothing is guessed: a repair never changes an identifier, a status, or what a meter value measures.

Source: chargers in the field; each kind is named in docs/chargers.md.
"""

import copy
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias, cast

_Path: TypeAlias = tuple[str | int, ...]

_MOST_ERRORS = 5_000
"""A payload with more loses the list that has most of them, or is refused, so that one message takes a bounded time."""
_MOST_ROUNDS = 6
_MOST_REASONS = 3
_NAME_LENGTH = 40
_REMOVED = object()
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,18})?")
_IDENTIFIERS = frozenset({"idTag", "parentIdTag", "idToken", "transactionId", "key", "chargingProfileId"})
"""Part of one is another one: these are never cut."""
_STAND_INS: dict[str, Any] = {
    "errorCode": "NoError",
    "reason": "Unknown",
    "triggerReason": "AbnormalCondition",
    "readonly": False,
    "chargePointVendor": "",
    "chargePointModel": "",
    "vendorName": "",
    "model": "",
}
"""Values of fields that the standard demands and on which nothing depends here: some chargers leave them out, or have
words of their own for them."""
_OTHERS = ("OtherError", "Other")
_KINDS = {str: "text", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}


def repair(payload: Any, validator: Any) -> tuple[Any, tuple[str, ...]] | None:
    """A payload as the schema would have it, and what was wrong with it, for people.

    Args:
        payload: as it came; it is not changed.
        validator: a `jsonschema` validator of the message's schema.

    Returns:
        None where nothing is wrong, or where it cannot be understood.
    """
    said: dict[str, None] = {}
    repaired: Any = copy.deepcopy(payload)
    for _ in range(_MOST_ROUNDS):
        errors = list(islice(cast(Iterator[Any], validator.iter_errors(repaired)), _MOST_ERRORS))
        if not errors:
            return (repaired, tuple(said)[:_MOST_REASONS]) if said else None
        if len(errors) == _MOST_ERRORS:
            repaired = _without_worst_list(repaired, errors, validator.schema, said)
        else:
            repaired = _with_repairs(repaired, errors, said)
        if repaired is _REMOVED:
            return None
    return None


def faults(payload: Any, validator: Any) -> tuple[str, ...]:
    """What is wrong with a payload, for people."""
    return tuple(dict.fromkeys(_reasons(islice(validator.iter_errors(payload), _MOST_ERRORS))))[:_MOST_REASONS]


def _with_repairs(payload: Any, errors: list[Any], said: dict[str, None]) -> Any:
    removed: set[_Path] = set()
    said.update(dict.fromkeys(_reasons(errors)))
    for error in errors:
        path: _Path = tuple(error.absolute_path)
        value = _repair(error, path)
        if value is _REMOVED:
            removed.add(_removable(payload, path))
        elif not path:
            payload = value
        else:
            _at(payload, path[:-1])[cast(Any, path[-1])] = value
    # From the back, so that the places of list items before them stay.
    for path in sorted(removed, key=lambda one: [(str(type(step)), step) for step in one], reverse=True):
        if not path:
            return _REMOVED
        parent: Any = _at(payload, path[:-1])
        if isinstance(parent, list) or path[-1] in parent:
            del parent[cast(Any, path[-1])]
    return payload


def _without_worst_list(payload: Any, errors: list[Any], schema: Any, said: dict[str, None]) -> Any:
    """The payload without the optional list in which most errors are, such as the samples of a whole session."""
    found = Counter(error.absolute_path[0] for error in errors if error.absolute_path)
    name, _ = next(iter(found.most_common(1)), ("", 0))
    fields = cast(dict[str, Any], payload) if isinstance(payload, dict) else {}
    if name in cast(dict[str, Any], schema).get("required", ()) or not isinstance(fields.get(name), list):
        return _REMOVED
    said[f"{_printable(name)}: left out, as it breaks the schema {_MOST_ERRORS:,} times and more"] = None
    return {key: value for key, value in fields.items() if key != name}


def _removable(payload: Any, path: _Path) -> _Path:
    """What goes with a value that cannot be understood.

    The list item that it is part of, as what is left of the item would mean something else; else the field alone. What
    is null was never said, and goes alone.
    """
    if path and _at(payload, path) is None:
        return path
    for length in range(len(path), 0, -1):
        if isinstance(path[length - 1], int):
            return path[:length]
    return path


def _at(payload: Any, path: _Path) -> Any:
    for step in path:
        payload = payload[step]
    return payload


def _repair(error: Any, path: _Path) -> Any:
    """What to put in place of the value that an error is about."""
    value, name = error.instance, _field(path)
    if error.validator == "additionalProperties" and isinstance(value, dict):
        known = error.schema.get("properties", {})
        return {key: item for key, item in cast(dict[str, Any], value).items() if key in known}
    if error.validator == "required" and isinstance(value, dict):
        return _add_missing(cast(dict[str, Any], value), error.validator_value)
    if error.validator == "enum":
        return _match_enum(value, error.validator_value, name)
    if error.validator == "maxLength" and name not in _IDENTIFIERS:
        return value[: error.validator_value]
    if error.validator == "maxItems":
        return value[: error.validator_value]
    if error.validator == "multipleOf":
        return value - value % error.validator_value
    if error.validator == "type":
        return _convert(value, error.validator_value)
    return _REMOVED


def _add_missing(value: dict[str, Any], required: Iterable[str]) -> Any:
    missing = [name for name in required if name not in value]
    if all(name in _STAND_INS for name in missing):
        return {**value, **{name: _STAND_INS[name] for name in missing}}
    return _REMOVED


def _match_enum(value: Any, allowed: list[Any], name: str) -> Any:
    """A value of the list: the same but for its case, or the one that means none of the others."""
    if isinstance(value, str):
        same = [one for one in allowed if str(one).lower() == value.strip().lower()]
        if same:
            return same[0]
    if value is None:
        return _REMOVED
    other = next((one for one in _OTHERS if one in allowed), _STAND_INS.get(name))
    return other if other in allowed else _REMOVED


def _convert(value: Any, kind: str) -> Any:
    """The same value in the type that the schema demands."""
    if kind == "string" and isinstance(value, bool):
        return str(value).lower()
    if kind == "string" and isinstance(value, int | float):
        return str(value)
    if kind in ("integer", "number"):
        return _number(value, kind)
    if kind == "boolean" and isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    if kind == "array" and isinstance(value, dict | str):
        return [value]
    # Some languages write an empty object as an empty list.
    if kind == "object" and (value is None or value == []):
        return {}
    return _REMOVED


def _number(value: Any, kind: str) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _REMOVED
    if kind == "number" or isinstance(value, int):
        return value
    return int(value) if value.is_integer() else _REMOVED


def _reasons(errors: Iterable[Any]) -> Iterator[str]:
    """What is wrong, in a few words that hold no value of the charger's, as that may be a driver's token."""
    for error in errors:
        # What is no text is told as such already.
        if error.validator != "enum" or isinstance(error.instance, str):
            where = "/".join(_printable(step) for step in error.absolute_path if isinstance(step, str)) or "payload"
            yield f"{where}: {_fault(error)}"


def _fault(error: Any) -> str:
    value, demanded = error.instance, error.validator_value
    if error.validator == "type":
        given = "null" if value is None else _KINDS.get(cast(Any, type(value)), "something else")
        return f"{given} in place of {demanded}"
    if error.validator == "additionalProperties" and isinstance(value, dict):
        known = error.schema.get("properties", {})
        extra = [_printable(name) for name in cast(dict[str, Any], value) if name not in known]
        return f"unknown field {', '.join(extra[:3])}"
    if error.validator == "required":
        missing = [name for name in demanded if name not in value]
        return f"without {', '.join(missing[:3])}"
    if error.validator == "enum":
        return "not one of the standard's values"
    if error.validator == "maxLength":
        return f"longer than {demanded} characters"
    return f"breaks {error.validator}"


def _field(path: _Path) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def _printable(name: Any) -> str:
    text = str(name)[:_NAME_LENGTH].encode(errors="replace").decode()
    return text if text.isprintable() else ascii(text)
