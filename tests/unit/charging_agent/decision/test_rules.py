"""The rules and the guard, held to their promises for every reading and every proposal."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charging_agent.decision.rules import Action, Decision, Known, Policy, Rule, decide, explain, guard
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
POLICY = Policy()

kilowatts = st.floats(min_value=0, max_value=1e6)
capacities = st.floats(min_value=1e-3, max_value=1e6)
percents = st.floats(min_value=0, max_value=100)
loads = st.floats(min_value=0, max_value=1e4)


def sun(generation_kw: float, capacity_kwp: float = 50.0) -> SolarStatus:
    return SolarStatus(
        site_id="site", timestamp=NOON, source="test", generation_kw=generation_kw, capacity_kwp=capacity_kwp
    )


def battery(soc_percent: float) -> BatteryStatus:
    return BatteryStatus(site_id="site", timestamp=NOON, source="test", soc_percent=soc_percent, capacity_kwh=100.0)


def grid(load_percent: float) -> GridLoad:
    return GridLoad(
        site_id="site", timestamp=NOON, source="test", load_percent=load_percent, load_kw=load_percent, limit_kw=100.0
    )


suns = st.none() | st.builds(sun, kilowatts, capacities)
batteries = st.none() | st.builds(battery, percents)
grids = st.none() | st.builds(grid, loads)
knowns = st.builds(Known, suns, batteries, grids)
proposals = st.builds(
    Decision,
    st.sampled_from(Rule),
    st.sampled_from(Action),
    st.sampled_from([0.0, 5.0, 11.0, 22.0]) | st.floats(allow_nan=True, allow_infinity=True),
)


@given(known=knowns)
def test_power_is_always_one_of_the_four(known: Known) -> None:
    assert decide(known, POLICY).charging_power_kw in {0.0, 5.0, 11.0, 22.0}


@given(solar=suns, stored=batteries, load=st.floats(min_value=85, max_value=1e4, exclude_min=True))
def test_a_grid_above_85_percent_always_pauses(
    solar: SolarStatus | None, stored: BatteryStatus | None, load: float
) -> None:
    decision = decide(Known(solar, stored, grid(load)), POLICY)

    assert decision == Decision(Rule.GRID_OVERLOAD, Action.PAUSE, 0.0)


@given(solar=suns, stored=batteries)
def test_without_a_grid_reading_nothing_charges(solar: SolarStatus | None, stored: BatteryStatus | None) -> None:
    decision = decide(Known(solar, stored, None), POLICY)

    assert decision == Decision(Rule.FAIL_SAFE, Action.PAUSE, 0.0)


@given(capacity=capacities, one=kilowatts, other=kilowatts, stored=batteries, load=grids)
def test_more_sun_never_gives_less_power(
    capacity: float, one: float, other: float, stored: BatteryStatus | None, load: GridLoad | None
) -> None:
    less, more = sorted((one, other))

    dim = decide(Known(sun(less, capacity), stored, load), POLICY)
    bright = decide(Known(sun(more, capacity), stored, load), POLICY)

    assert bright.charging_power_kw >= dim.charging_power_kw


@given(solar=suns, one=percents, other=percents, load=grids)
def test_a_fuller_battery_never_gives_less_power(
    solar: SolarStatus | None, one: float, other: float, load: GridLoad | None
) -> None:
    less, more = sorted((one, other))

    emptier = decide(Known(solar, battery(less), load), POLICY)
    fuller = decide(Known(solar, battery(more), load), POLICY)

    assert fuller.charging_power_kw >= emptier.charging_power_kw


@given(known=knowns)
def test_knowing_less_never_gives_more_power(known: Known) -> None:
    everything = decide(known, POLICY).charging_power_kw

    for fewer in (
        Known(None, known.battery, known.grid),
        Known(known.solar, None, known.grid),
        Known(known.solar, known.battery, None),
    ):
        assert decide(fewer, POLICY).charging_power_kw <= everything


@pytest.mark.parametrize(("percent", "reached"), [(60, Action.FAST), (25, Action.NORMAL)])
@given(capacity=st.integers(min_value=1, max_value=1_000_000))
def test_a_threshold_met_exactly_in_decimals_is_reached(percent: int, reached: Action, capacity: int) -> None:
    capacity_kwp = Decimal(capacity) / 100
    generation_kw = capacity_kwp * percent / 100

    decision = decide(Known(sun(float(generation_kw), float(capacity_kwp)), battery(70), grid(50)), POLICY)

    assert decision.action is reached


@given(proposal=proposals, known=knowns)
def test_the_guard_lets_nothing_unsafe_through(proposal: Decision, known: Known) -> None:
    granted = guard(proposal, known, POLICY)

    assert granted.charging_power_kw in {0.0, 5.0, 11.0, 22.0}
    assert granted.charging_power_kw == POLICY.power_kw[granted.action]
    if known.grid is None or known.grid.load_percent > 85:
        assert granted.action is Action.PAUSE


@given(known=knowns)
def test_the_guard_never_changes_what_the_rules_decide(known: Known) -> None:
    decision = decide(known, POLICY)

    assert guard(decision, known, POLICY) == decision


@given(proposal=proposals, known=knowns)
def test_the_guard_never_gives_more_than_was_proposed(proposal: Decision, known: Known) -> None:
    assume(proposal.charging_power_kw >= 0)

    assert guard(proposal, known, POLICY).charging_power_kw <= proposal.charging_power_kw


def test_a_proposal_whose_action_is_not_its_rules_pauses() -> None:
    mislabelled = Decision(Rule.SOLAR_LOW, Action.FAST, 22.0)

    assert guard(mislabelled, Known(sun(41), battery(83), grid(61)), POLICY).rule is Rule.FAIL_SAFE


def test_the_reason_names_the_numbers_that_decided() -> None:
    known = Known(sun(41.0), battery(83.0), grid(61.0))

    reason = explain(decide(known, POLICY), known, POLICY)

    assert reason == "Solar 41.0 kW of 50 kWp, battery at 83.0 %, grid at 61.0 %: 22 kW."


def test_the_reason_names_the_threshold_that_was_passed() -> None:
    known = Known(sun(41.0), battery(83.0), grid(85.1))

    reason = explain(decide(known, POLICY), known, POLICY)

    assert reason == "The grid carries 85.1 % of its limit, above 85 %, so charging pauses."


@given(proposal=proposals, known=knowns)
def test_every_decision_can_be_explained_in_one_sentence(proposal: Decision, known: Known) -> None:
    decision = guard(proposal, known, POLICY)

    reason = explain(decision, known, POLICY)

    assert reason.endswith(".")
    assert ("pauses" in reason) == (decision.action is Action.PAUSE)


def test_a_proposed_power_that_no_rule_gives_is_explained() -> None:
    known = Known(sun(41.0), battery(83.0), grid(61.0))

    granted = guard(Decision(Rule.SOLAR_AND_BATTERY_HIGH, Action.FAST, 50.0), known, POLICY)

    assert explain(granted, known, POLICY) == "The proposed power is not one that the rules give, so charging pauses."
