"""Who gets how much, where nothing is delayed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.charging_agent.charging.sharing.conftest import HASTY, NOON, Site, amperes, at_once, car, room

from charging_agent.charging.sharing import Allotment, Car, LimitedBy, Memory, SharingPolicy, allocate
from ev_service.charging import ChargingMode

SOON = NOON + timedelta(hours=2)


def test_where_there_is_enough_everybody_gets_the_ceiling_or_what_the_charger_can() -> None:
    told = at_once([car("A", max_a=32.0), car("B", (1, 2, 3), 16.0)], room(ceiling_kw=5.0))

    assert told["A"] == Allotment(("A", 1), 21.7, None, None)
    assert told["B"] == Allotment(("B", 1), 7.2, None, None)


def test_five_kilowatt_on_one_phase_of_16_a_is_what_the_charger_can() -> None:
    assert at_once([car(max_a=16.0)], room(ceiling_kw=5.0))["A"] == Allotment(
        ("A", 1), 16.0, None, LimitedBy.CHARGER_LIMIT
    )


def test_currents_are_rounded_down_to_whole_amperes_where_chargers_take_no_others() -> None:
    whole = replace(HASTY, step_a=1.0)

    assert amperes([car("A", (1, 2, 3)), car("B")], room(ceiling_kw=5.0), whole) == {"A": 7.0, "B": 21.0}


def test_equal_cars_share_a_phase_equally() -> None:
    assert amperes([car("A"), car("B"), car("C")], room(phase_a=30.3)) == {"A": 10.1, "B": 10.1, "C": 10.1}


def test_what_can_not_be_divided_goes_to_the_first_in_line() -> None:
    assert amperes([car("A"), car("B"), car("C")], room(phase_a=30.2)) == {"A": 10.1, "B": 10.1, "C": 10.0}


def test_what_one_car_can_not_take_goes_to_the_others() -> None:
    assert amperes([car("A", max_a=8.0), car("B"), car("C")], room(phase_a=40.0)) == {"A": 8.0, "B": 16.0, "C": 16.0}


def test_a_fast_car_takes_what_the_phase_carries_before_others_of_its_priority() -> None:
    cars = [car("A", energy_left_kwh=40.0, departure=SOON), car("B", mode=ChargingMode.FAST)]

    assert amperes(cars, room(phase_a=40.0)) == {"A": 8.0, "B": 32.0}


def test_a_fast_car_waits_for_a_higher_priority_and_for_guarantees() -> None:
    cars = [car("A", priority=1), car("B", mode=ChargingMode.FAST), car("C", guaranteed_a=8.0)]

    assert amperes(cars, room(phase_a=46.0)) == {"A": 32.0, "B": 6.0, "C": 8.0}


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        ({"total_kw": 6.9}, LimitedBy.HEADROOM),
        ({"phase_a": (100.0, 10.0, 100.0)}, LimitedBy.PHASE_LIMIT),
        ({"feeder_a": {"main": (100.0, 100.0, 10.0)}}, LimitedBy.FEEDER_LIMIT),
        ({"ceiling_kw": 6.9}, None),
    ],
)
def test_a_three_phase_car_is_held_by_the_tightest_limit_and_told_which(
    limits: dict[str, Any], word: LimitedBy | None
) -> None:
    assert at_once([car(phases=(1, 2, 3))], room(**limits))["A"] == Allotment(("A", 1), 10.0, None, word)


def test_a_phase_or_a_feeder_of_which_nothing_is_known_carries_nothing() -> None:
    cars = [car("A", (3,)), car("B", feeder_id="west"), car("C")]

    told = at_once(cars, room(phase_a=(100.0,), feeder_a={"main": (100.0,)}))

    assert [(one.limit_a, one.limited_by) for one in told.values()] == [
        (0.0, LimitedBy.PHASE_LIMIT),
        (0.0, LimitedBy.FEEDER_LIMIT),
        (32.0, LimitedBy.CHARGER_LIMIT),
    ]


def test_an_evse_wired_to_one_phase_twice_counts_there_twice() -> None:
    assert amperes([car(phases=(1, 1))], room(phase_a=20.0)) == {"A": 10.0}


def test_cars_on_a_free_phase_rise_past_those_on_a_crowded_one() -> None:
    cars = [car("A", (1,)), car("B", (1,)), car("C", (2,)), car("D", (2, 3, 1))]

    assert amperes(cars, room(phase_a=(30.0, 30.0, 30.0))) == {"A": 10.0, "B": 10.0, "C": 20.0, "D": 10.0}


def test_less_than_six_amperes_for_each_lets_as_many_charge_as_fit() -> None:
    told = at_once([car("A"), car("B"), car("C")], room(phase_a=13.0))

    assert [one.limit_a for one in told.values()] == [6.5, 6.5, 0.0]
    assert told["C"].limited_by is LimitedBy.PHASE_LIMIT


def test_a_ceiling_below_the_least_power_of_a_three_phase_car_stops_it() -> None:
    told = at_once([car(phases=(1, 2, 3))], room(ceiling_kw=4.1))

    assert told["A"] == Allotment(("A", 1), 0.0, None, LimitedBy.CEILING)


def test_a_ceiling_below_the_least_power_of_a_three_phase_car_switches_one_that_can_be_switched() -> None:
    told = at_once([car(phases=(2, 3, 1), can_switch_phases=True)], room(ceiling_kw=4.1))

    assert told["A"] == Allotment(("A", 1), 17.8, 1, None)


def test_a_charger_that_gives_less_than_the_least_current_gives_nothing() -> None:
    assert at_once([car(max_a=5.9)], room())["A"] == Allotment(("A", 1), 0.0, None, LimitedBy.CHARGER_LIMIT)


def test_higher_priority_is_served_before_lower_gets_anything() -> None:
    assert amperes([car("A"), car("B", priority=1)], room(phase_a=40.0)) == {"A": 8.0, "B": 32.0}
    assert amperes([car("A"), car("B", priority=1)], room(phase_a=36.0)) == {"A": 0.0, "B": 32.0}


def test_a_guaranteed_minimum_stands_above_priority() -> None:
    cars = [car("A", guaranteed_a=10.0), car("B", priority=9), car("C", guaranteed_a=2.0)]

    assert amperes(cars, room(phase_a=26.0)) == {"A": 10.0, "B": 10.0, "C": 6.0}


def test_a_guaranteed_minimum_ranks_below_pause_ceiling_and_limits() -> None:
    cars = [car("A", (1, 2, 3), guaranteed_a=10.0)]

    assert amperes(cars, room(pauses=True)) == {"A": 0.0}
    assert amperes(cars, room(ceiling_kw=5.0)) == {"A": 7.2}
    assert amperes(cars, room(total_kw=4.0)) == {"A": 0.0}


def test_where_not_all_guarantees_fit_as_many_as_can_are_met_on_one_phase() -> None:
    cars = [car("A", (1, 2, 3), guaranteed_a=8.0, can_switch_phases=True), car("B", (2,), guaranteed_a=8.0)]

    told = at_once(cars, room(phase_a=(16.0, 12.0, 16.0)))

    assert (told["A"].phases, told["A"].limit_a, told["B"].limit_a) == (1, 16.0, 12.0)


def test_what_is_needed_by_the_departure_comes_before_equal_shares() -> None:
    urgent = car("A", energy_left_kwh=6.9, departure=NOON + timedelta(hours=3))

    told = amperes([urgent, car("B")], room(phase_a=24.0))

    # Read one hour after noon: 6.9 kWh in two hours are 15 A.
    assert told == {"A": 15.0, "B": 9.0}


def test_where_needs_are_more_than_there_is_the_car_with_the_least_time_to_spare_goes_first() -> None:
    cars = [
        car("A", energy_left_kwh=40.0, departure=NOON + timedelta(hours=11)),
        car("B", energy_left_kwh=36.8, departure=NOON + timedelta(hours=9)),
    ]

    # Read one hour after noon: A needs 17.4 A and could wait 4.6 h, B needs 20 A and could wait 3 h.
    assert amperes(cars, room(phase_a=30.0)) == {"A": 10.0, "B": 20.0}


def test_where_not_all_can_charge_a_car_that_can_not_wait_goes_first() -> None:
    tight = car("Z", energy_left_kwh=7.0, departure=NOON + timedelta(hours=2, minutes=5))

    assert amperes([car("A"), car("B"), tight], room(phase_a=12.0)) == {"A": 6.0, "B": 0.0, "Z": 6.0}


def test_a_departure_that_has_passed_and_energy_that_is_there_make_nobody_urgent() -> None:
    late = car("A", energy_left_kwh=20.0, departure=NOON)
    full = car("B", energy_left_kwh=0.0, departure=NOON + timedelta(hours=5))

    assert amperes([late, car("C"), full], room(phase_a=12.0)) == {"A": 6.0, "C": 6.0, "B": 0.0}
    assert amperes([late, car("C"), full], room(phase_a=96.0)) == {"A": 32.0, "C": 32.0, "B": 32.0}
    assert amperes([replace(late, key=("Z", 1)), car("C"), car("D")], room(phase_a=12.0))["Z"] == 0.0


def test_a_car_that_is_gone_or_wants_nothing_gets_nothing() -> None:
    assert at_once([car(wants=False)], room())["A"].limited_by is LimitedBy.NOT_WANTED


def test_a_car_that_takes_less_than_offered_leaves_the_rest_to_others_but_may_rise() -> None:
    site = Site([car("A"), car("B")], room(phase_a=32.0), HASTY)
    site.takes_a["A"] = 9.0

    assert {name: one.limit_a for name, one in site.rounds(120)[-1].items()} == {"A": 11.0, "B": 21.0}

    site.takes_a["A"] = 32.0

    assert {name: one.limit_a for name, one in site.rounds(120)[-1].items()} == {"A": 16.0, "B": 16.0}


def test_a_car_that_takes_less_than_offered_is_still_offered_all_where_nobody_else_wants_it() -> None:
    site = Site([car("A"), car("B", max_a=10.0)], room(phase_a=42.0), HASTY)
    site.takes_a["A"] = 9.0

    assert site.rounds(300)[-1]["A"].limit_a == 32.0


def test_a_car_has_a_minute_to_take_what_it_was_offered_and_need_not_take_the_last_ampere() -> None:
    site = Site([car("A"), car("B")], room(phase_a=32.0), HASTY)
    site.takes_a["A"] = 9.0
    assert {one["A"].limit_a for one in site.rounds(75)[1:]} == {16.0}

    site = Site([car("A"), car("B")], room(phase_a=32.0), HASTY)
    site.takes_a["A"] = 15.0
    site.rounds(120)
    site.room = room(phase_a=50.0)
    assert site.round()["A"].limit_a == 25.0


def test_a_sleeping_car_keeps_the_least_current_unless_another_car_waits_for_it() -> None:
    site = Site([car("A"), car("B")], room(phase_a=38.0), HASTY)
    site.takes_a["A"] = 0.0

    assert site.rounds(120)[-1]["A"].limit_a == 6.0

    site.room = room(phase_a=11.0)
    told = site.rounds(120)[-1]

    assert (told["A"].limit_a, told["B"].limit_a) == (0.0, 11.0)


def test_a_car_that_is_not_measured_counts_with_its_limit() -> None:
    site = Site([car("A"), car("B")], room(phase_a=32.0), HASTY)
    site.takes_a["A"] = 9.0
    site.rounds(120)
    site.cars = [replace(one, drawn_a=None) for one in site.cars]

    assert site.round()["A"].limit_a == 16.0


def test_what_a_car_draws_beyond_its_limit_is_taken_from_its_phase_and_feeder() -> None:
    cars = [car("A", max_a=10.0), car("B", (1,)), car("C", (2,)), car("D", (1,), feeder_id="east")]
    feeders = {"main": (28.0, 28.0, 30.0), "east": (10.0, 10.0, 10.0)}
    site = Site(cars, room(phase_a=38.0, feeder_a=feeders), HASTY)
    assert {name: one.limit_a for name, one in site.rounds(90)[-1].items()} == {
        "A": 10.0,
        "B": 18.0,
        "C": 28.0,
        "D": 10.0,
    }

    site.cars[0] = replace(site.cars[0], drawn_a=(16.0, 0.0, 0.0))

    # 6 A too much: all of it on the feeder; on the phase a third was taken off before, with the building.
    assert {name: one.limit_a for name, one in site.round().items()} == {"A": 10.0, "B": 12.0, "C": 28.0, "D": 10.0}

    site.room = room(phase_a=32.0, feeder_a={"main": (99.0, 99.0, 99.0), "east": (10.0, 10.0, 10.0)})
    site.cars[0] = replace(site.cars[0], drawn_a=(16.0, 0.0, 0.0))

    assert {name: one.limit_a for name, one in site.round().items()} == {"A": 9.4, "B": 9.3, "C": 32.0, "D": 9.3}


def test_a_meter_that_still_shows_the_limit_before_holds_nothing_against_a_car() -> None:
    site = Site([car("A"), car("B", max_a=10.0)], room(phase_a=42.0), HASTY)
    site.rounds(90)
    site.room = room(phase_a=32.0)
    site.round()
    site.cars[0] = replace(site.cars[0], drawn_a=(32.0, 0.0, 0.0))

    assert {name: one.limit_a for name, one in site.round().items()} == {"A": 22.0, "B": 10.0}


def test_a_car_that_draws_a_hair_more_than_its_limit_keeps_to_it() -> None:
    site = Site([car("A", max_a=6.0), car("B")], room(phase_a=32.0), HASTY)
    site.rounds(90)
    site.cars[0] = replace(site.cars[0], drawn_a=(6.9, 0.0, 0.0))

    assert site.round()["B"].limit_a == 26.0


def test_two_cars_at_one_evse_are_refused() -> None:
    with pytest.raises(ValueError, match="same key"):
        allocate([car("A"), car("A")], room(), Memory.initial(), NOON, SharingPolicy())


def test_a_car_without_a_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="no phase"):
        Car(("A", 1), (), 16.0)


@pytest.mark.parametrize("voltage_v", [0.0, -230.0, float("nan")])
def test_a_voltage_that_is_none_is_refused(voltage_v: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        allocate([car("A")], room(voltage_v=voltage_v), Memory.initial(), NOON, SharingPolicy())
