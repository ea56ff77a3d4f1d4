from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from charging_agent.simulation.generated_sessions import generate_sessions
from charging_agent.simulation.peak_target import PeakTarget
from charging_agent.simulation.sessions import ChargingSession, order_sessions
from charging_agent.simulation.simulation import InformationKind, Policy, PolicyRun, Simulation, run_policy
from charging_agent.simulation.tariff import create_default_tariff
from charging_agent.simulation.virtual_site import SiteLimits

UTC_ZONE = ZoneInfo("UTC")
NINE = datetime(2026, 6, 1, 9, tzinfo=UTC)
LIMITS = SiteLimits(feeder_kw=150.0, voltage_v=208.0, max_current_a=32.0)


def session(
    name: str, begin_min: float, stay_min: float, kwh: float, entered_min: float | None = None
) -> ChargingSession:
    arrival = NINE + timedelta(minutes=begin_min)
    entered = arrival + timedelta(minutes=stay_min if entered_min is None else entered_min)
    return ChargingSession(name, name, arrival, arrival + timedelta(minutes=stay_min), kwh, entered, kwh, claimed=True)


def simulate(
    policy: Policy,
    *sessions: ChargingSession,
    limits: SiteLimits = LIMITS,
    kind: InformationKind = InformationKind.ENTERED,
    taper_share: float = 0.0,
    other_kw: tuple[float, float] = (0.0, 0.0),
    follows_rules: bool = False,
) -> PolicyRun:
    plain = Simulation.create(order_sessions(sessions), create_default_tariff(), UTC_ZONE, limits, 300)
    load_kw, pv_kw = (np.full(plain.grid.steps, one) for one in other_kw)
    simulation = replace(
        plain,
        taper_share=taper_share,
        load_kw=load_kw,
        pv_kw=pv_kw,
        capacity_kwp=other_kw[1],
        follows_rules=follows_rules,
    )
    return run_policy(simulation, policy, kind)


@pytest.mark.parametrize("policy", [Policy.UNCONTROLLED, Policy.EQUAL, Policy.LEAST_LAXITY])
def test_a_car_charges_from_its_arrival_within_a_step_until_it_has_enough(policy: Policy) -> None:
    run = simulate(policy, session("a", 2, 60, 3.0))

    powers = run.schedule.power_kw[0]
    assert powers[0] == pytest.approx(6.656 * 3 / 5, rel=0.02)
    assert run.result.energy_kwh == pytest.approx(3.0)
    assert run.result.filled_share_percent == 100
    assert run.result.violations == 0
    assert run.result.starts_per_session == 1


def test_a_car_that_leaves_within_a_step_has_what_it_got_until_then() -> None:
    run = simulate(Policy.UNCONTROLLED, session("a", 0, 7, 50.0))

    assert run.schedule.power_kw[0] == pytest.approx([6.656, 6.656 * 2 / 5])
    assert run.result.energy_share_percent == pytest.approx(100)
    assert run.result.recorded_kwh == 50


def test_uncontrolled_cars_overload_a_small_feeder_and_others_do_not() -> None:
    limits = SiteLimits(10.0, 208.0, 32.0)
    cars = [session(name, 0, 120, 6.0) for name in "abc"]

    assert simulate(Policy.UNCONTROLLED, *cars, limits=limits).result.violations > 0
    for policy in (Policy.EQUAL, Policy.LEAST_LAXITY, Policy.RULES, Policy.PLAN, Policy.OPTIMUM):
        result = simulate(policy, *cars, limits=limits).result
        assert (policy, result.violations) == (policy, 0)
        assert result.peak_kw <= 10.001


def test_least_laxity_serves_the_car_that_can_wait_least() -> None:
    urgent, patient = session("u", 0, 60, 6.0), session("p", 0, 600, 6.0)

    run = simulate(Policy.LEAST_LAXITY, urgent, patient, limits=SiteLimits(6.656, 208.0, 32.0))

    assert run.result.filled_share_percent == 100
    assert simulate(Policy.EQUAL, urgent, patient, limits=SiteLimits(6.656, 208.0, 32.0)).result.energy_kwh < 12


def test_equal_sharing_gives_two_cars_the_same() -> None:
    run = simulate(
        Policy.EQUAL, session("a", 0, 60, 9.0), session("b", 0, 60, 9.0), limits=SiteLimits(8.0, 208.0, 32.0)
    )

    first, second = run.schedule.energy_kwh()
    assert first == pytest.approx(second, rel=0.01)
    assert first + second == pytest.approx(8.0, rel=0.03)


def test_rules_keep_to_5_kw_without_sun_and_to_85_percent_of_the_feeder() -> None:
    run = simulate(Policy.RULES, session("a", 0, 60, 50.0))
    crowd = simulate(
        Policy.RULES, *(session(name, 0, 60, 50.0) for name in "abcd"), limits=SiteLimits(10.0, 208.0, 32.0)
    )

    assert run.schedule.power_kw[0].max() == pytest.approx(5.0, rel=0.01)
    assert crowd.result.peak_kw <= 8.5


def test_rules_bound_equal_sharing_only_where_they_are_on() -> None:
    car = session("a", 0, 60, 50.0)

    assert simulate(Policy.EQUAL, car, follows_rules=True).result.peak_kw == pytest.approx(5.0, rel=0.01)
    assert simulate(Policy.PLAN, car, follows_rules=True).result.peak_kw <= 5.0
    assert simulate(Policy.EQUAL, car).result.peak_kw == pytest.approx(6.656, rel=0.01)


