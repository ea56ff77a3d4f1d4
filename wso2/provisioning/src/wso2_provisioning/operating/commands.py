"""Commands of `make operate`: the gateway call of each, and its answer as text and tables.

The service behind validates the numbers and explains what is wrong with them.
"""

import csv
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any
from urllib.parse import quote

from rich.table import Table

from wso2_provisioning.applications import CHARGERS_API

Answer = Mapping[str, Any]
_NOT_KEPT = "It is in force, but NOT on disk: a restart of the service forgets it. Its disk may be full."


def render_answer(command: str, answer: Answer) -> Iterable[str | Table]:
    """Render an answer as lines and tables.

    Args:
        command: of `make operate`.
        answer: body of its answer.
    """
    if command == "chargers":
        yield f"{answer['site_id']} at {answer['timestamp']}: {answer['site_limit_kw']:g} kW for building and cars"
        yield _format_override(answer.get("override"))
        yield from map(_format_signal, answer.get("grid_signals", ()))
        rows = (_format_evse(charger, evse) for charger in answer["chargers"] for evse in charger["evses"])
        yield _build_table(_EVSE, rows, "the site has no chargers")
    elif command == "sessions" and "next_since" in answer:
        yield _build_table(_RECORD, map(_format_record, answer["sessions"]), "no session ended since then")
    elif command == "sessions":
        yield _build_table(_SESSION, map(_format_session, answer["sessions"]), "no car is there")
    elif command == "orders":
        yield _build_table(_ORDER, map(_format_order, answer["orders"]), "nothing was ordered yet")
    elif command in ("departure", "mode"):
        yield _build_table(_SESSION, [_format_session(answer)], "")
    elif command == "limit":
        yield f"the site may draw {answer['site_limit_kw']:g} kW, of {answer['configured_kw']:g} as configured"
    else:
        yield _format_override(answer.get("override"))
    if answer.get("is_kept_on_disk") is False and command != "orders":
        yield _NOT_KEPT


_EVSE = ("charger", "evse", "state", "limit", "limited by", "until", "draws", "session")
_SESSION = ("session", "charger", "evse", "since", "charged", "wanted", "leaves", "priority", "guaranteed", "mode")
_RECORD = ("charger", "evse", "since", "until", "charged", "driver", "token", "name")
_COLUMNS = (
    "session_id",
    "charger_id",
    "evse_id",
    "driver_id",
    "id_token",
    "name",
    "started_at",
    "ended_at",
    "is_end_inferred",
    "energy_kwh",
)
_BY_ITSELF = {"protection": "the service", "grid_signal": "the grid operator"}
_ORDER = ("number", "at", "by", "order", "reason")


def _format_override(override: Answer | None) -> str:
    if override is None:
        return "no order of an operator is in force: agents command"
    what = (
        "no car charges" if override["kind"] == "stop" else f"every car may draw {override['charging_power_kw']:g} kW"
    )
    return f"ordered until {override['until']}: {what}"


def _format_signal(signal: Answer) -> str:
    whom = "building and cars" if signal["applies_to"] == "connection" else "all cars"
    when = f" until {signal['valid_until']}" if signal.get("valid_until") else ""
    if not signal["is_in_force"]:
        when = f" from {signal.get('valid_from', '?')}{when}"
    why = f", because the source ({signal['source']}) is silent" if signal.get("is_default") else ""
    return f"the grid operator's signal: {signal['limit_kw']:g} kW for {whom}{when}{why}"


def _format_evse(charger: Answer, evse: Answer) -> Sequence[str]:
    limit = evse.get("limit_a")
    measured: Answer = evse.get("measured") or {}
    session: Answer = evse.get("session") or {}
    return (
        str(charger["charger_id"]),
        str(evse["evse_id"]),
        str(evse["state"]) if charger["is_connected"] else "not connected",
        f"{evse['fallback_a'] if limit is None else limit:g} A" + (" (fallback)" if limit is None else ""),
        str(evse.get("limited_by", "-")) + ("" if evse.get("is_confirmed") or limit is None else ", not confirmed"),
        str(evse.get("valid_until", "-")),
        _format_quantity(measured.get("power_kw"), "kW") + (" TOO MUCH" if evse.get("is_overdrawing") else ""),
        "NONE, but draws" if evse.get("draws_without_session") else str(session.get("session_id", "-")),
    )


