"""Charging itself never causes an overload, whatever is known of the cars."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charging_agent.charging.fleet import MeterHistory, build_fleet, power_kw
from charging_agent.charging.planning import compute_headroom, compute_room, make_plan
from charging_agent.charging.sharing import AllocationResult, Allotment, LimitedBy, Memory, SharingPolicy, allocate
from charging_agent.decision.pipeline import Decision
from charging_agent.decision.policy import Action
from charging_agent.decision.rules import Rule, RuleThresholds
from ev_service.charging import (
    Charger,
    Chargers,
    Evse,
    EvseState,
    Feeder,
    GridSignal,
    MeterValues,
    Session,
    SignalScope,
)
from ev_service.charging_evidence import ConfirmedCharging
from ev_service.telemetry import GridLoad

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
VOLTAGE_V = 230.0
FAST = Decision(Rule.SOLAR_AND_BATTERY_HIGH, Action.FAST, 22.0)

currents = st.floats(0, 32).map(lambda value: round(value, 2))
phases = st.sampled_from([(1, 2, 3), (1,), (2,), (3,), (2, 3, 1)])


@st.composite
def evses(draw: st.DrawFn, *, is_reached: bool | None = None) -> Charger:
    """A charger with one EVSE and perhaps a car, in any state that ChargerAPI may tell."""
    number = draw(st.integers(1, 10_000))
    wired = draw(phases)
    limit_a = draw(st.one_of(st.none(), st.just(0.0), st.floats(6, 32)))
    drawn_a = draw(currents)
    age_s = draw(st.floats(0, 200))
    measured = MeterValues(
        measured_at=NOON - timedelta(seconds=age_s),
        power_kw=power_kw(drawn_a, len(wired), VOLTAGE_V),
        current_a=tuple(drawn_a if phase in wired else 0.0 for phase in (1, 2, 3)),
    )
    session = Session(
        session_id=str(number), charger_id=f"CP-{number}", evse_id=1, started_at=NOON, energy_kwh=1.0, priority=0
    )
    evse = Evse(
        evse_id=1,
        state=draw(st.sampled_from(list(EvseState))) if is_reached is None else EvseState.CHARGING,
        phases=wired,
        max_current_a=draw(st.sampled_from([10.0, 16.0, 32.0])),
        fallback_a=draw(st.sampled_from([0.0, 6.0])),
        limit_a=limit_a,
        measured=draw(st.sampled_from([measured, None])),
        session=draw(st.sampled_from([session, session, None])),
    )
    is_connected = draw(st.booleans()) if is_reached is None else is_reached
    return Charger(charger_id=f"CP-{number}", is_connected=is_connected, feeder_id="main", evses=(evse,))


def site(chargers: list[Charger], *, limit_kw: float = 100.0, feeder_a: float = 125.0) -> Chargers:
    return Chargers(
        site_id="greensboro",
        timestamp=NOON,
        source="ocpp",
        site_limit_kw=limit_kw,
        voltage_v=VOLTAGE_V,
        phases=3,
        feeders=(Feeder(feeder_id="main", limit_a=feeder_a),),
        chargers=tuple({one.charger_id: one for one in chargers}.values()),
    )


def all_of(reading: Chargers) -> ConfirmedCharging:
    """The connection's meter confirms all that is reported."""
    measured = {(one.charger_id, evse.evse_id): evse.measured for one in reading.chargers for evse in one.evses}
    reports = {key: one for key, one in measured.items() if one is not None}
    phases = tuple({key: one.current_a[phase] for key, one in reports.items()} for phase in range(3))
    return ConfirmedCharging({key: one.power_kw for key, one in reports.items()}, phases)


def grid(
    load_kw: float,
    *,
    age_s: float = 0.0,
    includes_charging: bool = True,
    limit_kw: float = 100.0,
    current_a: tuple[float, ...] | None = None,
) -> GridLoad:
    told: dict[str, Any] = {
        "site_id": "greensboro",
        "source": "simulated",
        "timestamp": NOON - timedelta(seconds=age_s),
    }
    return GridLoad(
        **told,
        load_kw=load_kw,
        limit_kw=limit_kw,
        load_percent=100 * load_kw / limit_kw,
        current_a=current_a,
        includes_charging=includes_charging,
    )


