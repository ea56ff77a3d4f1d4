"""What holds for all cars, rooms, memories and clocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal
from math import inf, nextafter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from tests.unit.charging_agent.charging.sharing.conftest import HASTY, NEVER, NOON, World, list_exceeded_limits, worlds

from charging_agent.charging.sharing import (
    Allotment,
    Car,
    CarKey,
    LimitedBy,
    Memory,
    SharingPolicy,
    SiteRoom,
    allocate,
    clamp_plan,
)
from ev_service.charging import ChargingMode

many = settings(max_examples=150)


def allocate_world(world: World) -> tuple[Allotment, ...]:
    return allocate(world.cars, world.room, world.memory, world.now, world.policy).allotments


@many
@given(worlds)
def test_whatever_was_before_the_limits_fit_site_phases_feeders_chargers_and_ceiling(world: World) -> None:
    allotments = allocate_world(world)

    assert list_exceeded_limits(allotments, world.cars, world.room) == []
    assert [one.key for one in allotments] == sorted(car.key for car in world.cars)
    assert clamp_plan(allotments, world.cars, world.room) == (allotments, ())


@many
@given(worlds)
def test_a_car_gets_nothing_or_its_least_current_in_whole_steps(world: World) -> None:
    by_key = {car.key: car for car in world.cars}

    for one in allocate_world(world):
        car = by_key[one.key]
        assert one.limit_a == 0 or one.limit_a >= car.least_a
        assert Decimal(repr(one.limit_a)) % Decimal(repr(world.policy.step_a)) == 0
        assert one.phases in ({1, len(car.phases)} if car.can_switch_phases and len(car.phases) > 1 else {None})


@many
@given(worlds)
def test_no_delay_holds_back_a_pause(world: World) -> None:
    paused = allocate_world(replace(world, room=replace(world.room, pauses=True), policy=NEVER))

    assert {(one.limit_a, one.limited_by) for one in paused} <= {(0.0, LimitedBy.PAUSE)}


@many
@given(worlds, st.floats(0, 1))
def test_no_delay_holds_back_a_reduction(world: World, part: float) -> None:
    before = allocate(world.cars, world.room, world.memory, world.now, NEVER)
    less = replace(
        world.room,
        total_kw=world.room.total_kw * part,
        phase_a=tuple(limit_a * part for limit_a in world.room.phase_a),
        ceiling_kw=world.room.ceiling_kw * part,
    )
    in_force = {one.key: one.limit_a for one in before.allotments}
    cars = [replace(car, limit_a=in_force[car.key]) for car in world.cars]

    after = allocate(cars, less, before.memory, world.now, NEVER).allotments

    assert list_exceeded_limits(after, cars, less) == []


@many
@given(worlds)
def test_what_is_guaranteed_is_given_wherever_all_of_it_fits(world: World) -> None:
    cars = [replace(car, drawn_a=None, mode=ChargingMode.SMART) for car in world.cars]
    due = {car.key: _due(car, world.room, world.policy) for car in cars}
    fitting = _with_room_for(due, cars, world.room)
    rest = timedelta(seconds=world.policy.minimum_off_s)
    resting = {one.key for one in world.memory.cars if one.has_stopped and world.now - min(one.since, world.now) < rest}

    given_a = {one.key: one.limit_a for one in allocate_world(replace(world, cars=tuple(cars), room=fitting))}

    assert {key for key in due if given_a[key] < due[key][0]} <= resting


@many
@given(worlds)
def test_where_nothing_is_delayed_nothing_that_somebody_could_use_is_left(world: World) -> None:
    cars = [replace(car, drawn_a=None, limit_a=None, mode=ChargingMode.SMART) for car in world.cars]
    first = allocate(cars, world.room, Memory.initial(), NOON, HASTY)

    allotments = allocate(cars, world.room, first.memory, NOON + timedelta(seconds=1), HASTY).allotments

    for one in allotments:
        if one.limit_a > 0 and one.limited_by is not None:
            more = [replace(it, limit_a=round(it.limit_a + 0.1, 1)) if it is one else it for it in allotments]
            assert list_exceeded_limits(more, cars, world.room) != []


@many
@given(worlds, st.integers())
def test_the_order_of_the_cars_makes_no_difference(world: World, seed: int) -> None:
    shuffled = list(world.cars)
    Random(seed).shuffle(shuffled)

    assert allocate_world(replace(world, cars=tuple(shuffled))) == allocate_world(world)


@given(worlds)
def test_cars_room_and_memory_can_be_written_as_json_and_read_again(world: World) -> None:
    memory = allocate(world.cars, world.room, world.memory, world.now, world.policy).memory

    for kind, value in ((Memory, memory), (tuple[Car, ...], world.cars)):
        adapter = TypeAdapter[object](kind)
        assert adapter.validate_json(adapter.dump_json(value)) == value


@settings(max_examples=80)
@given(st.lists(st.integers(60, 320), min_size=1, max_size=8), st.integers(1, 3))
def test_round_numbers_that_fit_exactly_are_given_exactly(tenths: list[int], phases: int) -> None:
    """In binary fractions 7.2 + 7.2 + 7.2 and its like are a hair more or less than what is written."""
    wired = (1, 2, 3)[:phases]
    cars = [Car((f"CP-{number:02}", 1), wired, max_a=tenth / 10) for number, tenth in enumerate(tenths)]
    sum_a = float(Decimal(sum(tenths)) / 10)
    room = SiteRoom(float(Decimal(sum(tenths)) * 23 * phases / 1000), (sum_a,) * 3, {"main": (sum_a,) * 3}, 230.0, 99.0)

    plan = tuple(Allotment(car.key, car.max_a) for car in cars)
    allotments = allocate(cars, room, Memory.initial(), NOON, SharingPolicy()).allotments

    assert clamp_plan(plan, cars, room) == (plan, ())
    assert list_exceeded_limits(allotments, cars, room) == []


def _due(car: Car, room: SiteRoom, policy: SharingPolicy) -> tuple[float, tuple[int, ...]]:
    """What is guaranteed and allowed, in whole steps, and where: on one phase where the ceiling is too low for all."""
    step_a, least_a = Decimal(repr(policy.step_a)), Decimal(repr(car.least_a))
    guaranteed_a = max(Decimal(repr(car.guaranteed_a)), least_a)
    guaranteed_a = (guaranteed_a / step_a).to_integral_value(ROUND_CEILING) * step_a
    for phases in (car.phases, car.phases[:1] if car.can_switch_phases else car.phases):
        ceiling_a = Decimal(repr(room.ceiling_kw)) * 1000 / (Decimal(repr(room.voltage_v)) * len(phases))
        allowed_a = min(Decimal(repr(car.max_a)), ceiling_a) // step_a * step_a
        if car.wants and car.guaranteed_a > 0 and not room.pauses and allowed_a >= least_a:
            return float(min(guaranteed_a, allowed_a)), phases
    return 0.0, car.phases


def _with_room_for(
    due: Mapping[CarKey, tuple[float, tuple[int, ...]]], cars: Sequence[Car], room: SiteRoom
) -> SiteRoom:
    """The same room, with every limit as high as what is due comes to, or higher."""
    site_w, sums_a = Decimal(0), dict[tuple[str, int], Decimal]()
    for car in cars:
        due_a, phases = due[car.key]
        current = Decimal(repr(due_a))
        site_w += current * len(phases) * Decimal(repr(room.voltage_v))
        for phase in phases:
            for name in ("site", car.feeder_id):
                sums_a[name, phase] = sums_a.get((name, phase), Decimal(0)) + current

    def limits_a(name: str, now_a: Sequence[float]) -> tuple[float, ...]:
        least_a = [float(sums_a.get((name, phase), Decimal(0))) for phase in (1, 2, 3)]
        return tuple(max(limit_a, now_a[n] if n < len(now_a) else 0.0) for n, limit_a in enumerate(least_a))

    return replace(
        room,
        # A float may lie below the sum it stands for; the next one up does not.
        total_kw=max(nextafter(float(site_w / 1000), inf), room.total_kw if room.total_kw > 0 else 0.0),
        phase_a=limits_a("site", room.phase_a),
        feeder_a={name: limits_a(name, room.feeder_a.get(name, ())) for name in ("main", "east")},
    )
