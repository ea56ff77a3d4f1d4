"""The first line of the status page: what cars may really draw, and why."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from charging_agent.gateway.calls import FailureReason
from charging_agent.readings.assessment import Status
from charging_agent.web.charger_panel import compute_allowance, render_chargers_panel, render_headline
from charging_agent.web.charger_schemas import CarAnswer, ChargersAnswer
from ev_service.charging import (
    Charger,
    Chargers,
    Evse,
    EvseState,
    Feeder,
    GridSignal,
    Lease,
    Override,
    Session,
    SignalScope,
)

NOW = datetime(2026, 6, 21, 16, tzinfo=UTC)
KEY = ("CP-1", 1)


def local(at: datetime) -> str:
    return at.strftime("%H:%M")


def read(limit_a: float | None = 16.0, override: Override | None = None, valid_s: float = 45) -> Chargers:
    session = Session(session_id="s", charger_id="CP-1", evse_id=1, started_at=NOW, energy_kwh=1.0)
    evse = Evse(
        evse_id=1,
        state=EvseState.CHARGING,
        phases=(1, 2, 3),
        max_current_a=32.0,
        fallback_a=6.0,
        limit_a=limit_a,
        valid_until=NOW + timedelta(seconds=valid_s),
        session=session,
    )
    empty = Evse(evse_id=1, state=EvseState.AVAILABLE, phases=(1, 2, 3), max_current_a=32.0, fallback_a=6.0)
    return Chargers(
        site_id="home",
        timestamp=NOW - timedelta(seconds=12),
        source="ocpp",
        site_limit_kw=100.0,
        voltage_v=230.0,
        phases=3,
        feeders=(Feeder(feeder_id="main", limit_a=125.0),),
        override=override,
        chargers=(
            Charger(charger_id="CP-1", is_connected=True, feeder_id="main", evses=(evse,)),
            Charger(charger_id="CP-2", is_connected=True, feeder_id="main", evses=(empty,)),
        ),
    )


def status(limited_by: str | None = None, **changes: Any) -> ChargersAnswer:
    car = CarAnswer(
        charger_id="CP-1",
        evse_id=1,
        is_connected=True,
        state=EvseState.CHARGING,
        limit_a=16.0,
        limited_by=limited_by,
        energy_kwh=1.0,
    )
    told = ChargersAnswer(
        status=Status.STALE,
        age_s=12.3,
        commanding="ok",
        drawn_kw=9.0,
        limit_kw=85.0,
        room_kw=85.0,
        cars=[car],
        overdrawing=[],
        without_meter=[],
    )
    return told.model_copy(update=changes)


def first_line(newest: Chargers, told: ChargersAnswer, limit_a: float | None = None) -> tuple[float, str]:
    evse = newest.chargers[0].evses[0]
    in_force = evse.limit_a if limit_a is None else limit_a
    allowance = compute_allowance(newest, {KEY: evse.fallback_a if in_force is None else in_force}, told, NOW, local)
    return round(allowance.power_kw, 2), allowance.reason


STOP = Override(kind="stop", until=NOW + timedelta(minutes=5))


@pytest.mark.parametrize(
    ("newest", "told", "power_kw", "reason"),
    [
        (read(), status(), 11.04, "As the agent decided."),
        (read(0.0, STOP), status(commanding="override"), 0.0, "An operator stopped all cars, until 16:05."),
        (
            read(8.0, Override(kind="fixed_power", charging_power_kw=5.5, until=NOW + timedelta(minutes=5))),
            status(),
            5.52,
            "An operator allowed 5.5 kW per car, until 16:05.",
        ),
        (read(10.0), status("protection"), 6.9, "Protection of the connection holds cars lower than the agent would."),
        (read(10.0), status("ramp"), 6.9, "An increase is delayed: power rises in steps."),
        (
            read(),
            status(commanding="blocked", trouble="limits cannot be set (blocked)"),
            11.04,
            "The agent's limits are not taken: limits cannot be set (blocked).",
        ),
        (
            read(valid_s=-30),
            status(status=Status.MISSING, error=FailureReason.BLOCKED),
            4.14,
            "The agent has not been able to read the chargers since 15:59 (blocked); limits that are not renewed fall "
            "to each charger's fallback.",
        ),
    ],
    ids=["normal", "stop", "fixed power", "protection", "delay", "not commanding", "killed"],
)
def test_it_says_what_cars_may_draw_and_why(
    newest: Chargers, told: ChargersAnswer, power_kw: float, reason: str
) -> None:
    assert first_line(newest, told) == (power_kw, reason)


def test_a_limit_that_was_commanded_since_the_reading_counts() -> None:
    told = status(valid_until=NOW + timedelta(seconds=45))

    assert first_line(read(valid_s=-1), told, limit_a=20.0) == (13.8, "As the agent decided.")


def test_an_override_that_has_ended_is_no_reason() -> None:
    ended = Override(kind="stop", until=NOW - timedelta(seconds=1))

    assert first_line(read(override=ended), status())[1] == "As the agent decided."


def test_chargers_between_two_rounds_are_not_called_stale_and_the_limit_is_of_building_and_cars() -> None:
    lease = Lease(commander="EVApp", until=NOW + timedelta(minutes=1))
    panel = render_chargers_panel(status(lease=lease), local)

    assert "stale" not in panel
    assert "chargers read 12 s ago" in panel
    assert "Cars draw 9.0 kW</h2>" in panel
    assert "building and cars together at most 85 kW" in panel
    assert "EVApp commands until 16:01" in panel


def test_what_comes_from_outside_is_text() -> None:
    told = status(status=Status.FRESH, commanding="leased", trouble="<script>alert(1)</script>")

    line = render_headline(compute_allowance(read(), {KEY: 16.0}, told, NOW, local))

    assert "<script>" not in line
    assert "&lt;script&gt;" in line


def test_an_evse_that_draws_without_a_session_is_listed_and_alarmed() -> None:
    drawing = CarAnswer(
        charger_id="CP-2",
        evse_id=1,
        is_connected=True,
        state=EvseState.AVAILABLE,
        limit_a=6.0,
        power_kw=11.0,
        energy_kwh=0.0,
        draws_without_session=True,
    )
    told = status(cars=[drawing])

    panel = render_chargers_panel(told, local)

    assert "CP-2/1 draws power without a session" in panel
    assert "<th>CP-2/1</th><td>available</td><td>6 A</td><td>11.0 kW</td>" in panel
    assert first_line(read(), told)[1] == "No session is there that a limit could be set for."


def test_the_grid_operators_signal_is_told_where_it_holds_cars_down() -> None:
    signal = GridSignal(
        limit_kw=12.6,
        applies_to=SignalScope.CHARGING,
        valid_until=NOW + timedelta(hours=1),
        is_in_force=True,
        source="mqtt",
    )
    default = signal.model_copy(update={"valid_until": None, "is_default": True})
    newest = read().model_copy(update={"grid_signals": (signal,), "charging_limit_kw": 12.6})

    assert first_line(newest, status("grid_signal"))[1] == (
        "The grid operator limits: all cars together at most 12.6 kW until 17:00."
    )
    assert first_line(newest, status())[1] == "As the agent decided."
    panel = render_chargers_panel(status(grid_signals=[default]), local)
    assert (
        "the grid operator&#x27;s signal: all cars together at most 12.6 kW while its source (mqtt) is silent" in panel
    )
