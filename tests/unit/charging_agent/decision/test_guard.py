"""The guard lowers whatever a policy proposes to what readings and settings allow, and never raises it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.charging_agent.decision.test_rules import NOON, battery, grid, situations, sun

from charging_agent.charging.sharing import CarKey
from charging_agent.decision.guard import PowerLimit, guard, power_bounds
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.decision.policy import Action, DecisionInputs, Proposal
from charging_agent.decision.rules import Rule, RulePolicy, RuleThresholds

ANYTHING = st.floats(allow_nan=True, allow_infinity=True)
POWERS = st.floats(min_value=0, allow_infinity=False)
EVSES = st.tuples(st.sampled_from(["CP-1", "CP-2"]), st.integers(1, 2))
BOUNDS = st.dictionaries(st.sampled_from(PowerLimit), POWERS)
BRIGHT = DecisionInputs.from_readings(NOON, sun(41), battery(83), grid(61))


def ceilings(power_kw: float, evses: dict[CarKey, float] | None = None) -> Proposal:
    return Proposal(power_kw, "Proposed.", evses or {})


@given(power_kw=POWERS, evses=st.dictionaries(EVSES, POWERS), bounds=BOUNDS)
def test_a_guarded_power_is_at_most_the_proposal_and_each_bound(
    power_kw: float, evses: dict[CarKey, float], bounds: dict[PowerLimit, float]
) -> None:
    guarded = guard(ceilings(power_kw, evses), bounds)

    pairs = [(power_kw, guarded.ceiling_kw), *((evses[evse], kw) for evse, kw in guarded.evse_ceilings_kw.items())]
    assert guarded.evse_ceilings_kw.keys() == evses.keys()
    for proposed_kw, allowed_kw in pairs:
        assert 0 <= allowed_kw <= proposed_kw
        assert all(allowed_kw <= bound_kw for bound_kw in bounds.values())
        assert allowed_kw == min([proposed_kw, *bounds.values()])


@given(power_kw=ANYTHING, evses=st.dictionaries(EVSES, ANYTHING), bounds=BOUNDS)
def test_guarding_twice_changes_nothing_more(
    power_kw: float, evses: dict[CarKey, float], bounds: dict[PowerLimit, float]
) -> None:
    once = guard(ceilings(power_kw, evses), bounds)
    twice = guard(ceilings(once.ceiling_kw, dict(once.evse_ceilings_kw)), bounds)

    assert (twice.ceiling_kw, twice.evse_ceilings_kw) == (once.ceiling_kw, once.evse_ceilings_kw)
    assert twice.clamps == ()


@given(power_kw=ANYTHING, inputs=situations, keeps=st.booleans())
def test_whatever_is_proposed_stays_within_what_readings_and_settings_allow(
    power_kw: float, inputs: DecisionInputs, keeps: bool
) -> None:
    pipeline = DecisionPipeline(keeps_rule_ceilings=keeps)

    decision = pipeline.cap(ceilings(power_kw), inputs, "any").decision

    assert 0 <= decision.charging_power_kw < math.inf
    assert decision.action is RuleThresholds().action_for(decision.charging_power_kw)
    assert decision.rule is RulePolicy().apply(inputs).rule
    if inputs.grid is None or inputs.grid.load_percent > 85:
        assert decision.charging_power_kw == 0
    if keeps:
        assert decision.charging_power_kw <= RulePolicy().propose(inputs).ceiling_kw
    assert (decision.limited_by is None) == (decision.charging_power_kw == power_kw)


@given(inputs=situations)
def test_the_guard_never_changes_what_the_rules_propose(inputs: DecisionInputs) -> None:
    outcome = DecisionPipeline().decide(inputs)

    assert outcome.decision.charging_power_kw == outcome.proposal.ceiling_kw
    assert (outcome.clamps, outcome.decision.limited_by) == ((), None)


def test_a_power_between_the_rules_powers_passes_as_it_is() -> None:
    decision = DecisionPipeline().cap(ceilings(4.0), BRIGHT, "any").decision

    assert (decision.charging_power_kw, decision.action, decision.limited_by) == (4.0, Action.SLOW, None)
    assert decision.rule is Rule.SOLAR_AND_BATTERY_HIGH


@pytest.mark.parametrize(
    ("proposed_kw", "inputs", "limited_by"),
    [
        (22.0, DecisionInputs.from_readings(NOON, sun(41), battery(83)), PowerLimit.FAIL_SAFE),
        (22.0, DecisionInputs.from_readings(NOON, sun(41), battery(83), grid(85.1)), PowerLimit.GRID_OVERLOAD),
        (22.0, DecisionInputs.from_readings(NOON, sun(0), battery(83), grid(61)), PowerLimit.RULE_CEILING),
        (-1.0, BRIGHT, PowerLimit.INVALID_POWER),
        (math.nan, BRIGHT, PowerLimit.INVALID_POWER),
        (math.inf, BRIGHT, PowerLimit.INVALID_POWER),
    ],
)
def test_what_is_lowered_names_the_limit(proposed_kw: float, inputs: DecisionInputs, limited_by: PowerLimit) -> None:
    outcome = DecisionPipeline().cap(ceilings(proposed_kw), inputs, "any")

    assert outcome.decision.limited_by is limited_by
    assert [clamp.limited_by for clamp in outcome.clamps] == [limited_by]
    assert outcome.decision.reason.endswith(f"kW (limited by {limited_by.value}).")


def test_without_rule_ceilings_a_policy_may_give_more_than_the_rules() -> None:
    dim = DecisionInputs.from_readings(NOON, sun(0), battery(20), grid(30))

    decision = DecisionPipeline(keeps_rule_ceilings=False).cap(ceilings(16.5), dim, "any").decision

    assert (decision.charging_power_kw, decision.action, decision.rule) == (16.5, Action.FAST, Rule.SOLAR_LOW)


def test_the_power_of_a_decision_is_the_highest_ceiling_of_any_charging_point() -> None:
    bounds = power_bounds(BRIGHT, RuleThresholds(), 11.0)

    guarded = guard(ceilings(4.0, {("CP-1", 1): 7.4, ("CP-2", 1): 22.0}), bounds)

    assert (guarded.highest_kw, guarded.limited_by) == (11.0, PowerLimit.RULE_CEILING)
    assert guarded.evse_ceilings_kw == {("CP-1", 1): 7.4, ("CP-2", 1): 11.0}
