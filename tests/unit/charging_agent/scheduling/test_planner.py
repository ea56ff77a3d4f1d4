"""What a charging plan keeps to, and what it prefers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from charging_agent.scheduling import (
    ChargingRequest,
    Circuit,
    DepartureScenario,
    SchedulingProblem,
    SchedulingProblemError,
    StationaryBattery,
    plan_charging,
)

STEPS = 8


def site(*requests: ChargingRequest, price: list[float] | None = None, limit_kw: float = 50.0) -> SchedulingProblem:
    prices = np.array(price or [0.3] * STEPS)
    return SchedulingProblem(900.0, STEPS, requests, prices, circuits=(Circuit("site", limit_kw=limit_kw),))


def car(key: str = "a", energy_kwh: float = 5.5, end: int = STEPS) -> ChargingRequest:
    return ChargingRequest(key, 0, end, energy_kwh, 11.0)


def test_a_car_charges_in_the_cheapest_steps() -> None:
    plan = plan_charging(site(car(), price=[0.4, 0.3, 0.2, 0.1, 0.3, 0.4, 0.4, 0.1]))

    assert plan.powers_of(0) == pytest.approx([0, 0, 0, 11, 0, 0, 0, 11])
    assert plan.cost.total == pytest.approx(0.55)


def test_energy_goes_before_any_cost() -> None:
    problem = replace(site(car(energy_kwh=22.0)), demand_charge_per_kw=100.0)

    plan = plan_charging(problem)

    assert plan.shortfall_kwh == pytest.approx([0.0])
    assert plan.cost.demand == pytest.approx(1100.0)


def test_a_shortfall_is_shared() -> None:
    plan = plan_charging(site(car("a", 22.0), car("b", 22.0), car("c", 22.0), limit_kw=11.0))

    assert plan.shortfall_kwh.sum() == pytest.approx(44.0)
    assert plan.shortfall_kwh.max() - plan.shortfall_kwh.min() < 22.0 / 8 + 1e-6


def test_a_demand_charge_flattens_the_import_above_the_peak_so_far() -> None:
    problem = replace(site(car(energy_kwh=11.0)), demand_charge_per_kw=10.0)

    assert plan_charging(problem).peak_kw == pytest.approx(5.5)
    assert plan_charging(replace(problem, peak_so_far_kw=7.0)).cost.demand == 0.0
    assert plan_charging(replace(problem, peak_target_kw=8.0)).peak_kw == 8.0


def test_the_high_load_limits_and_the_expected_load_costs() -> None:
    problem = replace(
        site(car(energy_kwh=22.0), limit_kw=20.0), load_kw=np.full(STEPS, 5.0), load_high_kw=np.full(STEPS, 15.0)
    )

    plan = plan_charging(problem)

    assert plan.powers_of(0) == pytest.approx([5.0] * STEPS)
    assert plan.import_kw == pytest.approx([10.0] * STEPS)
    assert plan.shortfall_kwh == pytest.approx([12.0])


def test_a_load_above_the_limit_leaves_nothing_for_the_cars() -> None:
    plan = plan_charging(replace(site(car()), load_kw=np.full(STEPS, 70.0)))

    assert plan.powers_of(0) == pytest.approx([0.0] * STEPS)
    assert plan.shortfall_kwh == pytest.approx([5.5])


def test_each_phase_of_a_feeder_is_a_limit() -> None:
    circuits = (Circuit("site"), Circuit("feeder", parent="site", limit_a=16.0, voltage_v=230.0))
    single = ChargingRequest("a", 0, STEPS, 20.0, 7.4, circuit="feeder", phases=(1,))
    triple = ChargingRequest("b", 0, STEPS, 20.0, 11.04, circuit="feeder")

    plan = plan_charging(replace(site(), requests=(single, triple), circuits=circuits))

    on_l1_kw = plan.powers_of(0) + plan.powers_of(1) / 3
    assert on_l1_kw.max() <= 3.68 + 1e-6
    assert {limit.limit for limit in plan.binding} == {"circuit feeder L1"}


def test_the_battery_carries_sun_to_the_evening_and_never_feeds_cars_unless_allowed() -> None:
    battery = StationaryBattery(10.0, 10.0, 10.0, energy_kwh=5.0, reserve_kwh=1.0, final_energy_kwh=1.0)
    problem = replace(
        site(car(energy_kwh=11.0), price=[0.1] * 4 + [0.5] * 4),
        requests=(ChargingRequest("a", 4, STEPS, 11.0, 11.0),),
        load_kw=np.full(STEPS, 1.0),
        battery=battery,
    )

    plan = plan_charging(problem)
    allowed = plan_charging(replace(problem, battery=replace(battery, may_feed_cars=True)))

    assert plan.battery_kw.min() >= -1.0 - 1e-6
    assert allowed.battery_kw.min() < -1.5
    assert allowed.cost.total < plan.cost.total
    assert allowed.export_kw.max() == pytest.approx(0.0)


def test_sun_that_would_be_exported_is_charged() -> None:
    sun = np.array([0, 0, 11.0, 11.0, 0, 0, 0, 0])

    plan = plan_charging(replace(site(car()), pv_kw=sun, export_price_per_kwh=np.full(STEPS, 0.08)))

    assert plan.powers_of(0) == pytest.approx(sun)
    assert plan.cost.total == pytest.approx(0.0)


def test_a_possible_early_departure_brings_charging_forward() -> None:
    rising = [0.4] * 4 + [0.1] * 4
    scenarios = (DepartureScenario(4, 5.5, 0.3), DepartureScenario(STEPS, 5.5, 0.7))

    certain = plan_charging(site(car(), price=rising))
    unsure = plan_charging(site(replace(car(), scenarios=scenarios, unserved_value_per_kwh=5.0), price=rising))

    assert certain.powers_of(0)[:4].sum() == pytest.approx(0.0)
    assert unsure.powers_of(0)[:4].sum() == pytest.approx(22.0)
    assert unsure.shortfall_kwh == pytest.approx([0.0])


def test_negative_prices_do_not_give_more_energy_than_wanted() -> None:
    plan = plan_charging(site(car(), price=[-0.2] * STEPS))

    assert plan.session_power_kw.sum() * 0.25 == pytest.approx(5.5)


def test_edge_cases_have_a_plan() -> None:
    assert plan_charging(site()).cost.total == 0.0
    assert plan_charging(site(car(energy_kwh=0.0))).powers_of(0) == pytest.approx([0.0] * STEPS)
    assert plan_charging(site(car(end=-3))).shortfall_kwh == pytest.approx([5.5])
    assert plan_charging(site(car(energy_kwh=100.0))).shortfall_kwh == pytest.approx([78.0])
    assert plan_charging(site(car(), limit_kw=0.0)).shortfall_kwh == pytest.approx([5.5])
    assert plan_charging(SchedulingProblem(900.0, 1, (car(end=1),), np.array([0.3]))).powers_of(0) == pytest.approx(
        [11]
    )
    for energy_kwh in (0.0, 10.0):
        battery = StationaryBattery(10.0, 5.0, 5.0, energy_kwh, reserve_kwh=2.0)
        assert plan_charging(replace(site(car()), battery=battery)).shortfall_kwh == pytest.approx([0.0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"load_kw": np.full(STEPS, math.nan)},
        {"import_price_per_kwh": np.full(STEPS + 1, 0.3)},
        {"demand_charge_per_kw": math.inf},
        {"requests": (car(), car())},
        {"requests": (car(energy_kwh=math.nan),)},
        {"requests": (replace(car(), circuit="unknown"),)},
        {"circuits": (Circuit("a"), Circuit("b"))},
        {"circuits": (Circuit("a"), Circuit("b", "c"), Circuit("c", "b"))},
        {"circuits": (Circuit("a", limit_kw=math.nan),)},
        {"steps": 0},
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(SchedulingProblemError, match=r"\w+"):
        replace(site(car()), **wrong)