@settings(max_examples=60)
@given(
    chargers=st.lists(evses(), max_size=6),
    load_kw=st.floats(0, 120),
    limit_kw=st.floats(20, 150),
    includes_charging=st.booleans(),
    percent=st.sampled_from([50.0, 85.0, 100.0]),
)
def test_all_cars_together_stay_within_the_share_of_the_limit_that_the_other_load_leaves(
    chargers: list[Charger], load_kw: float, limit_kw: float, includes_charging: bool, percent: float
) -> None:
    reading, load = site(chargers, limit_kw=limit_kw), grid(load_kw, includes_charging=includes_charging)
    draws = MeterHistory(90)
    draws.add_reading(reading)
    fleet = build_fleet(reading, draws, NOON)
    headroom = compute_headroom(load, reading, fleet, draws, all_of(reading), NOON, percent)
    plan = make_plan(
        fleet, compute_room(headroom, reading, fleet, FAST), headroom, Memory.initial(), NOON, SharingPolicy()
    )

    wired = {car.key: len(car.phases) for car in plan.cars}
    planned_kw = sum(power_kw(one.limit_a, one.phases or wired[one.key], VOLTAGE_V) for one in plan.allotments)
    drawn_kw = sum(
        evse.measured.power_kw
        for charger in reading.chargers
        for evse in charger.evses
        if evse.session is not None and evse.measured is not None
    )
    foreign_kw = load_kw - (drawn_kw if includes_charging else 0.0)
    assert planned_kw <= max(0.0, percent / 100 * min(limit_kw, 100.0) - foreign_kw) + 1e-6
    assert headroom.charging_kw <= drawn_kw + 1e-6
    assert all(one.limit_a == 0 or one.limit_a >= 6 for one in plan.allotments)


@settings(max_examples=100)
@given(
    chargers=st.lists(evses(), max_size=6),
    building_a=st.tuples(*[st.floats(-150, 150)] * 3),
    limit_kw=st.floats(20, 150),
    includes_charging=st.booleans(),
    percent=st.sampled_from([50.0, 85.0, 100.0]),
)
def test_no_phase_carries_more_than_its_share_of_the_limit_however_the_building_lies_on_them(
    chargers: list[Charger],
    building_a: tuple[float, ...],
    limit_kw: float,
    includes_charging: bool,
    percent: float,
) -> None:
    reading, draws = site(chargers, limit_kw=limit_kw, feeder_a=500.0), MeterHistory(90)
    draws.add_reading(reading)
    cars_a = [sum(_drawn_a(evse, phase) for one in reading.chargers for evse in one.evses) for phase in (1, 2, 3)]
    current_a = tuple(a + b for a, b in zip(building_a, cars_a if includes_charging else [0.0] * 3, strict=True))
    load = grid(max(0.0, sum(current_a) * VOLTAGE_V / 1000), includes_charging=includes_charging, current_a=current_a)
    fleet = build_fleet(reading, draws, NOON)
    headroom = compute_headroom(load, reading, fleet, draws, all_of(reading), NOON, percent)
    plan = make_plan(
        fleet, compute_room(headroom, reading, fleet, FAST), headroom, Memory.initial(), NOON, SharingPolicy()
    )
    evenly = compute_room(replace(headroom, current_a=None), reading, fleet, FAST)

    wired = {car.key: car.phases for car in plan.cars}
    share_a = percent / 100 * min(limit_kw, 100.0) * 1000 / (3 * VOLTAGE_V)
    for phase, other_a in enumerate(building_a, start=1):
        planned_a = sum(one.limit_a for one in plan.allotments if phase in wired[one.key][: one.phases])
        assert planned_a <= max(0.0, share_a - max(0.0, other_a)) + 1e-6
        assert plan.room.phase_a[phase - 1] <= evenly.phase_a[phase - 1] + 1e-9


def _drawn_a(evse: Evse, phase: int) -> float:
    return 0.0 if evse.session is None or evse.measured is None else evse.measured.current_a[phase - 1]


