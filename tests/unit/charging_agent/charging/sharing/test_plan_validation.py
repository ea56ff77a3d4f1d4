"""The guard over a plan, by whoever made it."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.charging_agent.charging.sharing.conftest import World, car, list_exceeded_limits, room, worlds

from charging_agent.charging.sharing import Allotment, LimitClamp, LimitedBy, clamp_plan


def build_allotment(name: str = "A", limit_a: float = 16.0, phases: int | None = None) -> Allotment:
    return Allotment((name, 1), limit_a, phases)


def any_plan(world: World, seed: int) -> list[Allotment]:
    """Whatever somebody may come up with."""
    random = Random(seed)
    keys = [*(one.key for one in world.cars), ("nobody", 7)]
    wild = [0.0, 3.0, 6.0, 7.2, 16.0, 32.0, 1e300, -6.0, math.nan, math.inf, random.uniform(0, 50)]
    return [
        Allotment(random.choice(keys), random.choice(wild), random.choice([None, None, 1, 2, 3, 0]))
        for _ in range(random.randrange(2 * len(keys)))
    ]


@settings(max_examples=150)
@given(worlds, st.integers(0, 2**32 - 1))
def test_nothing_beyond_the_room_gets_through_whatever_the_plan(world: World, seed: int) -> None:
    plan = any_plan(world, seed)

    allotments, clamps = clamp_plan(plan, world.cars, world.room)

    by_key = {one.key: one for one in world.cars}
    assert list_exceeded_limits(allotments, world.cars, world.room) == []
    assert [one.key for one in allotments] == sorted(by_key)
    assert not [one for one in allotments if 0 < one.limit_a < by_key[one.key].least_a]
    assert not [one for one in allotments if world.room.pauses and one.limit_a != 0]
    assert {one.key for one in allotments if one not in plan} <= {one.key for one in clamps}
    assert clamp_plan(allotments, world.cars, world.room) == (allotments, ())


def test_a_plan_that_fits_is_not_changed() -> None:
    cars = [car("A", (1, 2, 3)), car("B")]
    plan = (Allotment(("A", 1), 7.25, None, LimitedBy.RAMP), build_allotment("B", 24.75))

    assert clamp_plan(plan, cars, room(phase_a=32.0)) == (plan, ())


@pytest.mark.parametrize(
    ("limits", "given_a", "word"),
    [
        ({"pauses": True}, 0.0, LimitedBy.PAUSE),
        ({"total_kw": 5.0}, 7.2, LimitedBy.HEADROOM),
        ({"total_kw": 4.1}, 0.0, LimitedBy.HEADROOM),
        ({"total_kw": math.nan}, 0.0, LimitedBy.HEADROOM),
        ({"phase_a": (30.0, 9.99, 30.0)}, 9.9, LimitedBy.PHASE_LIMIT),
        ({"phase_a": (30.0,)}, 0.0, LimitedBy.PHASE_LIMIT),
        ({"feeder_a": {"main": (30.0, 30.0, 8.0)}}, 8.0, LimitedBy.FEEDER_LIMIT),
        ({"feeder_a": {}}, 0.0, LimitedBy.FEEDER_LIMIT),
        ({"ceiling_kw": 5.0}, 7.2, LimitedBy.CEILING),
        ({"ceiling_kw": 5.0, "voltage_v": 0.0}, 0.0, LimitedBy.CEILING),
    ],
)
def test_what_is_too_much_becomes_what_is_left_and_the_clamp_names_the_limit(
    limits: dict[str, Any], given_a: float, word: LimitedBy
) -> None:
    allotments, clamps = clamp_plan([build_allotment()], [car(phases=(1, 2, 3))], room(**limits))

    assert allotments == (Allotment(("A", 1), given_a, None, word),)
    assert clamps == (LimitClamp(("A", 1), 16.0, given_a, word),)


@pytest.mark.parametrize(
    ("plan", "given_a", "word"),
    [
        ([build_allotment(limit_a=40.0)], 32.0, LimitedBy.CHARGER_LIMIT),
        ([build_allotment(limit_a=5.9)], 0.0, LimitedBy.LEAST_CURRENT),
        ([build_allotment(limit_a=-1.0)], 0.0, LimitedBy.INVALID),
        ([build_allotment(limit_a=math.nan)], 0.0, LimitedBy.INVALID),
        ([build_allotment(limit_a=math.inf)], 0.0, LimitedBy.INVALID),
        ([build_allotment(phases=2)], 0.0, LimitedBy.INVALID),
        ([build_allotment(phases=1)], 0.0, LimitedBy.INVALID),
        ([build_allotment(phases=3), build_allotment(limit_a=6.0)], 16.0, LimitedBy.DUPLICATE),
        ([build_allotment(), build_allotment("B")], 16.0, LimitedBy.UNKNOWN_CAR),
        ([], 0.0, LimitedBy.NOT_PLANNED),
    ],
)
def test_what_is_no_current_no_car_or_no_plan_is_clamped(
    plan: list[Allotment], given_a: float, word: LimitedBy
) -> None:
    allotments, clamps = clamp_plan(plan, [car(phases=(1, 2, 3))], room())

    assert [one.limit_a for one in allotments] == [given_a]
    assert [one.limited_by for one in clamps] == [word]


def test_one_phase_counts_on_one_phase_alone_where_the_car_can_be_switched() -> None:
    switchable = car("A", (2, 3, 1), can_switch_phases=True)

    allotments, clamps = clamp_plan(
        [build_allotment("A", 16.0, 1), build_allotment("B")], [switchable, car("B", (1,))], room(phase_a=16.0)
    )

    assert ([one.limit_a for one in allotments], clamps) == ([16.0, 16.0], ())


def test_what_one_car_was_given_is_not_there_for_the_next() -> None:
    cars = [car("A", (1, 2, 3)), car("B", (1, 2, 3))]

    allotments, _ = clamp_plan([build_allotment("A", 10.0), build_allotment("B", 10.0)], cars, room(total_kw=11.73))

    assert [one.limit_a for one in allotments] == [10.0, 7.0]


def test_guaranteed_minima_come_first_then_priority() -> None:
    cars = [car("A"), car("B", priority=2), car("C", guaranteed_a=6.0)]

    allotments, clamps = clamp_plan(
        [build_allotment("A"), build_allotment("B"), build_allotment("C")], cars, room(phase_a=40.0)
    )

    assert [one.limit_a for one in allotments] == [8.0, 16.0, 16.0]
    assert clamps == (LimitClamp(("A", 1), 16.0, 8.0, LimitedBy.PHASE_LIMIT),)
