"""What a person orders becomes one call that the service takes, and what it answers is told."""

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from rich.console import Console

from charger_service.orders import DepartureOrder, ModeOrder, OverrideKind, OverrideOrder, SiteLimitOrder
from ev_service.charging import ChargingMode
from wso2_provisioning.operating.cli import build_parser, main
from wso2_provisioning.operating.commands import GatewayCall, build_call, format_csv, render_answer

WSO2_DIR = Path(__file__).parents[3] / "wso2"
EVSE: dict[str, Any] = {
    "evse_id": 1, "state": "charging", "fallback_a": 6.0, "limit_a": 16.0, "limited_by": "headroom",
    "valid_until": "2026-06-21T16:00:45Z", "is_confirmed": True, "is_overdrawing": False,
    "measured": {"power_kw": 10.94}, "session": {"session_id": "s-1"},
}  # fmt: skip
SESSION: dict[str, Any] = {
    "session_id": "s-1", "charger_id": "CP-1", "evse_id": 1, "started_at": "2026-06-21T15:00:00Z",
    "energy_kwh": 7.5, "departure": "2026-06-21T21:00:00Z",
}  # fmt: skip


NOTHING: list[Any] = []


def site(**changed: Any) -> dict[str, Any]:
    charger = {"charger_id": "CP-1", "is_connected": True, "evses": [EVSE | changed]}
    return {"site_id": "x", "timestamp": "2026-06-21T16:00:00Z", "site_limit_kw": 60.0, "chargers": [charger]}


def call(*arguments: str) -> GatewayCall:
    return build_call(build_parser().parse_args(arguments))


def format_answer(command: str, answer: dict[str, Any]) -> str:
    out = StringIO()
    console = Console(file=out, width=250, markup=False, highlight=False)
    for part in render_answer(command, answer):
        console.print(part)
    return out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "target", "model", "expected"),
    [
        (
            ("stop", "--minutes", "30"),
            "/override",
            OverrideOrder,
            {"kind": OverrideKind.STOP, "minutes": 30, "charging_power_kw": None},
        ),
        (
            ("power", "11", "--minutes", "5"),
            "/override",
            OverrideOrder,
            {"kind": OverrideKind.FIXED_POWER, "minutes": 5, "charging_power_kw": 11},
        ),
        (("release",), "/override", OverrideOrder, {"kind": OverrideKind.NONE, "minutes": None}),
        (("limit", "60"), "/site/limit", SiteLimitOrder, {"limit_kw": 60}),
        (("limit", "none"), "/site/limit", SiteLimitOrder, {"limit_kw": None}),
    ],
)
def test_the_service_takes_an_order_as_it_is_said(
    arguments: tuple[str, ...], target: str, model: type[BaseModel], expected: dict[str, Any]
) -> None:
    made = call(*arguments, "--reason", "a test")

    taken = model.model_validate(made.body).model_dump()

    assert (made.method, made.api, made.target) == ("PUT", "SiteAPI", target)
    assert taken | expected | {"reason": "a test"} == taken


def test_a_departure_says_what_was_said_and_leaves_the_rest_as_it_was() -> None:
    made = call("departure", "s/1", "--at", "2026-06-21T23:00+02:00", "--energy-kwh", "30")

    taken = DepartureOrder.model_validate(made.body)

    assert made.target == "/sessions/s%2F1/departure"
    assert taken.departure == datetime(2026, 6, 21, 21, tzinfo=UTC)
    assert taken.model_fields_set == {"departure", "energy_wanted_kwh"}


def test_a_mode_is_said_of_one_session() -> None:
    made = call("mode", "s/1", "surplus")

    assert (made.method, made.target) == ("PUT", "/sessions/s%2F1/mode")
    assert ModeOrder.model_validate(made.body).mode is ChargingMode.SURPLUS
    with pytest.raises(SystemExit):
        call("mode", "s/1", "cheapest")


@pytest.mark.parametrize("arguments", [("chargers",), ("sessions",), ("orders", "--most", "5")])
def test_looking_changes_nothing(arguments: tuple[str, ...]) -> None:
    assert (call(*arguments).method, call(*arguments).body) == ("GET", None)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("stop",),
        ("stop", "--minutes", "soon"),
        ("limit", "much"),
        ("departure", "s-1", "--at", "2026-06-21T21:00"),
        ("departure", "s-1", "--at", "tonight"),
        ("start",),
    ],
)
def test_an_order_that_says_too_little_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, artifacts_dir=WSO2_DIR)

    assert ended.value.code == 2


@pytest.mark.parametrize("command", [("stop", "--minutes", "30"), ("release",), ("limit", "none")])
def test_nothing_is_ordered_without_a_reason(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command, artifacts_dir=WSO2_DIR) == 1

    assert "an order needs a reason" in capsys.readouterr().err


def test_without_a_password_it_is_said_which_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WSO2_ADMIN_PASSWORD", "a-password-of-the-test")

    assert main(["chargers"], artifacts_dir=WSO2_DIR) == 1

    assert "OPERATOR_PASSWORD is not set" in capsys.readouterr().err


def test_a_charger_is_one_row_with_its_limit_and_who_set_it() -> None:
    text = format_answer("chargers", site())

    assert "60 kW for building and cars" in text
    assert "no order of an operator is in force" in text
    row = text.splitlines()[-1].split()
    assert row == ["CP-1", "1", "charging", "16", "A", "headroom", "2026-06-21T16:00:45Z", "10.9", "kW", "s-1"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"limit_a": None}, "6 A (fallback)"),
        ({"is_confirmed": False}, "headroom, not confirmed"),
        ({"is_overdrawing": True}, "10.9 kW TOO MUCH"),
        ({"measured": None, "session": None}, "- "),
        ({"session": None, "draws_without_session": True}, "NONE, but draws"),
    ],
)
def test_what_is_out_of_the_ordinary_at_a_charger_is_said(changed: dict[str, Any], words: str) -> None:
    assert words in format_answer("chargers", site(**changed))


