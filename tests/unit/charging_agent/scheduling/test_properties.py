"""What holds for every plan, tried on generated sites."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charging_agent.scheduling import (
    ChargingRequest,
    Circuit,
    SchedulingProblem,
    StationaryBattery,
    describe_cars,
    hand_out_first_powers,
    plan_charging,
)
from charging_agent.scheduling.formulation import OBJECTIVE_SCALE, formulate

STEPS = 12
AMPERE_KW = 0.69
tree = (
    Circuit("site", limit_kw=30.0),
    Circuit("feeder 1", "site", limit_a=32.0),
    Circuit("feeder 2", "site", limit_kw=15.0),
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[ChargingRequest, ...]:
    return tuple(
        ChargingRequest(
            f"car {index}",
            draw(st.integers(-2, STEPS)),
            draw(st.integers(-2, STEPS + 2)),
            draw(st.floats(0, 30)),
            draw(st.sampled_from([0.0, 16 * AMPERE_KW, 32 * AMPERE_KW])),
            min_power_kw=6 * AMPERE_KW,
            step_power_kw=AMPERE_KW,
            circuit=draw(st.sampled_from([None, "feeder 1", "feeder 2"])),
            phases=draw(st.sampled_from([(1,), (2,), (1, 2, 3)])),
            power_now_kw=draw(st.sampled_from([0.0, 11.0])),
        )
        for index in range(draw(st.integers(0, 6)))
    )


def series(low: float, high: float) -> st.SearchStrategy[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    return st.lists(st.floats(low, high), min_size=STEPS, max_size=STEPS).map(lambda values: np.array(values))


problems = st.builds(
    SchedulingProblem,
    step_s=st.just(900.0),
    steps=st.just(STEPS),
    requests=requests(),
    import_price_per_kwh=series(-0.2, 0.6),
    export_price_per_kwh=series(-0.1, 0.2),
    circuits=st.just(tree),
    load_kw=series(0, 20),
    load_high_kw=st.none() | series(0, 40),
    pv_kw=series(0, 30),
    demand_charge_per_kw=st.sampled_from([0.0, 15.0]),
    peak_so_far_kw=st.floats(0, 30),
    battery=st.none()
    | st.builds(
        StationaryBattery,
        capacity_kwh=st.just(10.0),
        max_charge_kw=st.just(5.0),
        max_discharge_kw=st.just(5.0),
        energy_kwh=st.floats(0, 10),
        reserve_kwh=st.floats(0, 5),
        may_feed_cars=st.booleans(),
    ),
)


# Above the import price the plan counts the export price as the import price, and the cost would not be its aim.
problems = problems.map(
    lambda problem: replace(
        problem, export_price_per_kwh=np.minimum(problem.export_price_per_kwh, problem.import_price_per_kwh)
    )
)


def objective(problem: SchedulingProblem) -> float:
    """Cost with the value of what cars do not get, which is what the plan minimizes."""
    constant = float((problem.load_kw - problem.pv_kw) @ problem.marginal_price_per_kwh) * problem.step_h
    return formulate(problem).program.solve().objective / OBJECTIVE_SCALE + constant


def assert_tree_holds(problem: SchedulingProblem, powers: np.ndarray, battery_kw: np.ndarray) -> None:
    load = problem.load_kw if problem.load_high_kw is None else problem.load_high_kw
    steps = powers.shape[1]
    room = np.maximum(30.0 - load + problem.pv_kw, 0.0)[:steps]
    on = {key: [r.circuit == key for r in problem.requests] for key in ("feeder 1", "feeder 2")}
    assert (powers.sum(axis=0) + battery_kw[:steps] <= room + 1e-5).all()
    assert (powers[on["feeder 2"]].sum(axis=0) <= 15.0 + 1e-5).all()
    for phase in (1, 2, 3):
        share = np.array([(phase in r.phases) / len(r.phases) for r in problem.requests]) * on["feeder 1"]
        assert (share @ powers <= 32.0 * 0.23 + 1e-5).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems)
def test_no_limit_of_the_tree_is_ever_broken(problem: SchedulingProblem) -> None:
    plan = plan_charging(problem)
    powers = plan.power_matrix_kw()

    assert_tree_holds(problem, powers, plan.battery_kw)
    delivered = powers.sum(axis=1) / 4
    wanted = np.array([request.energy_kwh for request in problem.requests])
    assert delivered + plan.shortfall_kwh == pytest.approx(wanted, abs=1e-4)
    assert (powers <= np.array([[r.max_power_kw] for r in problem.requests]).reshape(-1, 1) + 1e-9).all()
    assert plan.battery_kw == pytest.approx(np.clip(plan.battery_kw, -5, 5), abs=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems)
def test_the_first_powers_can_be_set_and_break_no_limit(problem: SchedulingProblem) -> None:
    plan = plan_charging(problem)
    laxity_h = [max(one.end_step, 0) * problem.step_h - one.energy_kwh for one in problem.requests]
    powers = hand_out_first_powers(problem, plan, laxity_h)

    assert_tree_holds(problem, powers[:, None], plan.battery_kw)
    assert all(
        power == 0 or 6 * AMPERE_KW - 1e-9 <= power <= r.max_power_kw + 1e-6
        for power, r in zip(powers, problem.requests, strict=True)
    )
    assert powers / AMPERE_KW == pytest.approx(np.round(powers / AMPERE_KW), abs=1e-6)
    assert [car.key for car in describe_cars(problem, plan)] == [r.key for r in problem.requests]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problems)
def test_calm_changes_neither_cost_nor_energy(problem: SchedulingProblem) -> None:
    calm, cheapest = plan_charging(problem), plan_charging(problem, is_calm=False)

    assert calm.cost.total == pytest.approx(cheapest.cost.total, abs=1e-4)
    assert calm.shortfall_kwh == pytest.approx(cheapest.shortfall_kwh, abs=1e-6)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(problems, st.permutations(range(6)))
def test_the_order_of_the_cars_does_not_matter_and_a_plan_repeats(problem: SchedulingProblem, order: list[int]) -> None:
    mixed = tuple(problem.requests[index] for index in order if index < len(problem.requests))
    plan, again, other = (plan_charging(p) for p in (problem, problem, replace(problem, requests=mixed)))

    assert (plan.session_power_kw == again.session_power_kw).all()
    assert objective(replace(problem, requests=mixed)) == pytest.approx(objective(problem), abs=1e-4)
    assert other.shortfall_kwh.sum() == pytest.approx(plan.shortfall_kwh.sum(), abs=1e-3)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(problems, st.floats(0, 10), st.floats(0, 20))
def test_more_sun_or_a_higher_limit_never_costs(problem: SchedulingProblem, sun_kw: float, limit_kw: float) -> None:
    # Sun that must be exported at a negative price would cost.
    problem = replace(problem, export_price_per_kwh=np.zeros(STEPS), demand_charge_per_kw=0.0)
    problem = replace(problem, import_price_per_kwh=np.abs(problem.import_price_per_kwh))
    # A given value: the default one depends on the prices, and with it the objective.
    worth = tuple(replace(request, unserved_value_per_kwh=5.0) for request in problem.requests)
    problem = replace(problem, requests=worth)
    relaxed = replace(problem, circuits=(Circuit("site", limit_kw=30.0 + limit_kw), *tree[1:]))
    sunny = replace(problem, pv_kw=problem.pv_kw + sun_kw)

    for better in (relaxed, sunny):
        assert objective(better) <= objective(problem) + 1e-4
