"""The five rules: the default policy, and the ceiling that no other policy passes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from pydantic import JsonValue

from charging_agent.decision.policy import Action, DecisionInputs, Proposal
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

RULES_VERSION = "1"
"""Rises when the same readings and parameters may give another decision than before."""


class Rule(StrEnum):
    """Rule that applies, in the order of precedence."""

    FAIL_SAFE = "fail_safe"
    GRID_OVERLOAD = "grid_overload"
    SOLAR_AND_BATTERY_HIGH = "solar_and_battery_high"
    SOLAR_MEDIUM = "solar_medium"
    SOLAR_LOW = "solar_low"


@dataclass(frozen=True, slots=True)
class RuleThresholds:
    """Thresholds and powers of the rules."""

    grid_overload_percent: float = 85.0
    """A load above it pauses, the value itself does not [%]."""

    solar_high_percent: float = 60.0
    """Solar is high from here on [% of capacity]."""

    solar_medium_percent: float = 25.0
    """Solar is medium from here on [% of capacity]."""

    battery_high_percent: float = 70.0
    """The battery is high from here on [%]."""

    power_kw: dict[Action, float] = field(
        default_factory=lambda: {Action.PAUSE: 0.0, Action.SLOW: 5.0, Action.NORMAL: 11.0, Action.FAST: 22.0}
    )
    """Ceiling for each charging point by action [kW]; a pause is always 0."""

    def is_overloaded(self, grid: GridLoad) -> bool:
        """Whether the load is above the threshold; also where the two cannot be compared."""
        return not grid.load_percent <= self.grid_overload_percent

    def is_solar_high(self, solar: SolarStatus | None) -> bool:
        """Whether solar is high; a missing reading counts as low."""
        return _reaches(solar, self.solar_high_percent)

    def is_solar_medium(self, solar: SolarStatus | None) -> bool:
        """Whether solar is at least medium; a missing reading counts as low."""
        return _reaches(solar, self.solar_medium_percent)

    def is_battery_high(self, battery: BatteryStatus | None) -> bool:
        """Whether the battery is high; a missing reading counts as not high."""
        return battery is not None and battery.soc_percent >= self.battery_high_percent

    def action_for(self, power_kw: float) -> Action:
        """The band of a ceiling.

        >>> RuleThresholds().action_for(7.4)
        <Action.NORMAL: 'normal'>
        """
        if not power_kw > 0:
            return Action.PAUSE
        bands = (Action.SLOW, Action.NORMAL)
        return next((action for action in bands if power_kw <= self.power_kw[action]), Action.FAST)


@dataclass(frozen=True, slots=True)
class RuleDefinition:
    """One rule: when it applies, and what follows."""

    rule: Rule
    action: Action
    """Its power is that of this action."""

    because: str
    """Why it applied, as the end of a sentence."""

    applies: Callable[[DecisionInputs, RuleThresholds], bool]
    """Condition, given that no rule above it applies."""


def _solar_and_battery_are_high(inputs: DecisionInputs, thresholds: RuleThresholds) -> bool:
    return thresholds.is_solar_high(inputs.solar) and thresholds.is_battery_high(inputs.battery)


RULES = (
    RuleDefinition(
        Rule.FAIL_SAFE, Action.PAUSE, "there was no grid reading to trust", lambda inputs, _: inputs.grid is None
    ),
    RuleDefinition(
        Rule.GRID_OVERLOAD,
        Action.PAUSE,
        "the grid carried too much",
        lambda inputs, thresholds: inputs.grid is not None and thresholds.is_overloaded(inputs.grid),
    ),
    RuleDefinition(Rule.SOLAR_AND_BATTERY_HIGH, Action.FAST, "sun and battery were high", _solar_and_battery_are_high),
    RuleDefinition(
        Rule.SOLAR_MEDIUM,
        Action.NORMAL,
        "the sun was medium, or high with a battery that was not high",
        lambda inputs, thresholds: thresholds.is_solar_medium(inputs.solar),
    ),
    RuleDefinition(Rule.SOLAR_LOW, Action.SLOW, "the sun was low", lambda _inputs, _thresholds: True),
)
"""All rules in the order of precedence; the last one always applies. A new rule is a member of `Rule` and an entry."""


@dataclass(frozen=True, slots=True)
class RulePolicy:
    """The rules as a policy."""

    thresholds: RuleThresholds = field(default_factory=RuleThresholds)

    name = "rules"
    version = RULES_VERSION

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        """None of its own: the thresholds are recorded with each decision of any policy."""
        return {}

    def propose(self, inputs: DecisionInputs) -> Proposal:
        """Propose the power of the first rule that applies.

        >>> from datetime import UTC, datetime
        >>> RulePolicy().propose(DecisionInputs(datetime(2026, 6, 21, 12, tzinfo=UTC))).ceiling_kw
        0.0
        """
        power_kw = self.ceiling_kw(self.apply(inputs))
        return Proposal(power_kw, self._explain(inputs, power_kw))

    def apply(self, inputs: DecisionInputs) -> RuleDefinition:
        """The first rule that applies."""
        return next(one for one in RULES if one.applies(inputs, self.thresholds))

    def ceiling_kw(self, definition: RuleDefinition) -> float:
        """The power that a rule gives each charging point [kW]."""
        return self.thresholds.power_kw[definition.action]

    def _explain(self, inputs: DecisionInputs, power_kw: float) -> str:
        grid = inputs.grid
        if grid is None:
            return "No grid reading is young enough to trust, so charging pauses."
        if self.thresholds.is_overloaded(grid):
            limit = f"{self.thresholds.grid_overload_percent:g} %"
            return f"The grid carries {grid.load_percent:.1f} % of its limit, above {limit}, so charging pauses."
        solar, battery = _describe_solar(inputs.solar), _describe_battery(inputs.battery)
        return f"{solar}, {battery}, grid at {grid.load_percent:.1f} %: {power_kw:g} kW."


def _reaches(solar: SolarStatus | None, percent: float) -> bool:
    if solar is None:
        return False
    # Computed in decimals, as the numbers are written: in binary 0.078 kW would miss 60 % of 0.13 kWp.
    return _decimal(solar.generation_kw) * 100 >= _decimal(percent) * _decimal(solar.capacity_kwp)


def _decimal(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _describe_solar(solar: SolarStatus | None) -> str:
    if solar is None:
        return "Solar unknown and taken as low"
    return f"Solar {solar.generation_kw:.1f} kW of {solar.capacity_kwp:g} kWp"


def _describe_battery(battery: BatteryStatus | None) -> str:
    return "battery unknown and taken as not high" if battery is None else f"battery at {battery.soc_percent:.1f} %"
