"""Powers that can be set now, and what the plan says of each car."""

from dataclasses import replace

import numpy as np
import pytest

from charging_agent.scheduling import (
    ChargingRequest,
    Circuit,
    SchedulingProblem,
    describe_cars,
    hand_out_first_powers,
    plan_charging,
)

AMPERE_KW = 0.23


def car(key: str, energy_kwh: float, end: int = 8, power_now_kw: float = 0.0) -> ChargingRequest:
    return ChargingRequest(
        key, 0, end, energy_kwh, 32 * AMPERE_KW, 6 * AMPERE_KW, AMPERE_KW, phases=(1,), power_now_kw=power_now_kw
    )


def site(*cars: ChargingRequest, limit_kw: float = 100.0) -> SchedulingProblem:
    return SchedulingProblem(900.0, 8, cars, np.full(8, 0.3), circuits=(Circuit("site", limit_kw=limit_kw),))


def first_amperes(problem: SchedulingProblem) -> list[float]:
    laxity_h = [one.end_step * problem.step_h - one.energy_kwh / one.max_power_kw for one in problem.requests]
    return list(hand_out_first_powers(problem, plan_charging(problem), laxity_h) / AMPERE_KW)


def test_powers_are_whole_amperes_near_the_plan() -> None:
    # 7.13 kWh in eight steps need 15.5 A all the time.
    always = car("a", 15.5 * AMPERE_KW * 2)

    assert first_amperes(site(always, limit_kw=15.5 * AMPERE_KW)) == pytest.approx([15.0])
    assert first_amperes(site(always)) == pytest.approx([31.0])


def test_rounding_up_never_takes_more_than_the_circuit_leaves() -> None:
    cars = [car(key, 15.5 * AMPERE_KW * 2) for key in "abcd"]

    amperes = first_amperes(site(*cars, limit_kw=4 * 15.5 * AMPERE_KW))

    assert sum(amperes) <= 62.0 + 1e-9
    assert all(ampere == pytest.approx(round(ampere)) for ampere in amperes)


def test_a_car_that_charges_now_goes_on_when_there_is_room_for_one() -> None:
    problem = site(car("a", 2.0), car("b", 2.0, power_now_kw=1.4), limit_kw=7 * AMPERE_KW)

    amperes = first_amperes(problem)

    assert amperes[0] == 0.0
    assert amperes[1] >= 6.0


def test_a_car_plan_names_limit_change_and_cost() -> None:
    prices = np.array([0.4] * 4 + [0.1] * 4)
    problem = replace(site(car("a", 6.0), car("b", 6.0), limit_kw=10.0), import_price_per_kwh=prices)

    plan = describe_cars(problem, plan_charging(problem))

    assert sum(one.energy_kwh for one in plan) == pytest.approx(12.0)
    assert {one.limited_by for one in plan} == {"circuit site"}
    assert plan[0].limit_price_per_kwh == pytest.approx(0.3)
    assert sum(one.cost for one in plan) == pytest.approx(10 * 0.1 + 2 * 0.4)
    assert [one.cost_at_once for one in plan] == pytest.approx([6 * 0.4] * 2)
    assert all(one.change_step is not None for one in plan)


def test_a_car_without_limits_waits_for_the_cheap_hours() -> None:
    prices = np.array([0.4] * 4 + [0.1] * 4)
    problem = replace(site(car("a", 3.68)), import_price_per_kwh=prices)

    (plan,) = describe_cars(problem, plan_charging(problem))

    assert (plan.power_kw, plan.change_step, plan.limited_by) == (0.0, 4, None)
    assert plan.next_power_kw == pytest.approx(32 * AMPERE_KW)