@settings(max_examples=40)
@given(chargers=st.lists(evses(is_reached=True), min_size=1, max_size=5), asked=st.lists(st.floats(0, 200), max_size=5))
def test_whatever_is_planned_nothing_above_the_room_is_commanded(chargers: list[Charger], asked: list[float]) -> None:
    reading, draws = site(chargers, feeder_a=40.0), MeterHistory(90)
    fleet = build_fleet(reading, draws, NOON)
    headroom = compute_headroom(grid(50.0), reading, fleet, draws, all_of(reading), NOON, 85.0)
    room = compute_room(headroom, reading, fleet, FAST)

    def reckless(*_: object) -> AllocationResult:
        made = zip(fleet.cars, [*asked, *[80.0] * len(fleet.cars)], strict=False)
        return AllocationResult(tuple(Allotment(car.key, current_a) for car, current_a in made), Memory.initial())

    plan = make_plan(fleet, room, headroom, Memory.initial(), NOON, SharingPolicy(), reckless)

    wired = {car.key: car.phases for car in fleet.cars}
    for phase in (1, 2, 3):
        on_phase = sum(one.limit_a for one in plan.allotments if phase in wired[one.key])
        assert on_phase <= min(room.phase_a[phase - 1], 40.0) + 1e-6
    assert all(one.limit_a == 0 or one.limit_a >= 6 for one in plan.allotments)
    assert len(plan.allotments) == len(fleet.cars)


def car(
    number: int = 1,
    *,
    drawn_a: float = 16.0,
    limit_a: float | None = 32.0,
    age_s: float = 0.0,
    is_connected: bool = True,
    state: EvseState = EvseState.CHARGING,
) -> Charger:
    measured = MeterValues(
        measured_at=NOON - timedelta(seconds=age_s),
        power_kw=power_kw(drawn_a, 3, VOLTAGE_V),
        current_a=(drawn_a,) * 3,
    )
    session = Session(
        session_id=str(number), charger_id=f"CP-{number}", evse_id=1, started_at=NOON, energy_kwh=1.0, priority=0
    )
    evse = Evse(
        evse_id=1,
        state=state,
        phases=(1, 2, 3),
        max_current_a=32.0,
        fallback_a=6.0,
        limit_a=limit_a,
        measured=measured,
        session=session,
    )
    return Charger(charger_id=f"CP-{number}", is_connected=is_connected, feeder_id="main", evses=(evse,))


def room_kw(*looks: Chargers, load: GridLoad) -> float:
    """What the cars may take after these readings."""
    draws = MeterHistory(90)
    for look in looks:
        draws.add_reading(look)
    fleet = build_fleet(looks[-1], draws, NOON)
    return compute_headroom(load, looks[-1], fleet, draws, all_of(looks[-1]), NOON, 85.0).total_kw


def test_what_the_cars_draw_is_theirs_to_share() -> None:
    assert room_kw(site([car(drawn_a=16.0)]), load=grid(50.0)) == pytest.approx(85 - (50 - 11.04))


def test_nothing_is_taken_out_of_a_load_that_does_not_hold_it() -> None:
    assert room_kw(site([car()]), load=grid(50.0, includes_charging=False)) == pytest.approx(35.0)


def test_a_lost_meter_leaves_its_car_in_the_load_and_so_makes_no_room() -> None:
    assert room_kw(site([car(age_s=91)]), load=grid(50.0)) == pytest.approx(35.0)


def test_a_car_without_a_meter_is_held_at_the_least_current() -> None:
    draws = MeterHistory(90)
    reading = site([car(1, age_s=91), car(2)])
    draws.add_reading(reading)

    assert [car.max_a for car in build_fleet(reading, draws, NOON).cars] == [6.0, 32.0]


def test_a_car_that_began_after_the_load_was_measured_is_not_taken_out_of_it() -> None:
    before, after = site([car(drawn_a=0.0, age_s=30)]), site([car(drawn_a=32.0)])

    assert room_kw(before, after, load=grid(20.0, age_s=10)) == pytest.approx(65.0)


def test_a_car_that_began_before_the_load_was_measured_is() -> None:
    before, after = site([car(drawn_a=0.0, age_s=30)]), site([car(drawn_a=16.0, age_s=12)])

    assert room_kw(before, after, load=grid(20.0, age_s=10)) == pytest.approx(85 - (20 - 11.04))


