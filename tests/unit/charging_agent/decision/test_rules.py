"""The rules, held to their promises for every reading."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_agent.decision.pipeline import Decision, DecisionPipeline
from charging_agent.decision.policy import Action, DecisionInputs
from charging_agent.decision.rules import RULES, Rule, RuleThresholds
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)

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
situations = st.builds(DecisionInputs.from_readings, st.just(NOON), suns, batteries, grids)


def decide(inputs: DecisionInputs) -> Decision:
    return DecisionPipeline().decide(inputs).decision


@given(inputs=situations)
def test_power_is_always_one_of_the_four(inputs: DecisionInputs) -> None:
    assert decide(inputs).charging_power_kw in {0.0, 5.0, 11.0, 22.0}


@given(solar=suns, stored=batteries, load=st.floats(min_value=85, max_value=1e4, exclude_min=True))
def test_a_grid_above_85_percent_always_pauses(
    solar: SolarStatus | None, stored: BatteryStatus | None, load: float
) -> None:
    decision = decide(DecisionInputs.from_readings(NOON, solar, stored, grid(load)))

    assert (decision.rule, decision.action, decision.charging_power_kw) == (Rule.GRID_OVERLOAD, Action.PAUSE, 0.0)


@given(solar=suns, stored=batteries)
def test_without_a_grid_reading_nothing_charges(solar: SolarStatus | None, stored: BatteryStatus | None) -> None:
    decision = decide(DecisionInputs.from_readings(NOON, solar, stored, None))

    assert (decision.rule, decision.action, decision.charging_power_kw) == (Rule.FAIL_SAFE, Action.PAUSE, 0.0)


@given(capacity=capacities, one=kilowatts, other=kilowatts, stored=batteries, load=grids)
def test_more_sun_never_gives_less_power(
    capacity: float, one: float, other: float, stored: BatteryStatus | None, load: GridLoad | None
) -> None:
    less, more = sorted((one, other))

    dim = decide(DecisionInputs.from_readings(NOON, sun(less, capacity), stored, load))
    bright = decide(DecisionInputs.from_readings(NOON, sun(more, capacity), stored, load))

    assert bright.charging_power_kw >= dim.charging_power_kw


@given(solar=suns, one=percents, other=percents, load=grids)
def test_a_fuller_battery_never_gives_less_power(
    solar: SolarStatus | None, one: float, other: float, load: GridLoad | None
) -> None:
    less, more = sorted((one, other))

    emptier = decide(DecisionInputs.from_readings(NOON, solar, battery(less), load))
    fuller = decide(DecisionInputs.from_readings(NOON, solar, battery(more), load))

    assert fuller.charging_power_kw >= emptier.charging_power_kw


@given(inputs=situations)
def test_knowing_less_never_gives_more_power(inputs: DecisionInputs) -> None:
    everything = decide(inputs).charging_power_kw

    for fewer in (
        DecisionInputs.from_readings(NOON, None, inputs.battery, inputs.grid),
        DecisionInputs.from_readings(NOON, inputs.solar, None, inputs.grid),
        DecisionInputs.from_readings(NOON, inputs.solar, inputs.battery, None),
    ):
        assert decide(fewer).charging_power_kw <= everything


@pytest.mark.parametrize(("percent", "reached"), [(60, Action.FAST), (25, Action.NORMAL)])
@given(capacity=st.integers(min_value=1, max_value=1_000_000))
def test_a_threshold_met_exactly_in_decimals_is_reached(percent: int, reached: Action, capacity: int) -> None:
    capacity_kwp = Decimal(capacity) / 100
    generation_kw = capacity_kwp * percent / 100

    decision = decide(
        DecisionInputs.from_readings(NOON, sun(float(generation_kw), float(capacity_kwp)), battery(70), grid(50))
    )

    assert decision.action is reached


def test_the_reason_names_the_numbers_that_decided() -> None:
    inputs = DecisionInputs.from_readings(NOON, sun(41.0), battery(83.0), grid(61.0))

    reason = decide(inputs).reason

    assert reason == "Solar 41.0 kW of 50 kWp, battery at 83.0 %, grid at 61.0 %: 22 kW."


def test_the_reason_names_the_threshold_that_was_passed() -> None:
    inputs = DecisionInputs.from_readings(NOON, sun(41.0), battery(83.0), grid(85.1))

    reason = decide(inputs).reason

    assert reason == "The grid carries 85.1 % of its limit, above 85 %, so charging pauses."


@given(inputs=situations)
def test_every_decision_of_the_rules_is_explained_in_one_sentence(inputs: DecisionInputs) -> None:
    decision = decide(inputs)

    assert decision.reason.endswith(".")
    assert ("pauses" in decision.reason) == (decision.action is Action.PAUSE)


def test_every_rule_has_one_definition_in_the_order_of_precedence() -> None:
    assert [definition.rule for definition in RULES] == list(Rule)


@pytest.mark.parametrize(
    ("action", "powers_kw"),
    [
        (Action.PAUSE, (0.0, -1.0, float("nan"))),
        (Action.SLOW, (0.1, 4.0, 5.0)),
        (Action.NORMAL, (5.1, 11.0)),
        (Action.FAST, (11.1, 22.0, 50.0)),
    ],
)
def test_the_action_follows_the_band_of_the_power(action: Action, powers_kw: tuple[float, ...]) -> None:
    assert {RuleThresholds().action_for(power_kw) for power_kw in powers_kw} == {action}
