"""The plan proposes within every bound, says what it reckons with, and gives way to the rules where it cannot plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.charging_agent.ledger.conftest import maker, observation
from tests.unit.charging_agent.ledger.test_charging_records import (
    HEADROOM,
    build_stored_record,
    car,
    made_with,
    plan_of,
)

from charging_agent.charging.planning import build_connection_limits
from charging_agent.charging.sharing import Car
from charging_agent.decision import plan_policy
from charging_agent.decision.guard import PowerLimit
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.decision.plan_policy import PlanParameters, PlanPolicy, parse_parameters
from charging_agent.decision.policy import DecisionInputs, Proposal
from charging_agent.decision.rules import Rule, RulePolicy
from charging_agent.ledger.keys import generate_key
from charging_agent.ledger.record_signing import ChainHead, build_policy_record, sign_record
from charging_agent.ledger.replay import replay_record
from charging_agent.ledger.verification import verify
from charging_agent.readings.assessment import AgeLimits
from charging_agent.readings.forecasts import LoadForecastOutlook
from charging_agent.readings.prices import PriceOutlook
from charging_agent.scheduling import SolverError
from charging_agent.settings import AgentSettings
from ev_service.charging import ChargingMode
from ev_service.forecasts import GridForecast, QuantileInterval, SolarForecast
from ev_service.telemetry import GridLoad, SolarStatus

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
KEY = generate_key()
SITE: dict[str, Any] = {"site_id": "greensboro", "timestamp": NOON, "source": "simulated"}


def limits(total_kw: float = 60.0, **feeders: float) -> Any:
    headroom = replace(HEADROOM, load_kw=85.0 - total_kw, charging_kw=0.0, reserved_kw=0.0)
    feeder_a = {name: (limit_a,) * 3 for name, limit_a in (feeders or {"main": 125.0}).items()}
    return build_connection_limits(headroom, feeder_a, 3, 230.0)


def prices(*per_hour: float | None, export: float | None = 0.05, **changes: Any) -> PriceOutlook:
    told: dict[str, Any] = {
        "currency": "EUR",
        "starts_at": NOON,
        "resolution_s": 3600,
        "import_price_per_kwh": per_hour,
        "export_price_per_kwh": (export,) * len(per_hour),
        "co2_g_per_kwh": (None,) * len(per_hour),
    }
    return PriceOutlook(**SITE, **(told | changes))


def situation(cars: Sequence[Car], total_kw: float = 60.0, **changes: Any) -> DecisionInputs:
    readings: dict[str, Any] = {
        "grid": GridLoad(**SITE, load_kw=85.0 - total_kw, limit_kw=100.0, load_percent=85.0 - total_kw),
        "solar": SolarStatus(**SITE, generation_kw=41.0, capacity_kwp=50.0),
    }
    return replace(DecisionInputs(NOON, readings, cars=tuple(cars), limits=limits(total_kw)), **changes)


def leaving(number: int, hours: float, energy_kwh: float, **changes: Any) -> Car:
    return car(number, departure=NOON + timedelta(hours=hours), energy_left_kwh=energy_kwh, limit_a=0.0, **changes)


def free_policy(**parameters: Any) -> PlanPolicy:
    return PlanPolicy(RulePolicy(), PlanParameters(keeps_rule_ceilings=False, **parameters))


def planned_kwh(proposal: Proposal, key: tuple[str, int]) -> float:
    powers = proposal.schedule[key]
    ends = [*(one.interval_start for one in powers[1:]), NOON + timedelta(hours=24)]
    return sum(
        one.power_kw * (end - one.interval_start).total_seconds() / 3600 for one, end in zip(powers, ends, strict=True)
    )


def test_a_car_waits_for_the_cheap_hour_and_is_full_when_it_leaves() -> None:
    inputs = situation([leaving(1, 6, 11.0)], prices={"grid": prices(0.40, 0.40, 0.40, 0.10, 0.40, 0.40)})

    proposal = free_policy().propose(inputs)

    key = ("CP-1", 1)
    assert proposal.evse_ceilings_kw[key] == 0
    assert planned_kwh(proposal, key) == pytest.approx(11.0, abs=0.01)
    busy = [one for one in proposal.schedule[key] if one.power_kw > 0]
    assert all(NOON + timedelta(hours=3) <= one.interval_start < NOON + timedelta(hours=4) for one in busy)
    assert proposal.plan is not None
    explained = proposal.plan.cars[0]
    assert explained.text.startswith("0 kW now, ")
    assert "from 15:" in explained.text
    assert "energy is cheaper later; costs 1.10 EUR, 4.40 EUR if charged at once." in explained.text


def test_who_leaves_soon_charges_at_once_whatever_it_costs() -> None:
    inputs = situation([leaving(1, 0.5, 9.0)], prices={"grid": prices(0.40, 0.01)})

    assert free_policy().propose(inputs).evse_ceilings_kw[("CP-1", 1)] >= 17


def test_who_tells_no_departure_is_charged_at_once_and_named() -> None:
    inputs = situation([car(1, limit_a=0.0)], prices={"grid": prices(0.40, 0.01, 0.01, 0.01)})

    proposal = free_policy(energy_kwh=5.0).propose(inputs)

    assert proposal.evse_ceilings_kw[("CP-1", 1)] > 0
    assert proposal.plan is not None
    assert "Departure not known, charged at once: CP-1/1." in proposal.plan.basis
    assert "Energy not known, 5 kWh assumed: CP-1/1." in proposal.plan.basis


def test_a_fast_car_charges_at_once_and_one_on_surplus_is_left_to_the_sun() -> None:
    cars = [leaving(1, 8, 11.0, mode=ChargingMode.FAST), leaving(2, 8, 11.0, mode=ChargingMode.SURPLUS)]
    inputs = situation(cars, prices={"grid": prices(0.40, 0.40, 0.10, 0.40)})

    proposal = free_policy().propose(inputs)

    assert proposal.evse_ceilings_kw == {("CP-1", 1): pytest.approx(22.08)}
    assert proposal.ceiling_kw == RulePolicy().propose(inputs).ceiling_kw
    assert proposal.plan is not None
    assert "In mode fast, charged at once: CP-1/1." in proposal.plan.basis


def test_what_falls_short_is_said_early() -> None:
    cars = [leaving(number, 2, 30.0) for number in (1, 2)]

    proposal = free_policy().propose(situation(cars, 20.0))

    assert proposal.plan is not None
    assert sum(one.shortfall_kwh for one in proposal.plan.cars) == pytest.approx(20.0, abs=0.1)
    assert "20.0 kWh will be missing at departures" in proposal.reason
    assert "bound by the connection" in proposal.plan.cars[0].text


def test_ceilings_are_0_or_whole_amperes_from_6_on_within_connection_and_feeder() -> None:
    cars = [leaving(number, 3, 40.0, feeder_id="east") for number in range(1, 6)]
    inputs = replace(situation(cars), limits=limits(60.0, east=40.0))

    ceilings_kw = free_policy().propose(inputs).evse_ceilings_kw

    amperes = [power_kw / 0.69 for power_kw in ceilings_kw.values()]
    assert all(one == 0 or (one >= 6 and one == pytest.approx(round(one))) for one in amperes)
    assert 34 <= sum(amperes) <= 40


def test_the_sun_of_a_forecast_is_waited_for() -> None:
    solar = SolarForecast(
        **SITE,
        issued_at=NOON,
        model="clear-sky",
        resolution_s=3600,
        intervals=tuple(
            QuantileInterval(interval_start=NOON + timedelta(hours=hour), p10=power, p50=power, p90=power)
            for hour, power in enumerate([41.0, 41.0, 90.0, 41.0])
        ),
    )
    flat = prices(*[0.30] * 24)
    inputs = situation([leaving(1, 4, 10.0)], 60.0, prices={"grid": flat}, forecasts={"solar": solar})

    proposal = free_policy().propose(inputs)

    busy = [one.interval_start for one in proposal.schedule[("CP-1", 1)] if one.power_kw > 0]
    assert busy
    assert min(busy) >= NOON + timedelta(hours=2)


def test_a_rising_load_forecast_limits_the_plan_to_its_upper_quantile() -> None:
    def interval(hour: int) -> QuantileInterval:
        return QuantileInterval(interval_start=NOON + timedelta(hours=hour), p10=20.0, p50=25.0, p90=85.0)

    load = GridForecast(
        **SITE, issued_at=NOON, model="trees", resolution_s=3600, intervals=tuple(map(interval, range(24)))
    )
    inputs = situation([leaving(1, 8, 40.0)], 60.0, forecasts={"grid": LoadForecastOutlook.from_forecast(load)})

    proposal = free_policy().propose(inputs)

    # Later the connection may carry nothing more, so what can be had is taken now.
    assert proposal.evse_ceilings_kw[("CP-1", 1)] >= 21
    assert proposal.plan is not None
    assert "Load by the forecast trees of 12:00 UTC." in proposal.plan.basis


def test_unknown_prices_are_planned_around_and_said() -> None:
    inputs = situation([leaving(1, 6, 5.0)], prices={"grid": prices(0.30, 0.20, None, None)})

    proposal = free_policy().propose(inputs)

    assert proposal.plan is not None
    assert "Prices are known until 14:00 UTC, beyond it the dearest known one counts." in proposal.plan.basis
    busy = [one.interval_start for one in proposal.schedule[("CP-1", 1)] if one.power_kw > 0]
    assert [moment.hour for moment in busy] == [13]


def test_a_car_that_has_what_was_asked_for_goes_on_only_where_energy_is_cheap() -> None:
    cheap = situation([car(1, energy_left_kwh=0.0)], prices={"grid": prices(0.10, *[0.30] * 23)})
    dear = situation([car(1, energy_left_kwh=0.0)], prices={"grid": prices(0.50, *[0.30] * 23)})

    assert free_policy().propose(cheap).evse_ceilings_kw[("CP-1", 1)] > 0
    assert free_policy().propose(dear).evse_ceilings_kw[("CP-1", 1)] == 0


def test_the_rules_ceiling_bounds_the_plan_while_it_is_kept() -> None:
    inputs = situation([leaving(1, 2, 40.0)])
    kept = PlanPolicy(RulePolicy())
    ceiling_kw = RulePolicy().propose(inputs).ceiling_kw

    proposal = kept.propose(inputs)

    assert 0 < proposal.evse_ceilings_kw[("CP-1", 1)] <= ceiling_kw
    assert DecisionPipeline(kept).decide(inputs).clamps == ()
    assert proposal.ceiling_kw == ceiling_kw


def test_a_pause_stays_a_pause_and_without_chargers_the_rules_speak() -> None:
    overloaded = GridLoad(**SITE, load_kw=90.0, limit_kw=100.0, load_percent=90.0)
    paused = situation([leaving(1, 2, 40.0)], readings={"grid": overloaded})
    blind = replace(paused, readings={})
    alone = DecisionInputs.from_readings(NOON, grid=GridLoad(**SITE, load_kw=10.0, limit_kw=100.0, load_percent=10.0))
    pipeline = DecisionPipeline(free_policy(), keeps_rule_ceilings=False)

    assert pipeline.decide(paused).decision.rule is Rule.GRID_OVERLOAD
    assert pipeline.decide(paused).decision.charging_power_kw == 0
    assert pipeline.decide(blind).decision.rule is Rule.FAIL_SAFE
    assert pipeline.decide(alone).decision.charging_power_kw == 5
    assert pipeline.decide(alone).decision.policy == "plan"


def test_where_the_solver_fails_the_rules_decide_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise SolverError("HiGHS: Iteration limit reached")

    inputs = situation([leaving(1, 2, 40.0)])
    monkeypatch.setattr(plan_policy, "plan_charging", fail)

    outcome = DecisionPipeline(PlanPolicy(RulePolicy())).decide(inputs)

    assert (outcome.decision.policy, outcome.decision.charging_power_kw) == ("rules", 11)
    assert outcome.decision.reason.endswith(
        "The rules decide in place of the policy plan: no plan could be made (HiGHS: Iteration limit reached)."
    )


def test_a_guarantee_is_kept_where_the_plan_would_wait() -> None:
    inputs = situation([leaving(1, 6, 5.0, guaranteed_a=6.0)], prices={"grid": prices(0.40, 0.40, 0.10, 0.40)})

    assert free_policy().propose(inputs).evse_ceilings_kw[("CP-1", 1)] == pytest.approx(4.14)


@pytest.mark.parametrize("has_prices", [True, False])
def test_a_recorded_plan_replays(has_prices: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cars = (leaving(1, 6, 11.0), leaving(2, 3, 30.0), car(3, wants=False))
    seen = replace(observation(NOON), prices=prices(0.4, 0.2, 0.3, 0.1, 0.4, 0.4) if has_prices else None)
    known = build_connection_limits(HEADROOM, {"main": (125.0,) * 3}, 3, 230.0)
    pipeline = DecisionPipeline(free_policy(energy_kwh=12.0), keeps_rule_ceilings=False)
    outcome = pipeline.decide(replace(seen.decision_inputs(), cars=cars, limits=known))
    decision = outcome.decision
    plan = plan_of(cars, ceilings_kw=decision.evse_ceilings_kw, ceiling_kw=decision.ceiling_kw or 0.0)
    made = replace(made_with(plan), observation=seen, outcome=outcome)
    by = replace(maker(), policy=build_policy_record(pipeline, AgeLimits()))

    signed = sign_record(made, [], ChainHead(), by, KEY)

    assert verify([build_stored_record(1, signed)], {KEY.key_id: KEY.public}).broken is None
    assert replay_record(signed.record) is None
    record = signed.entry.record
    assert record.proposal is not None
    assert record.proposal.plan is not None
    assert [one.car for one in record.proposal.plan.cars] == [("CP-1", 1), ("CP-2", 1)]
    assert record.policy.parameters.own["energy_kwh"] == 12.0

    # A failure that does not come again replays as the rules' proposal.
    def fail_once(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(plan_policy, "plan_charging", fail_once)
    failed = replace(made, outcome=pipeline.decide(replace(seen.decision_inputs(), cars=cars, limits=known)))
    ruled = failed.outcome.decision
    failed = replace(failed, charging=made_with(plan_of(cars, ceiling_kw=ruled.charging_power_kw)).charging)
    monkeypatch.undo()
    signed = sign_record(failed, [], ChainHead(), by, KEY)
    assert replay_record(signed.record) is None


def test_settings_become_parameters_that_a_record_gives_back() -> None:
    chosen = AgentSettings(policy="plan", plan_energy_kwh=8.0, plan_unserved_per_kwh=2.4, keep_rule_ceilings=False)

    parameters = parse_parameters(chosen.policy_parameters())

    assert (parameters.energy_kwh, parameters.unserved_value_per_kwh, parameters.keeps_rule_ceilings) == (8, 2.4, False)
    assert AgentSettings().policy_parameters() == {}
    with pytest.raises(TypeError):
        parse_parameters({"unknown": 1.0})


a_price = st.one_of(st.none(), st.floats(-800_000, 800_000))
a_quantile = st.floats(-1e9, 1e9)


@settings(max_examples=40, deadline=None)
@given(
    per_hour=st.lists(a_price, min_size=1, max_size=24),
    export=st.one_of(st.none(), st.floats(-800_000, 800_000)),
    demand_charge=st.one_of(st.none(), st.floats(0, 1_000_000)),
    total_kw=st.floats(0, 85),
    stays=st.lists(st.tuples(st.floats(-5, 60), st.one_of(st.none(), st.floats(0, 300))), min_size=1, max_size=5),
    loads=st.lists(st.tuples(a_quantile, a_quantile, a_quantile), max_size=4),
)
def test_whatever_prices_and_forecasts_say_ceilings_stay_within_the_connection(
    per_hour: list[float | None],
    export: float | None,
    demand_charge: float | None,
    total_kw: float,
    stays: list[tuple[float, float | None]],
    loads: list[tuple[float, float, float]],
) -> None:
    cars = [
        car(number, departure=NOON + timedelta(hours=hours), energy_left_kwh=energy, limit_a=0.0)
        for number, (hours, energy) in enumerate(stays, start=1)
    ]
    outlook = prices(*per_hour, export=export, demand_charge_per_kw=demand_charge)
    inputs = situation(cars, total_kw, prices={"grid": outlook})
    if loads:
        intervals = tuple(
            QuantileInterval(interval_start=NOON + timedelta(hours=hour), p10=low, p50=middle, p90=high)
            for hour, (low, middle, high) in enumerate(sorted(values) for values in loads)
        )
        wild = GridForecast(**SITE, issued_at=NOON, model="wild", resolution_s=3600, intervals=intervals)
        inputs = replace(inputs, forecasts={"grid": LoadForecastOutlook.from_forecast(wild)})

    outcome = DecisionPipeline(free_policy(), keeps_rule_ceilings=False).decide(inputs)

    ceilings_kw = list(outcome.decision.evse_ceilings_kw.values())
    assert all(math.isfinite(one) and one >= 0 for one in ceilings_kw)
    if outcome.decision.policy == "plan" and ceilings_kw:
        assert sum(ceilings_kw) <= total_kw + 1e-6
    assert outcome.decision.limited_by is not PowerLimit.INVALID_POWER


@settings(max_examples=20, deadline=None)
@given(order=st.permutations([1, 2, 3, 4]))
def test_the_order_of_cars_changes_nothing(order: list[int]) -> None:
    cars = [leaving(number, 2 + number % 3, 10.0 + number) for number in (1, 2, 3, 4)]
    flat = {"grid": prices(0.3, 0.2, 0.4, 0.1)}

    straight = free_policy().propose(situation(cars, 25.0, prices=flat))
    permuted = free_policy().propose(situation([cars[number - 1] for number in order], 25.0, prices=flat))

    assert straight == permuted
