"""A plan changes a car's power seldom, at no cost."""

from dataclasses import replace

import numpy as np
import pytest

from charging_agent.scheduling import ChargingRequest, ChargingSchedule, Circuit, SchedulingProblem, plan_charging

TIME_OF_USE = np.repeat([0.2, 0.3, 0.4, 0.3, 0.2], [32, 16, 24, 12, 12])


def random_site(
    cars: int, seed: int, *, demand_charge: float = 0.0, limit_kw: float | None = None
) -> SchedulingProblem:
    random = np.random.default_rng(seed)
    requests: list[ChargingRequest] = []
    for index in range(cars):
        first = int(random.integers(0, 60))
        end = min(96, first + int(random.integers(16, 70)))
        power_kw = float(random.choice([3.7, 7.4, 11.0, 22.0]))
        energy_kwh = min(float(random.uniform(5, 40)), 0.9 * power_kw * (end - first) / 4)
        requests.append(ChargingRequest(f"car {index}", first, end, energy_kwh, power_kw))
    circuits = (Circuit("site", limit_kw=limit_kw),)
    return SchedulingProblem(
        900.0, 96, tuple(requests), TIME_OF_USE, circuits=circuits, demand_charge_per_kw=demand_charge
    )


def starts_per_car(plan: ChargingSchedule) -> float:
    charges = plan.power_matrix_kw() > 1e-6
    starts = charges & ~np.pad(charges, ((0, 0), (1, 0)))[:, :-1]
    return float(starts.sum()) / len(plan.keys)


def most_changes_in_a_block(problem: SchedulingProblem, plan: ChargingSchedule) -> int:
    changes = np.abs(np.diff(plan.power_matrix_kw(), axis=1)) > 1e-6
    block = np.cumsum(np.diff(problem.import_price_per_kwh, prepend=problem.import_price_per_kwh[0]) != 0)
    most = 0
    for car, request in enumerate(problem.requests):
        for number in np.unique(block):
            steps = np.flatnonzero(block == number)
            steps = steps[(steps >= request.first_step) & (steps < request.end_step)]
            most = max(most, int(changes[car, steps[:-1]].sum()) if len(steps) else 0)
    return most


@pytest.mark.parametrize("seed", range(5))
def test_without_a_binding_limit_power_changes_at_most_once_in_a_flat_price_block(seed: int) -> None:
    problem = random_site(20, seed)

    plan = plan_charging(problem)

    assert most_changes_in_a_block(problem, plan) <= 1
    assert starts_per_car(plan) <= 1.5


@pytest.mark.parametrize(("demand_charge", "limit_kw"), [(0.0, None), (15.0, None), (0.0, 45.0), (15.0, 45.0)])
def test_calm_costs_nothing(demand_charge: float, limit_kw: float | None) -> None:
    problem = random_site(20, 1, demand_charge=demand_charge, limit_kw=limit_kw)

    calm, cheapest = plan_charging(problem), plan_charging(problem, is_calm=False)

    assert calm.cost.total == pytest.approx(cheapest.cost.total, rel=1e-7)
    assert calm.shortfall_kwh == pytest.approx(cheapest.shortfall_kwh, abs=1e-6)
    assert starts_per_car(calm) < starts_per_car(cheapest)


@pytest.mark.parametrize("seed", range(4))
def test_under_a_demand_charge_cars_take_turns(seed: int) -> None:
    assert starts_per_car(plan_charging(random_site(30, seed, demand_charge=15.0))) <= 1.5


def test_the_power_that_is_sent_stays_while_the_price_is_flat() -> None:
    problem = replace(random_site(1, 0), import_price_per_kwh=np.full(96, 0.3))
    energy_kwh, sent_kw = 20.0, [7.4]
    while energy_kwh > 1e-6 and len(sent_kw) < 60:
        car = ChargingRequest("a", 0, 60 - len(sent_kw), energy_kwh, 11.0, power_now_kw=sent_kw[-1])
        sent_kw.append(float(plan_charging(replace(problem, requests=(car,))).powers_of(0)[0]))
        energy_kwh -= sent_kw[-1] / 4

    assert len(sent_kw) - 1 == 8
    assert sent_kw[1:] == pytest.approx([10.0] * 8)