def test_what_a_car_draws_above_its_limit_is_nothing_to_share() -> None:
    assert room_kw(site([car(drawn_a=32.0, limit_a=16.0)]), load=grid(50.0)) == pytest.approx(85 - (50 - 11.04))


@pytest.mark.parametrize("changes", [{"is_connected": False}, {"state": EvseState.FAULTED}])
def test_a_car_that_no_limit_reaches_keeps_what_it_may_draw(changes: dict[str, Any]) -> None:
    reading = site([car(1), car(2, limit_a=10.0, **changes)])

    # Its present power is in the load as well: what is not certain counts twice.
    assert room_kw(reading, load=grid(50.0)) == pytest.approx(85 - (50 - 11.04) - 6.9)
    fleet = build_fleet(reading, MeterHistory(90), NOON)
    room = compute_room(
        compute_headroom(grid(50.0), reading, fleet, MeterHistory(90), all_of(reading), NOON, 85.0),
        reading,
        fleet,
        FAST,
    )
    assert room.feeder_a["main"] == (115.0,) * 3


def phase_room_a(look: Chargers, load: GridLoad) -> tuple[float, ...]:
    """What the cars may take on each phase after this reading [A]."""
    draws = MeterHistory(90)
    draws.add_reading(look)
    fleet = build_fleet(look, draws, NOON)
    return compute_room(compute_headroom(load, look, fleet, draws, all_of(look), NOON, 85.0), look, fleet, FAST).phase_a


def test_a_phase_gets_what_its_own_load_leaves_and_never_more_than_an_even_part() -> None:
    # 24 kW are 34.8 A on each phase, of which 29.6 A may be used; 18 A on L1 alone are 4.14 kW.
    load = grid(4.14, limit_kw=24.0, current_a=(18.0, 0.0, 0.0))

    assert phase_room_a(site([], limit_kw=24.0), load) == pytest.approx((11.565, 23.565, 23.565), abs=0.001)


def test_what_the_cars_draw_on_a_phase_is_theirs_and_a_phase_that_exports_makes_no_room() -> None:
    current_a = (100.0, 40.0, -30.0)
    load = grid(sum(current_a) * VOLTAGE_V / 1000, current_a=current_a)

    # 85 kW are 123.2 A on each phase, and 16 A of each are the car's.
    assert phase_room_a(site([car(drawn_a=16.0)]), load) == pytest.approx((39.19, 99.19, 102.5), abs=0.05)


@pytest.mark.parametrize("current_a", [(90.0,), (45.0, 45.0), None])
def test_currents_that_are_not_of_each_phase_of_the_site_tell_nothing(current_a: tuple[float, ...] | None) -> None:
    evenly = phase_room_a(site([]), grid(20.0))

    assert phase_room_a(site([]), grid(20.0, current_a=current_a)) == evenly


def test_currents_that_say_more_than_the_power_count_on_no_phase() -> None:
    # A charger that tells 3.68 kW and no phases: counted in full on each that it may be on.
    unsure = car(drawn_a=16.0)
    measured = MeterValues(measured_at=NOON, power_kw=3.68, current_a=(16.0,) * 3)
    evse = unsure.evses[0].model_copy(update={"measured": measured})
    reading = site([unsure.model_copy(update={"evses": (evse,)})])

    room_a = phase_room_a(reading, grid(20.0, current_a=(50.0, 20.0, 17.0)))

    assert room_a == pytest.approx((73.19, 99.54, 99.54), abs=0.05)


def test_the_sun_beyond_the_building_is_not_counted_on() -> None:
    assert room_kw(site([car(drawn_a=32.0)]), load=grid(0.0)) == 85.0


def test_the_operators_limit_binds_where_it_is_lower() -> None:
    assert room_kw(site([car(drawn_a=0.0)], limit_kw=60.0), load=grid(20.0)) == pytest.approx(0.85 * 60 - 20)


