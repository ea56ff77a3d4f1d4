"""What counts as surplus, and what does not, whatever is reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.charging_agent.charging.sharing_loop import (
    SharingLoop,
    Wiring,
    charger,
    chargers_reading,
    grid_reading,
    set_mode,
)
from tests.unit.charging_agent.charging.test_headroom import FAST, NOON

from charging_agent.charging.fleet import MeterHistory, build_fleet
from charging_agent.charging.planning import ChargingPlan, compute_headroom, compute_room, make_plan
from charging_agent.charging.sharing import Allotment, Car, LimitedBy, Memory, SharingPolicy
from charging_agent.charging.surplus import Surplus, measure_surplus
from charging_agent.decision.policy import DecisionInputs
from ev_service.charging import Chargers, ChargingMode, EvseState, MeterValues, Session
from ev_service.charging_evidence import ConfirmedCharging
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

KEY = ("CP-1", 1)
PLACE = Wiring("CP-1")
powers_kw = st.floats(0, 50)


def chargers(drawn_kw: float, *, limit_a: float = 16.0) -> Chargers:
    current_a = drawn_kw * 1000 / 690
    measured = MeterValues(measured_at=NOON, power_kw=drawn_kw, current_a=(current_a,) * 3)
    session = Session(
        session_id="1", charger_id="CP-1", evse_id=1, started_at=NOON - timedelta(hours=1), energy_kwh=1.0
    )
    one = charger(PLACE, limit_a=limit_a, session=session, measured=measured, state=EvseState.CHARGING)
    return chargers_reading([one], NOON, 100.0, 125.0)


def battery(power_kw: float | None) -> BatteryStatus:
    return BatteryStatus(
        site_id="greensboro",
        timestamp=NOON,
        source="simulated",
        soc_percent=70,
        capacity_kwh=90,
        active_power_kw=power_kw,
    )


def solar(generation_kw: float) -> SolarStatus:
    return SolarStatus(
        site_id="greensboro", timestamp=NOON, source="simulated", generation_kw=generation_kw, capacity_kwp=100.0
    )


def measure(
    net_kw: float,
    drawn_kw: float = 0.0,
    *,
    confirmed_kw: float | None = None,
    by_change_kw: float = 0.0,
    is_contradicted: bool = False,
    battery_kw: float | None = 0.0,
    generation_kw: float | None = 50.0,
    has_cars: bool = True,
    mode: ChargingMode = ChargingMode.SURPLUS,
    limit_a: float = 16.0,
    is_before_battery: bool = False,
) -> Surplus:
    reading, history = chargers(drawn_kw, limit_a=limit_a), MeterHistory(90)
    history.add_reading(reading)
    inputs = DecisionInputs.from_readings(
        NOON,
        None if generation_kw is None else solar(generation_kw),
        battery(battery_kw),
        grid_reading(NOON, net_kw, 100.0, None, has_cars=has_cars),
    )
    confirmed = ConfirmedCharging(
        {KEY: drawn_kw if confirmed_kw is None else confirmed_kw},
        by_change_kw={KEY: by_change_kw},
        contradicted=frozenset({KEY} if is_contradicted else ()),
    )
    fleet = set_mode(build_fleet(reading, history, NOON), mode)
    found = measure_surplus(inputs, reading, fleet, history, confirmed, is_before_battery=is_before_battery)
    assert found is not None
    return found


def test_surplus_is_what_is_exported_and_what_cars_on_surplus_draw_already() -> None:
    assert measure(-5.0, 6.9).power_kw == pytest.approx(11.9)
    assert measure(2.0, 6.9).power_kw == pytest.approx(4.9)
    assert measure(9.0, 6.9).power_kw == 0


def test_what_other_cars_draw_from_the_sun_is_no_surplus() -> None:
    assert measure(-5.0, 6.9, mode=ChargingMode.SMART).power_kw == 5.0


def test_what_the_meter_does_not_confirm_is_no_surplus() -> None:
    assert measure(2.0, 6.9, confirmed_kw=0.0).power_kw == 0


def test_what_the_load_followed_once_counts_while_the_building_varies() -> None:
    """A surge of the building hides the car behind what the rest is known to take; its changes were seen."""
    assert measure(2.0, 6.9, confirmed_kw=0.0, by_change_kw=6.9).power_kw == pytest.approx(4.9)


def test_a_contradicted_charger_counts_with_what_still_fits() -> None:
    assert measure(2.0, 6.9, confirmed_kw=0.0, by_change_kw=6.9, is_contradicted=True).power_kw == 0


def test_a_car_above_its_limit_counts_with_its_limit() -> None:
    assert measure(0.0, 20.0, limit_a=10.0).power_kw == pytest.approx(6.9)


def test_what_the_battery_gives_is_no_surplus() -> None:
    assert measure(0.0, 6.9, battery_kw=-6.9).power_kw == pytest.approx(0.0)


def test_what_the_battery_takes_is_surplus_only_where_cars_go_first() -> None:
    assert measure(-1.0, battery_kw=8.0).power_kw == 1.0
    assert measure(-1.0, battery_kw=8.0, is_before_battery=True).power_kw == 9.0


def test_where_the_battery_is_not_known_no_more_counts_than_the_sun_gives() -> None:
    assert measure(0.0, 6.9, battery_kw=None, generation_kw=0.0).power_kw == 0
    assert measure(0.0, 6.9, battery_kw=None, generation_kw=20.0).power_kw == pytest.approx(6.9)
    assert measure(-3.0, 6.9, battery_kw=None, generation_kw=None).power_kw == 3.0


def test_a_load_without_the_cars_leaves_what_other_cars_may_draw() -> None:
    assert measure(-20.0, 4.0, has_cars=False).power_kw == 20.0
    assert measure(-20.0, 4.0, has_cars=False, mode=ChargingMode.FAST).power_kw == pytest.approx(8.96)


@settings(max_examples=150)
@given(st.floats(-50, 50), powers_kw, powers_kw, st.floats(-30, 30), st.booleans())
def test_whatever_is_reported_surplus_is_export_and_confirmed_draw_at_most(
    net_kw: float, reported_kw: float, confirmed_kw: float, battery_kw: float, is_before_battery: bool
) -> None:
    found = measure(
        net_kw,
        reported_kw,
        confirmed_kw=confirmed_kw,
        battery_kw=battery_kw,
        is_before_battery=is_before_battery,
        limit_a=32.0,
    )

    taken_kw = battery_kw if is_before_battery or battery_kw < 0 else 0.0
    assert 0 <= found.power_kw <= max(0.0, -net_kw + min(confirmed_kw, reported_kw) + taken_kw) + 1e-9


def plan(surplus: Surplus | None, *cars: Car) -> ChargingPlan:
    reading = chargers(0.0)
    history = MeterHistory(90)
    fleet = replace(build_fleet(reading, history, NOON), cars=cars)
    grid = grid_reading(NOON, -20.0, 100.0, None)
    headroom = compute_headroom(grid, reading, fleet, history, ConfirmedCharging(), NOON, 85.0, surplus)
    room = compute_room(headroom, reading, fleet, FAST)
    return make_plan(fleet, room, headroom, Memory.initial(), NOON, SharingPolicy())


def test_without_a_measured_surplus_there_is_none() -> None:
    told = plan(None, Car(KEY, (1, 2, 3), 32.0, limit_a=10.0, mode=ChargingMode.SURPLUS))

    assert told.allotments == (Allotment(KEY, 0.0, None, LimitedBy.SURPLUS),)
    assert told.clamps == ()


def test_a_session_in_mode_surplus_is_a_car_on_surplus() -> None:
    reading = chargers(0.0)
    evse = reading.chargers[0].evses[0]
    assert evse.session is not None
    session = evse.session.model_copy(update={"mode": ChargingMode.SURPLUS})
    one = reading.chargers[0].model_copy(update={"evses": (evse.model_copy(update={"session": session}),)})

    (car,) = build_fleet(reading.model_copy(update={"chargers": (one,)}), MeterHistory(90), NOON).cars

    assert car.is_on_surplus
    assert plan(None, car).allotments[0].limit_a == 0


def test_a_liar_on_surplus_starts_nothing_at_night() -> None:
    """It reports a full draw that no meter confirms; the building takes what it takes."""
    loop = SharingLoop(decision=FAST, mode=ChargingMode.SURPLUS)
    limits: list[float] = []

    for number in range(60):
        at = NOON + timedelta(seconds=15 * number)
        reading = _move(chargers(11.0, limit_a=limits[-1] if limits else 16.0), at)
        told = loop.plan(_inputs(at, 20.0, 0.0), reading, at)
        limits.append(told.allotments[0].limit_a)

    assert set(limits) == {0.0}


def _inputs(at: Any, net_kw: float, generation_kw: float) -> DecisionInputs:
    readings = solar(generation_kw), battery(0.0), grid_reading(at, net_kw, 100.0, None)
    sun, store, grid = (one.model_copy(update={"timestamp": at}) for one in readings)
    assert isinstance(sun, SolarStatus)
    assert isinstance(store, BatteryStatus)
    assert isinstance(grid, GridLoad)
    return DecisionInputs.from_readings(at, sun, store, grid)


def _move(reading: Chargers, at: Any) -> Chargers:
    one = reading.chargers[0]
    evse = one.evses[0]
    assert evse.measured is not None
    measured = evse.measured.model_copy(update={"measured_at": at})
    moved = one.model_copy(update={"evses": (evse.model_copy(update={"measured": measured}),)})
    return reading.model_copy(update={"timestamp": at, "chargers": (moved,)})
