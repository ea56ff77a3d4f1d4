"""What is delayed, for how long, and what never is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.charging_agent.charging.sharing.conftest import NEVER, NOON, Site, by_name, car, room

from charging_agent.charging.sharing import Allotment, CarMemory, LimitedBy, Memory, SharingPolicy, allocate

STILL = SharingPolicy(ramp_percent_per_s=1e6)


def limits(told: dict[str, Allotment]) -> dict[str, float]:
    return {name: one.limit_a for name, one in told.items()}


def test_a_limit_rises_by_three_percent_of_the_highest_current_each_second() -> None:
    site = Site([car(max_a=32.0)], room())

    told = site.rounds(45)

    assert [one["A"].limit_a for one in told] == [6.0, 20.4, 32.0]
    assert [one["A"].limited_by for one in told] == [LimitedBy.RAMP, LimitedBy.RAMP, LimitedBy.CHARGER_LIMIT]


def test_a_limit_falls_at_once_however_far_and_a_stop_is_at_once() -> None:
    site = Site([car(max_a=32.0)], room(), STILL)
    site.rounds(60)
    site.policy = NEVER

    site.room = room(phase_a=7.0)
    assert limits(site.round(1)) == {"A": 7.0}

    site.room = room(phase_a=5.9)
    assert limits(site.round(1)) == {"A": 0.0}


def test_a_lower_ceiling_holds_at_once() -> None:
    site = Site([car(max_a=32.0)], room(), STILL)
    site.rounds(60)
    site.policy = NEVER

    site.room = room(ceiling_kw=5.0)

    assert limits(site.round(1)) == {"A": 21.7}


def test_a_stopped_car_stays_off_for_a_minute_and_then_starts_with_room_to_spare() -> None:
    site = Site([car()], room(), STILL)
    site.rounds(60)
    site.room = room(pauses=True)
    site.round()
    site.room = room()

    told = site.rounds(60)

    assert [one["A"].limited_by for one in told[:3]] == [LimitedBy.MINIMUM_OFF_TIME] * 3
    assert told[3]["A"].limit_a == 32.0


def test_a_stopped_car_waits_three_minutes_where_it_would_only_just_fit() -> None:
    site = Site([car()], room(phase_a=6.5), STILL)
    site.rounds(60)
    site.room = room(phase_a=5.0)
    site.round()
    site.room = room(phase_a=6.5)

    told = site.rounds(180)

    assert [one["A"].limited_by for one in told[3:11]] == [LimitedBy.HYSTERESIS] * 8
    assert told[11]["A"].limit_a == 6.5


def test_a_stopped_car_whose_charger_did_not_hear_of_it_is_off_all_the_same() -> None:
    site = Site([car()], room(), STILL)
    site.rounds(60)
    site.room = room(pauses=True)
    site.round()
    site.room, site.cars = room(), [replace(site.cars[0], limit_a=32.0, is_charging=True)]

    assert site.round()["A"].limited_by is LimitedBy.MINIMUM_OFF_TIME


def test_a_guaranteed_minimum_waits_for_no_hysteresis_and_no_ramp() -> None:
    site = Site([car(guaranteed_a=9.0, max_a=9.0)], room(phase_a=9.0), SharingPolicy())
    assert limits(site.round()) == {"A": 9.0}

    site.room = room(pauses=True)
    site.round()
    site.room = room(phase_a=9.0)

    assert [one["A"].limit_a for one in site.rounds(60)] == [0.0, 0.0, 0.0, 9.0]


def test_a_car_that_has_just_come_starts_at_once() -> None:
    site = Site([car("A")], room(), STILL)
    site.rounds(60)
    site.cars.append(car("B"))

    assert site.round()["B"].limit_a == 32.0


def test_small_changes_wait_until_three_minutes_after_the_last_one() -> None:
    site = Site([car("A"), car("B")], room(phase_a=40.0), STILL)
    site.round()
    assert limits(site.round()) == {"A": 20.0, "B": 20.0}

    # Room for half a kilowatt more on each.
    site.room = room(phase_a=44.0)
    told = site.rounds(180)

    assert {one["A"].limit_a for one in told[:11]} == {20.0}
    assert told[0]["A"].limited_by is LimitedBy.HYSTERESIS
    assert limits(told[11]) == {"A": 22.0, "B": 22.0}


def test_a_small_reduction_that_no_limit_asks_for_waits_too() -> None:
    site = Site([car("A"), car("B")], room(phase_a=40.0), STILL)
    site.rounds(30)
    site.cars[0] = replace(site.cars[0], energy_left_kwh=23.0, departure=site.now + timedelta(hours=4, minutes=45))

    told = site.rounds(180)

    assert {one["B"].limit_a for one in told[:11]} == {20.0}
    assert told[11]["B"].limit_a < 19.5

    # Where a limit asks for it, it does not wait.
    site.room = room(phase_a=39.0)
    assert sum(limits(site.round()).values()) <= 39.0


def test_a_small_reduction_in_favour_of_another_waits_but_never_stops_one_that_may_start() -> None:
    site = Site([car("A", max_a=10.0), car("B", max_a=10.0)], room(phase_a=18.0), STILL)
    site.rounds(30)
    site.cars.append(car("C", max_a=10.0))

    assert limits(site.round()) == {"A": 6.0, "B": 6.0, "C": 6.0}

    site.room = room(phase_a=20.0)
    site.cars.pop()

    assert limits(site.round()) == {"A": 6.0, "B": 6.0}


def test_turns_last_a_quarter_of_an_hour_and_nobody_starves() -> None:
    site = Site([car("A"), car("B"), car("C")], room(phase_a=13.0), STILL)

    told = site.rounds(4 * 3600, every_s=30)

    on_s = {name: 30 * sum(one[name].limit_a > 0 for one in told) for name in "ABC"}
    starts = sum(not a[name].limit_a and b[name].limit_a > 0 for a, b in pairwise(told) for name in "ABC")
    assert min(on_s.values()) > 0.9 * 4 * 3600 * 2 / 3
    assert starts <= 4 * 4 * 2


def test_a_three_phase_car_is_not_overtaken_for_ever_by_smaller_ones() -> None:
    small = [car(f"S{number}", (number % 3 + 1,)) for number in range(6)]
    site = Site([], room(phase_a=7.0), STILL)
    # Their turns end at different times, so that there is never room on all three phases by chance.
    for one in small:
        site.cars.append(one)
        site.rounds(120, every_s=60)
    site.cars.append(car("Z", (1, 2, 3)))

    told = site.rounds(4 * 3600, every_s=60)

    share_of_time = {one.key[0]: sum(now[one.key[0]].limit_a > 0 for now in told) / len(told) for one in site.cars}
    assert min(share_of_time.values()) > 0.15


def test_a_car_that_could_not_charge_on_an_empty_site_holds_up_nobody() -> None:
    site = Site([car("A", (1, 2, 3)), car("B", (1,)), car("C", (2,))], room(phase_a=(8.0, 8.0, 0.0)), STILL)

    assert limits(site.rounds(240)[-1]) == {"A": 0.0, "B": 8.0, "C": 8.0}


def test_a_car_that_comes_after_others_waits_behind_them_though_the_place_was_long_empty() -> None:
    cars = [car("A", wants=False), car("B"), car("C")]
    site = Site(cars, room(phase_a=11.0), STILL)
    site.rounds(1200)
    site.cars[0] = replace(site.cars[0], wants=True)

    told = site.rounds(3600)

    on = [next(name for name, one in now.items() if one.limit_a > 0) for now in told]
    assert [name for name, after in pairwise(["", *on]) if name != after][1:] == ["C", "B", "A"] or on[0] in "BC"
    assert on.index("A") > on.index("B" if on[0] == "C" else "C")


def test_a_driver_with_priority_need_not_wait_for_a_turn_to_end() -> None:
    site = Site([car("A")], room(phase_a=11.0), STILL)
    site.rounds(60)
    site.cars.append(car("B", priority=1))

    assert limits(site.round()) == {"A": 0.0, "B": 11.0}


def test_phases_go_down_at_once_and_up_after_ten_minutes() -> None:
    site = Site([car(phases=(1, 2, 3), max_a=16.0, can_switch_phases=True)], room(ceiling_kw=12.0), STILL)
    assert site.rounds(30)[-1]["A"] == Allotment(("A", 1), 16.0, 3, LimitedBy.CHARGER_LIMIT)

    site.room = room(total_kw=4.0)
    assert (site.round()["A"].phases, site.round()["A"].limit_a) == (1, 16.0)

    site.room = room(ceiling_kw=12.0)
    told = site.rounds(630)

    assert [one["A"].phases for one in told] == [1] * 38 + [3] * 4


def test_phases_do_not_go_up_for_less_than_the_hysteresis() -> None:
    site = Site([car(phases=(1, 2, 3), max_a=16.0, can_switch_phases=True)], room(total_kw=4.0), STILL)
    site.rounds(3600)

    site.room = room(total_kw=4.5)

    assert {one["A"].phases for one in site.rounds(3600)} == {1}


def test_nobody_is_stopped_so_that_another_may_have_three_phases() -> None:
    cars = [car(name, (1, 2, 3), can_switch_phases=True) for name in "ABC"]
    site = Site(cars, room(total_kw=4.2), STILL)
    site.rounds(60)

    told = site.rounds(3600)[-1]

    assert {(one.limit_a >= 6.0, one.phases) for one in told.values()} == {(True, 1)}


def test_only_as_many_go_down_to_one_phase_as_have_to() -> None:
    cars = [car(name, (1, 2, 3), can_switch_phases=True) for name in "ABC"]
    site = Site(cars, room(total_kw=10.0), STILL)

    assert [one.phases for one in site.round().values()] == [3, 3, 1]

    # D is new and can charge only if one more of them makes room for it.
    site.cars.append(car("D"))

    told = site.round()
    assert [one.phases for one in told.values()] == [3, 1, 1, None]
    assert min(one.limit_a for one in told.values()) >= 6.0


def test_nobody_goes_down_to_one_phase_for_a_car_of_lower_priority_without_a_guarantee() -> None:
    vip = car("A", (1, 2, 3), 16.0, can_switch_phases=True, priority=1)
    site = Site([vip, car("B")], room(total_kw=11.5), STILL)
    assert [(one.limit_a > 0, one.phases) for one in site.rounds(60)[-1].values()] == [(True, 3), (False, None)]

    site.cars[1] = replace(site.cars[1], guaranteed_a=6.0)
    site.room = room(total_kw=5.0)

    assert [(one.limit_a > 0, one.phases) for one in site.round().values()] == [(True, 1), (True, None)]


def test_those_go_up_to_three_phases_for_whom_it_is_worth_it() -> None:
    cars = [
        car("A", (1, 2, 3), 16.0, can_switch_phases=True),
        car("B", (1, 2, 3), 16.0, can_switch_phases=True, feeder_id="east"),
    ]
    site = Site(cars, room(total_kw=4.0, feeder_a={"main": (99.0,) * 3, "east": (99.0,) * 3}), STILL)
    site.rounds(660)

    # On the feeder of B three phases give no more than one does.
    site.room = room(feeder_a={"main": (99.0,) * 3, "east": (16.0, 6.1, 6.1)})

    assert [one.phases for one in site.round().values()] == [3, 1]


def test_a_car_that_was_switched_to_other_phases_starts_anew() -> None:
    site = Site([car(phases=(1, 2, 3), max_a=16.0, can_switch_phases=True)], room())
    site.rounds(60)
    site.room = room(total_kw=4.0)

    assert [(one["A"].phases, one["A"].limit_a) for one in site.rounds(30)] == [(1, 7.2), (1, 14.4)]


def test_a_clock_that_was_set_back_makes_no_delay_longer() -> None:
    ahead = NOON + timedelta(days=365)
    memory = Memory(
        (CarMemory(("A", 1), 0.0, 1, ahead, has_stopped=True, changed_at=ahead, raised_at=ahead, switched_at=ahead),),
        ahead,
    )
    first = allocate([car()], room(), memory, NOON, STILL)
    later = allocate([car()], room(), first.memory, NOON + timedelta(seconds=60), STILL)

    assert by_name(first)["A"].limited_by is LimitedBy.MINIMUM_OFF_TIME
    assert by_name(later)["A"].limit_a == 32.0


def test_the_next_car_at_an_evse_waits_for_nothing_that_the_one_before_did() -> None:
    site = Site([car()], room(), STILL)
    site.rounds(60)
    site.room = room(pauses=True)
    site.round()
    site.room, site.cars = room(), [replace(site.cars[0], wants=False)]
    site.round()
    site.cars = [replace(site.cars[0], wants=True)]

    assert limits(site.round()) == {"A": 32.0}


def test_after_a_restart_of_the_agent_the_cars_that_charge_go_on() -> None:
    cars = [car("A"), car("B", limit_a=6.0, is_charging=True), car("C", limit_a=6.0, is_charging=True)]

    assert limits(by_name(allocate(cars, room(phase_a=13.0), Memory.initial(), NOON, STILL))) == {
        "A": 0.0,
        "B": 6.0,
        "C": 6.0,
    }


def test_a_limit_that_a_charger_did_not_take_is_not_what_the_next_one_rises_from() -> None:
    site = Site([car(max_a=32.0)], room())
    site.rounds(60)
    site.cars = [replace(site.cars[0], limit_a=6.0)]

    assert limits(site.round()) == {"A": 20.4}


@settings(max_examples=5)
@given(st.randoms(use_true_random=False))
def test_phases_are_switched_up_at_most_once_in_ten_minutes_whatever_the_room(random: Random) -> None:
    site = Site([car("A", (1, 2, 3), 16.0, can_switch_phases=True), car("B", (2,), 16.0)], room())
    ups: list[float] = []
    before = 3
    for number in range(120):
        site.room = room(total_kw=random.choice([3.0, 4.0, 6.0, 12.0]))
        now = site.round()["A"].phases or 3
        ups += [15.0 * number] if now > before else []
        before = now

    assert all(b - a >= 600 for a, b in pairwise(ups))


@pytest.mark.parametrize("step_a", [0.0, -1.0])
def test_a_step_that_is_none_is_refused(step_a: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        allocate([car()], room(), Memory.initial(), NOON, SharingPolicy(step_a=step_a))