def test_sharing_that_fails_gives_nothing_to_anybody() -> None:
    reading = site([car()])
    fleet = build_fleet(reading, MeterHistory(90), NOON)
    headroom = compute_headroom(grid(20.0), reading, fleet, MeterHistory(90), all_of(reading), NOON, 85.0)

    def failing(*_: object) -> AllocationResult:
        raise ZeroDivisionError

    plan = make_plan(
        fleet, compute_room(headroom, reading, fleet, FAST), headroom, Memory.initial(), NOON, SharingPolicy(), failing
    )

    assert [one.limit_a for one in plan.allotments] == [0.0]
    assert [clamp.limited_by for clamp in plan.clamps] == [LimitedBy.NOT_PLANNED]


def test_the_more_important_cars_are_commanded_first() -> None:
    first, second = car(1), car(2)
    session = second.evses[0].session
    assert session is not None
    evse = second.evses[0].model_copy(update={"session": session.model_copy(update={"priority": 5})})
    reading = site([first, second.model_copy(update={"evses": (evse,)})])
    fleet = build_fleet(reading, MeterHistory(90), NOON)
    headroom = compute_headroom(grid(20.0), reading, fleet, MeterHistory(90), all_of(reading), NOON, 85.0)
    plan = make_plan(
        fleet, compute_room(headroom, reading, fleet, FAST), headroom, Memory.initial(), NOON, SharingPolicy(), allocate
    )

    assert [one.key for one in plan.limits] == [("CP-2", 1), ("CP-1", 1)]
    assert RuleThresholds().power_kw[FAST.action] == plan.room.ceiling_kw


SIGNAL = GridSignal(limit_kw=12.6, applies_to=SignalScope.CHARGING, is_in_force=True, source="mqtt")


@pytest.mark.parametrize(
    ("changes", "planned_kw", "limited_by"),
    [
        ({}, 44.0, None),
        ({"charging_limit_kw": 12.6, "grid_signals": (SIGNAL,)}, 12.6, LimitedBy.GRID_SIGNAL),
        (
            {
                "site_limit_kw": 20.0,
                "grid_signals": (SIGNAL.model_copy(update={"applies_to": SignalScope.CONNECTION, "limit_kw": 20.0}),),
            },
            17.0,
            LimitedBy.GRID_SIGNAL,
        ),
        ({"site_limit_kw": 20.0}, 17.0, LimitedBy.HEADROOM),
        ({"charging_limit_kw": 0.0, "grid_signals": (SIGNAL,)}, 0.0, LimitedBy.GRID_SIGNAL),
        ({"site_limit_kw": 0.0}, 0.0, LimitedBy.HEADROOM),
    ],
)
def test_the_plan_stays_within_the_grid_operators_signal_and_names_it(
    changes: dict[str, Any], planned_kw: float, limited_by: LimitedBy | None
) -> None:
    reading, load = site([_charging("CP-1"), _charging("CP-2")]).model_copy(update=changes), grid(0.0)
    draws = MeterHistory(90)
    draws.add_reading(reading)
    fleet = build_fleet(reading, draws, NOON)
    headroom = compute_headroom(load, reading, fleet, draws, ConfirmedCharging({}, ()), NOON, 85.0)

    plan = make_plan(
        fleet, compute_room(headroom, reading, fleet, FAST), headroom, Memory.initial(), NOON, SharingPolicy()
    )

    total_kw = sum(power_kw(one.limit_a, 3, VOLTAGE_V) for one in plan.allotments)
    assert planned_kw - 0.2 <= total_kw <= planned_kw
    assert {one.limited_by for one in plan.allotments} == {limited_by}


def _charging(name: str) -> Charger:
    """A car that draws its limit of 32 A."""
    measured = MeterValues(measured_at=NOON, power_kw=22.08, current_a=(32.0, 32.0, 32.0))
    session = Session(session_id=name, charger_id=name, evse_id=1, started_at=NOON, energy_kwh=1.0)
    evse = Evse(
        evse_id=1,
        state=EvseState.CHARGING,
        phases=(1, 2, 3),
        max_current_a=32.0,
        fallback_a=6.0,
        limit_a=32.0,
        measured=measured,
        session=session,
    )
    return Charger(charger_id=name, is_connected=True, feeder_id="main", evses=(evse,))