def test_building_and_sun_change_what_cars_may_draw_and_pay() -> None:
    car = session("a", 0, 60, 6.0)
    full = simulate(Policy.EQUAL, car, limits=SiteLimits(10.0, 208.0, 32.0), other_kw=(7.0, 0.0))
    sunny = simulate(Policy.EQUAL, car, other_kw=(0.0, 20.0))

    assert full.schedule.power_kw[0].max() == pytest.approx(3.0, rel=0.02)
    assert full.result.violations == 0
    assert sunny.result.bill == 0
    assert sunny.result.energy_kwh == pytest.approx(6.0)


def test_whole_amperes_are_whole_from_six_on() -> None:
    cars = [session(str(number), 0, 300, 12.0) for number in range(3)]

    for policy in (Policy.EQUAL, Policy.LEAST_LAXITY, Policy.PLAN):
        run = simulate(policy, *cars, limits=SiteLimits(9.0, 208.0, 32.0, whole_amperes=True))
        currents_a = np.concatenate([powers[:-1] for powers in run.schedule.power_kw]) / 0.208
        # Within a step a car may become full, its mean is then no whole ampere.
        whole = np.isclose(currents_a, np.round(currents_a), atol=1e-6)
        assert whole.mean() > 0.95
        assert run.result.violations == 0


def test_a_tapering_battery_takes_longer_and_no_more() -> None:
    ideal, tapering = (simulate(Policy.UNCONTROLLED, session("a", 0, 600, 20.0), taper_share=s) for s in (0.0, 0.2))

    assert ideal.result.energy_kwh == pytest.approx(20.0)
    assert 19.9 < tapering.result.energy_kwh <= 20.0
    assert (tapering.schedule.power_kw[0] > 0).sum() > (ideal.schedule.power_kw[0] > 0).sum()


def test_the_optimum_fills_all_cars_and_costs_least() -> None:
    sessions = generate_sessions(date(2026, 6, 1), date(2026, 6, 2), UTC_ZONE)

    optimum, uncontrolled, equal = (
        simulate(policy, *sessions) for policy in (Policy.OPTIMUM, Policy.UNCONTROLLED, Policy.EQUAL)
    )

    assert optimum.result.filled_share_percent == 100
    assert optimum.result.violations == 0
    assert optimum.result.cost_per_kwh < min(uncontrolled.result.cost_per_kwh, equal.result.cost_per_kwh)


def test_the_optimum_delivers_the_most_where_not_everything_fits() -> None:
    cars = [session("a", 0, 60, 6.0), session("b", 0, 120, 6.0)]

    run = simulate(Policy.OPTIMUM, *cars, limits=SiteLimits(5.0, 208.0, 32.0))

    assert run.result.energy_kwh == pytest.approx(10.0)
    assert run.result.violations == 0


@pytest.mark.parametrize("policy", [Policy.EQUAL, Policy.LEAST_LAXITY, Policy.RULES, Policy.PLAN])
def test_what_happens_later_changes_nothing_before(policy: Policy) -> None:
    limits = SiteLimits(9.0, 208.0, 32.0)
    early = [session("a", 0, 240, 12.0), session("b", 10, 240, 12.0)]

    alone = simulate(policy, *early, limits=limits)
    changed = replace(early[1], departure=early[1].departure - timedelta(minutes=60), delivered_kwh=11.0)
    poisoned = simulate(policy, early[0], changed, session("c", 120, 60, 30.0), limits=limits)

    for one, other in zip(alone.schedule.power_kw, poisoned.schedule.power_kw, strict=False):
        assert one[:10] == pytest.approx(other[:10])


def test_the_plan_costs_less_than_equal_sharing_with_few_starts_and_repeats() -> None:
    first, last = date(2026, 6, 3), date(2026, 6, 4)
    sessions = generate_sessions(first - timedelta(days=9), last, UTC_ZONE)
    week = tuple(s for s in sessions if s.arrival.date() >= first)
    plain = Simulation.create(week, create_default_tariff(), UTC_ZONE, LIMITS, 900)
    simulation = replace(plain, history=tuple(s for s in sessions if s.arrival.date() < first))

    plan, again, equal = (
        run_policy(simulation, policy, InformationKind.TRUE) for policy in (Policy.PLAN, Policy.PLAN, Policy.EQUAL)
    )

    assert plan.result.cost_per_kwh < 0.9 * equal.result.cost_per_kwh
    assert plan.result.energy_share_percent > 97
    assert plan.result.starts_per_session < 1.6
    assert plan.result.violations == 0
    for one, other in zip(plan.schedule.power_kw, again.schedule.power_kw, strict=True):
        assert one.tolist() == other.tolist()


def test_the_peak_target_is_the_lowest_peak_of_the_busiest_past_day() -> None:
    target = PeakTarget(UTC_ZONE, 6.656)
    target.learn(session("a", 0, 60, 3.0), 3.0)
    target.learn(session("b", 0, 60, 2.0), 2.0)

    assert target.target_kw(NINE + timedelta(hours=5)) == 0
    assert target.target_kw(NINE + timedelta(days=1)) == pytest.approx(1.05 * 5.0)


def test_what_ended_after_the_first_step_is_not_learned_before() -> None:
    later = replace(session("x", -24 * 60, 30 * 60, 60.0), station_id="x")
    plain = Simulation.create((session("a", 0, 60, 6.0),), create_default_tariff(), UTC_ZONE, LIMITS, 300)

    with_history = run_policy(replace(plain, history=(later,)), Policy.PLAN, InformationKind.ENTERED)

    assert with_history.schedule.power_kw[0].tolist() == pytest.approx(
        run_policy(plain, Policy.PLAN, InformationKind.ENTERED).schedule.power_kw[0].tolist()
    )
