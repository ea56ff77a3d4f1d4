"""Cars on surplus: what they get, when they start and stop, and that nobody else loses by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given, settings
from tests.unit.charging_agent.charging.sharing.conftest import (
    NOON,
    Site,
    World,
    car,
    phases_of,
    room,
    worlds,
)

from charging_agent.charging.sharing import (
    Allotment,
    Car,
    LimitedBy,
    SharingPolicy,
    SiteRoom,
    allocate,
    clamp_plan,
)
from ev_service.charging import ChargingMode

SURPLUS, MINIMUM = ChargingMode.SURPLUS, ChargingMode.MINIMUM_AND_SURPLUS
EAGER = SharingPolicy(surplus_start_s=0.0, surplus_stop_s=0.0, surplus_settle_s=0.0, ramp_percent_per_s=100.0)
many = settings(max_examples=200)


def share(*cars: Car, surplus_kw: float, policy: SharingPolicy = EAGER, **limits: float) -> dict[str, Allotment]:
    """What sharing comes to after some rounds with the same surplus."""
    site = Site(cars, room(surplus_kw=surplus_kw, **limits), policy)
    return site.rounds(900)[-1]


def currents(told: dict[str, Allotment]) -> dict[str, float]:
    return {name: one.limit_a for name, one in told.items()}


def test_a_car_on_surplus_gets_the_surplus_and_no_more() -> None:
    told = share(car("A", (1, 2, 3), mode=SURPLUS), surplus_kw=6.9)

    assert told["A"] == Allotment(("A", 1), 10.0, None, LimitedBy.SURPLUS)


def test_without_surplus_for_the_least_current_it_gets_nothing() -> None:
    assert share(car("A", (1, 2, 3), mode=SURPLUS), surplus_kw=4.1)["A"] == Allotment(
        ("A", 1), 0.0, None, LimitedBy.SURPLUS
    )


def test_a_small_surplus_starts_a_car_on_one_phase_where_that_can_be_switched() -> None:
    told = share(car("A", (1, 2, 3), mode=SURPLUS, can_switch_phases=True), surplus_kw=2.3)

    assert told["A"] == Allotment(("A", 1), 10.0, 1, LimitedBy.SURPLUS)


def test_two_cars_share_a_small_surplus_instead_of_waiting_for_more() -> None:
    told = share(car("A", mode=SURPLUS), car("B", (2,), mode=SURPLUS), surplus_kw=3.68)

    assert currents(told) == {"A": 8.0, "B": 8.0}


def test_minimum_and_surplus_gets_its_least_current_without_surplus_and_more_from_surplus_alone() -> None:
    cars = car("A", mode=MINIMUM), car("B", (2,), mode=MINIMUM, guaranteed_a=8.0)

    assert currents(share(*cars, surplus_kw=0.0)) == {"A": 6.0, "B": 8.0}
    assert currents(share(*cars, surplus_kw=4.6)) == {"A": 10.0, "B": 10.0}
    assert currents(share(*cars, surplus_kw=0.0, total_kw=1.0)) == {"A": 0.0, "B": 0.0}


def test_a_minimum_is_taken_off_the_surplus_before_others_have_it() -> None:
    cars = car("A", mode=MINIMUM), car("B", (2,), mode=SURPLUS)

    assert currents(share(*cars, surplus_kw=2.5)) == {"A": 10.8, "B": 0.0}
    assert currents(share(*cars, surplus_kw=2.76)) == {"A": 6.0, "B": 6.0}


def test_a_car_that_can_be_switched_has_its_minimum_on_one_phase() -> None:
    told = share(car("A", (1, 2, 3), mode=MINIMUM, can_switch_phases=True), surplus_kw=0.0)

    assert told["A"] == Allotment(("A", 1), 6.0, 1, LimitedBy.SURPLUS)


def test_a_guarantee_gives_a_car_in_mode_surplus_nothing_from_the_grid() -> None:
    assert share(car("A", mode=SURPLUS, guaranteed_a=16.0), surplus_kw=0.0)["A"].limit_a == 0


def test_ceiling_pause_and_headroom_stand_above_surplus() -> None:
    one = car("A", mode=SURPLUS)

    assert share(one, surplus_kw=20.0, ceiling_kw=2.3)["A"].limit_a == 10.0
    assert share(one, surplus_kw=20.0, total_kw=2.3)["A"] == Allotment(("A", 1), 10.0, None, LimitedBy.HEADROOM)
    assert share(one, surplus_kw=20.0, pauses=True)["A"] == Allotment(("A", 1), 0.0, None, LimitedBy.PAUSE)


def test_it_starts_once_there_has_been_enough_for_a_minute() -> None:
    site = Site([car("A", mode=SURPLUS, limit_a=0.0)], room(surplus_kw=5.0))

    starts = [told["A"].limit_a for told in site.rounds(90)]

    assert starts == [0.0, 0.0, 0.0, 0.0, 14.4, 14.4]


def test_clouds_shorter_than_the_delay_do_not_stop_a_car_and_it_keeps_to_its_least_current() -> None:
    site = _charging_site(12.0)

    site.room = replace(site.room, surplus_kw=0.0)
    cloudy = [told["A"].limit_a for told in site.rounds(150)]
    site.room = replace(site.room, surplus_kw=12.0)
    sunny = [told["A"].limit_a for told in site.rounds(150)]

    assert set(cloudy) == {6.0}
    assert 0.0 not in sunny
    assert sunny[-1] > 17


def test_a_lack_that_lasts_stops_it() -> None:
    site = _charging_site(12.0)

    site.room = replace(site.room, surplus_kw=0.0)
    told = [one["A"] for one in site.rounds(240)]

    assert [one.limit_a for one in told].index(0.0) == 180 / 15
    assert told[-1] == Allotment(("A", 1), 0.0, None, LimitedBy.SURPLUS)


def test_limits_stay_after_a_change_until_the_meters_can_show_it() -> None:
    site = _charging_site(12.0)
    before_a = site.cars[0].limit_a

    site.room = replace(site.room, surplus_kw=8.0)
    first = site.round()["A"].limit_a
    site.room = replace(site.room, surplus_kw=12.0)
    later = [told["A"].limit_a for told in site.rounds(60)]

    assert before_a == 17.3
    assert first == 11.5
    assert later == [11.5, 11.5, 11.5, 17.3]


def test_headroom_is_kept_while_limits_stay() -> None:
    site = _charging_site(12.0)
    site.room = replace(site.room, surplus_kw=8.0)
    site.round()

    site.room = replace(site.room, total_kw=5.0)

    assert site.round()["A"] == Allotment(("A", 1), 7.2, None, LimitedBy.HEADROOM)


def test_no_car_is_stopped_for_another_while_surplus_is_too_little_for_both() -> None:
    site = Site([car("A", mode=SURPLUS), car("B", (2,), mode=SURPLUS)], room(surplus_kw=5.0))
    site.rounds(600)

    site.room = replace(site.room, surplus_kw=2.0)
    told = site.rounds(240)

    assert currents(told[9]) == {"A": 6.0, "B": 6.0}
    assert sorted(currents(told[-1]).values()) == [0.0, 8.6]


def test_a_car_that_comes_does_not_charge_from_the_grid_for_the_delay() -> None:
    site = Site([car("A", mode=SURPLUS, limit_a=6.0)], room(surplus_kw=0.0))

    assert site.round()["A"].limit_a == 0


def test_a_day_of_passing_clouds_starts_a_car_a_few_times() -> None:
    site = Site([car("A", (1, 2, 3), mode=SURPLUS)], room(surplus_kw=8.0))

    limits_a: list[float] = []
    for number in range(8 * 60):
        # Two minutes of sun, two of clouds.
        site.room = replace(site.room, surplus_kw=8.0 if number // 2 % 2 == 0 else 1.0)
        limits_a += [told["A"].limit_a for told in site.rounds(60)]

    assert sum(before == 0 < after for before, after in pairwise(limits_a)) == 1


@many
@given(worlds)
def test_other_cars_get_the_same_whether_cars_in_mode_surplus_are_there_or_not(world: World) -> None:
    # What a car draws beyond its limit is taken from the others, in whatever mode it is.
    cars = [replace(one, drawn_a=None) if one.mode is SURPLUS else one for one in world.cars]
    others = [one for one in cars if one.mode not in (SURPLUS, MINIMUM)]

    with_them = allocate(cars, world.room, world.memory, world.now, world.policy).allotments
    rest = [one for one in cars if one.mode is not SURPLUS]
    without_them = allocate(rest, world.room, world.memory, world.now, world.policy).allotments

    keys = {one.key for one in others}
    assert [one for one in with_them if one.key in keys] == [one for one in without_them if one.key in keys]


@many
@given(worlds)
def test_nobody_on_surplus_gets_more_than_before_but_from_surplus(world: World) -> None:
    allotments = allocate(world.cars, world.room, world.memory, world.now, world.policy).allotments

    assert rise_beyond_surplus_w(allotments, world.cars, world.room) <= 0


@many
@given(worlds)
def test_the_guard_lets_nobody_have_more_either(world: World) -> None:
    asked = [Allotment(one.key, 32.0) for one in world.cars]

    allotments, _ = clamp_plan(asked, world.cars, world.room)

    assert rise_beyond_surplus_w(allotments, world.cars, world.room) <= 0


def rise_beyond_surplus_w(allotments: Sequence[Allotment], cars: Sequence[Car], of: SiteRoom) -> Decimal:
    """By how much what is given beyond minimum and limit in force exceeds the surplus that those leave [W]."""
    by_key = {one.key: one for one in cars if one.mode in (SURPLUS, MINIMUM)}
    kept, more, voltage = Decimal(0), Decimal(0), Decimal(repr(of.voltage_v))
    for told in (one for one in allotments if one.key in by_key):
        one = by_key[told.key]
        phases = len(phases_of(one, told))
        had_a = one.max_a if one.limit_a is None else one.limit_a
        own = Decimal(repr(had_a)) * phases if had_a >= one.least_a else Decimal(0)
        if one.mode is MINIMUM:
            least_a = max(Decimal(repr(one.least_a)), Decimal(ceil(one.guaranteed_a)))
            own = max(own, least_a * (1 if one.can_switch_phases else phases))
        got = Decimal(repr(told.limit_a)) * phases
        kept, more = kept + min(own, got), more + max(Decimal(0), got - own)
    surplus_w = Decimal(repr(of.surplus_kw)) * 1000 if of.surplus_kw > 0 else Decimal(0)
    return more * voltage - max(Decimal(0), surplus_w - kept * voltage)


@pytest.mark.parametrize("after_h", [-5, 5])
def test_a_clock_set_back_or_ahead_keeps_no_car_on_without_surplus(after_h: int) -> None:
    site = _charging_site(12.0)
    site.now += timedelta(hours=after_h)
    site.room = replace(site.room, surplus_kw=0.0)

    assert site.rounds(300)[-1]["A"].limit_a == 0


def _charging_site(surplus_kw: float) -> Site:
    site = Site([car("A", (1, 2, 3), mode=SURPLUS)], room(surplus_kw=surplus_kw))
    site.rounds(900)
    assert site.now > NOON
    return site