def _format_session(session: Answer) -> Sequence[str]:
    return (
        str(session["session_id"]),
        str(session["charger_id"]),
        str(session["evse_id"]),
        str(session["started_at"]),
        _format_quantity(session["energy_kwh"], "kWh"),
        _format_quantity(session.get("energy_wanted_kwh"), "kWh"),
        str(session.get("departure", "-")),
        str(session.get("priority", "-")),
        _format_quantity(session.get("guaranteed_a"), "A"),
        str(session.get("mode", "-")),
    )


def _format_record(record: Answer) -> Sequence[str]:
    return (
        str(record["charger_id"]),
        str(record["evse_id"]),
        str(record["started_at"]),
        str(record["ended_at"]),
        _format_quantity(record["energy_kwh"], "kWh"),
        *(str(record[name] or "-") for name in ("driver_id", "id_token", "name")),
    )


def format_csv(records: Iterable[Answer]) -> str:
    """Sessions that are over as CSV (RFC 4180), with a head; empty where a value is not known.

    A text that a spreadsheet would take for a formula is written with an apostrophe before it: tokens come from cars.
    """
    text = StringIO()
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for record in records:
        rows.writerow([_cell(record[name]) for name in _COLUMNS])
    return text.getvalue()


def _cell(value: object) -> object:
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value


def _format_order(order: Answer) -> Sequence[str]:
    fields: Answer = order.get(str(order["kind"])) or {}
    details = {name: value for name, value in fields.items() if value is not None and name != "reason"}
    if order.get("session_id"):
        details["session"] = order["session_id"]
    shown = ", ".join(f"{name} {value}" for name, value in details.items())
    proved: Answer = order.get("proved") or {}
    by = _BY_ITSELF.get(str(order["kind"])) or str(proved.get("user", "nobody proved"))
    return (
        str(order["number"]),
        str(order["recorded_at"]),
        by,
        f"{order['kind']}: {shown}",
        str(fields.get("reason", "-")),
    )


def _format_quantity(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.1f} {unit}"


def _build_table(head: Sequence[str], rows: Iterable[Sequence[str]], nothing: str) -> Table | str:
    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table if table.row_count else nothing


SITE_API = "SiteAPI"


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """One call through the gateway."""

    api: str
    """Name of the API."""
    target: str
    """Path below the API's context."""
    body: dict[str, Any] | None = None
    """Body of a PUT; None for a GET."""

    @property
    def method(self) -> str:
        """GET or PUT."""
        return "GET" if self.body is None else "PUT"


def build_call(arguments: Namespace) -> GatewayCall:
    """Build the gateway call of a command.

    Args:
        arguments: of the command line, with `command`, and `reason` if the command needs one.
    """
    return _CALLS[arguments.command](arguments)


def _build_override(kind: str, arguments: Namespace, **fields: Any) -> GatewayCall:
    return GatewayCall(SITE_API, "/override", {"kind": kind, **fields, "reason": arguments.reason})


def _build_sessions(arguments: Namespace) -> GatewayCall:
    if arguments.since is None and not arguments.csv:
        return GatewayCall(CHARGERS_API, "/sessions")
    since = arguments.since or "1970-01-01T00:00:00Z"
    return GatewayCall(SITE_API, f"/session-records?since={quote(since, safe='')}")


def _build_departure(arguments: Namespace) -> GatewayCall:
    fields = {
        "departure": arguments.at,
        "energy_wanted_kwh": arguments.energy_kwh,
        "priority": arguments.priority,
        "guaranteed_a": arguments.guaranteed_a,
    }
    target = f"/sessions/{quote(arguments.session, safe='')}/departure"
    return GatewayCall(SITE_API, target, {name: value for name, value in fields.items() if value is not None})


def _build_mode(arguments: Namespace) -> GatewayCall:
    return GatewayCall(SITE_API, f"/sessions/{quote(arguments.session, safe='')}/mode", {"mode": arguments.mode})


_CALLS: dict[str, Callable[[Namespace], GatewayCall]] = {
    "chargers": lambda _: GatewayCall(CHARGERS_API, "/chargers"),
    "sessions": _build_sessions,
    "mode": _build_mode,
    "orders": lambda arguments: GatewayCall(SITE_API, f"/orders?limit={arguments.most}"),
    "stop": lambda arguments: _build_override("stop", arguments, minutes=arguments.minutes),
    "power": lambda arguments: _build_override(
        "fixed_power", arguments, charging_power_kw=arguments.kilowatts, minutes=arguments.minutes
    ),
    "release": lambda arguments: _build_override("none", arguments),
    "limit": lambda arguments: GatewayCall(
        SITE_API, "/site/limit", {"limit_kw": arguments.kilowatts, "reason": arguments.reason}
    ),
    "departure": _build_departure,
}