def test_what_a_charger_calls_itself_is_no_markup() -> None:
    answer = {"sessions": [SESSION | {"charger_id": "[red]CP[/red]"}]}

    assert "[red]CP[/red]" in format_answer("sessions", answer)


def test_a_car_is_shown_with_what_is_known_of_it() -> None:
    assert format_answer("departure", SESSION).splitlines()[-1].split() == [
        "s-1", "CP-1", "1", "2026-06-21T15:00:00Z", "7.5", "kWh", "-", "2026-06-21T21:00:00Z", "-", "-", "-",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"kind": "stop", "until": "2026-06-21T16:30:00Z"}, "until 2026-06-21T16:30:00Z: no car charges"),
        ({"kind": "fixed_power", "charging_power_kw": 11.0, "until": "…"}, "every car may draw 11 kW"),
        (None, "agents command"),
    ],
)
def test_an_override_is_told_in_words(override: dict[str, Any] | None, words: str) -> None:
    assert words in format_answer("stop", {"override": override, "is_kept_on_disk": True})


def test_an_order_that_is_not_on_disk_is_in_force_and_says_so() -> None:
    assert "NOT on disk" in format_answer(
        "limit", {"site_limit_kw": 60.0, "configured_kw": 100.0, "is_kept_on_disk": False}
    )


def test_the_record_says_who_ordered_what_and_why() -> None:
    override = {"kind": "stop", "charging_power_kw": None, "minutes": 30, "reason": "fire alarm test"}
    proved = {"application": "Operator", "user": "operator@carbon.super"}
    order = {"number": 3, "recorded_at": "2026-06-21T16:00:00Z", "kind": "override", "override": override}

    row = format_answer("orders", {"orders": [order | {"proved": proved}], "is_kept_on_disk": True}).splitlines()[-1]

    assert "operator@carbon.super" in row
    assert "override: kind stop, minutes 30" in row
    assert row.endswith("fire alarm test")


@pytest.mark.parametrize(
    ("command", "answer", "words"),
    [
        ("sessions", {"sessions": NOTHING}, "no car is there"),
        ("orders", {"orders": NOTHING}, "nothing was ordered yet"),
        ("chargers", site() | {"chargers": NOTHING}, "the site has no chargers"),
    ],
)
def test_where_there_is_nothing_it_is_said(command: str, answer: dict[str, Any], words: str) -> None:
    assert words in format_answer(command, answer)


RECORD: dict[str, Any] = {
    "session_id": "s-1", "charger_id": "CP-1", "evse_id": 1, "driver_id": "5d3f", "id_token": "=1+1",
    "name": "Anna, B.",
    "started_at": "2026-06-21T15:00:00Z", "ended_at": "2026-06-21T16:00:00Z", "is_end_inferred": False,
    "energy_kwh": 7.5,
}  # fmt: skip


def test_sessions_that_are_over_are_asked_of_the_operators_api() -> None:
    assert call("sessions") == GatewayCall("ChargerAPI", "/sessions")
    assert call("sessions", "--since", "2026-06-21T00:00Z").target == "/session-records?since=2026-06-21T00%3A00%3A00Z"
    assert call("sessions", "--csv") == GatewayCall("SiteAPI", "/session-records?since=1970-01-01T00%3A00%3A00Z")


def test_sessions_that_are_over_are_shown_with_token_and_name() -> None:
    text = format_answer("sessions", {"sessions": [RECORD], "next_since": None})
    assert "Anna, B." in text
    assert "7.5 kWh" in text


def test_csv_quotes_what_has_commas_and_holds_no_formula() -> None:
    head, row = format_csv([RECORD | {"driver_id": None}]).splitlines()
    assert head.startswith("session_id,charger_id,evse_id,driver_id,id_token,name,")
    assert row == 's-1,CP-1,1,,\'=1+1,"Anna, B.",2026-06-21T15:00:00Z,2026-06-21T16:00:00Z,False,7.5'


def test_the_grid_operators_signal_is_told_with_its_time_and_why() -> None:
    signal = {"limit_kw": 12.6, "applies_to": "charging", "is_in_force": True, "source": "mqtt"}
    announced = signal | {
        "applies_to": "connection", "is_in_force": False,
        "valid_from": "2026-06-21T17:00:00Z", "valid_until": "2026-06-21T18:00:00Z",
    }  # fmt: skip

    told = format_answer("chargers", site() | {"grid_signals": [signal | {"is_default": True}, announced]})

    assert "signal: 12.6 kW for all cars, because the source (mqtt) is silent" in told
    assert "12.6 kW for building and cars from 2026-06-21T17:00:00Z until 2026-06-21T18:00:00Z" in told


def test_the_record_names_the_grid_operator() -> None:
    act = {"charging_limit_kw": 12.6, "drawn_kw": 21.9, "reason": "signal of the grid operator by mqtt"}
    order = {"number": 3, "recorded_at": "2026-06-21T16:00:00Z", "kind": "grid_signal", "grid_signal": act}

    row = format_answer("orders", {"orders": [order | {"proved": None}], "is_kept_on_disk": True}).splitlines()[-1]

    assert "the grid operator" in row
    assert "charging_limit_kw 12.6, drawn_kw 21.9" in row
