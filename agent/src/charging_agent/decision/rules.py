"""Which power the cars may have: the rules, and the guard above them.

Pure: knows readings and thresholds, not gateways, clocks or tokens.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

RULES_VERSION = "1"
"""Rises when the same readings and parameters may give another decision than before."""


class Action(StrEnum):
    """What the cars are told."""

    PAUSE = "pause"
    SLOW = "slow"
    NORMAL = "normal"
    FAST = "fast"


class Rule(StrEnum):
    """Which rule decided, in the order in which they are asked."""

    FAIL_SAFE = "fail_safe"
    GRID_OVERLOAD = "grid_overload"
    SOLAR_AND_BATTERY_HIGH = "solar_and_battery_high"
    SOLAR_MEDIUM = "solar_medium"
    SOLAR_LOW = "solar_low"


ACTION_OF = {
    Rule.FAIL_SAFE: Action.PAUSE,
    Rule.GRID_OVERLOAD: Action.PAUSE,
    Rule.SOLAR_AND_BATTERY_HIGH: Action.FAST,
    Rule.SOLAR_MEDIUM: Action.NORMAL,
    Rule.SOLAR_LOW: Action.SLOW,
}


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds and powers of the rules.

    grid_overload_percent [%]: a load above it pauses, the value itself does not.
    solar_high_percent, solar_medium_percent [% of capacity]: from here on solar is high, medium.
    battery_high_percent [%]: from here on the battery is high.
    power_kw [kW]: ceiling for each charging point by action; a pause is always 0.
    """

    grid_overload_percent: float = 85.0
    solar_high_percent: float = 60.0
    solar_medium_percent: float = 25.0
    battery_high_percent: float = 70.0
    power_kw: dict[Action, float] = field(
        default_factory=lambda: {Action.PAUSE: 0.0, Action.SLOW: 5.0, Action.NORMAL: 11.0, Action.FAST: 22.0}
    )


@dataclass(frozen=True, slots=True)
class Known:
    """What is known for this decision; None where nothing young enough is."""

    solar: SolarStatus | None = None
    battery: BatteryStatus | None = None
    grid: GridLoad | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The ceiling for each charging point [kW] and the rule that gave it."""

    rule: Rule
    action: Action
    charging_power_kw: float


def decide(known: Known, policy: Policy) -> Decision:
    """Apply the rules in their order.

    A missing solar reading counts as low, a missing battery reading as not high.

    >>> decide(Known(), Policy()).rule
    <Rule.FAIL_SAFE: 'fail_safe'>
    """
    return _ruled(_rule(known, policy), policy)


def guard(proposal: Decision, known: Known, policy: Policy) -> Decision:
    """Let through only what the envelope allows, whoever proposed it.

    Nothing but readings and settings reaches this function, so nothing can talk it round: without a grid reading,
    above the overload threshold, or for a power that no rule gives, the cars pause.
    """
    if known.grid is None:
        return _ruled(Rule.FAIL_SAFE, policy)
    # Written so that a load that can not be compared pauses too.
    if not known.grid.load_percent <= policy.grid_overload_percent:
        return _ruled(Rule.GRID_OVERLOAD, policy)
    if ACTION_OF.get(proposal.rule) is not proposal.action:
        return _ruled(Rule.FAIL_SAFE, policy)
    if proposal.charging_power_kw != policy.power_kw.get(proposal.action):
        return _ruled(Rule.FAIL_SAFE, policy)
    return proposal


def explain(decision: Decision, known: Known, policy: Policy) -> str:
    """Say in one plain sentence, with the numbers, why this power."""
    grid, power = known.grid, f"{decision.charging_power_kw:g} kW"
    if grid is None:
        return "No grid reading is young enough to trust, so charging pauses."
    if decision.rule is Rule.FAIL_SAFE:
        return "The proposed power is not one that the rules give, so charging pauses."
    if decision.rule is Rule.GRID_OVERLOAD:
        limit = f"{policy.grid_overload_percent:g} %"
        return f"The grid carries {grid.load_percent:.1f} % of its limit, above {limit}, so charging pauses."
    return f"{_solar_words(known.solar)}, {_battery_words(known.battery)}, grid at {grid.load_percent:.1f} %: {power}."


def _rule(known: Known, policy: Policy) -> Rule:
    if known.grid is None:
        return Rule.FAIL_SAFE
    if known.grid.load_percent > policy.grid_overload_percent:
        return Rule.GRID_OVERLOAD
    if _solar_reaches(known.solar, policy.solar_high_percent):
        is_battery_high = known.battery is not None and known.battery.soc_percent >= policy.battery_high_percent
        return Rule.SOLAR_AND_BATTERY_HIGH if is_battery_high else Rule.SOLAR_MEDIUM
    return Rule.SOLAR_MEDIUM if _solar_reaches(known.solar, policy.solar_medium_percent) else Rule.SOLAR_LOW


def _ruled(rule: Rule, policy: Policy) -> Decision:
    action = ACTION_OF[rule]
    return Decision(rule, action, policy.power_kw[action])


def _solar_reaches(solar: SolarStatus | None, percent: float) -> bool:
    if solar is None:
        return False
    # Reckoned in decimals, as the numbers are written: in binary 0.078 kW would miss 60 % of 0.13 kWp.
    return _decimal(solar.generation_kw) * 100 >= _decimal(percent) * _decimal(solar.capacity_kwp)


def _decimal(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _solar_words(solar: SolarStatus | None) -> str:
    if solar is None:
        return "Solar unknown and taken as low"
    return f"Solar {solar.generation_kw:.1f} kW of {solar.capacity_kwp:g} kWp"


def _battery_words(battery: BatteryStatus | None) -> str:
    return "battery unknown and taken as not high" if battery is None else f"battery at {battery.soc_percent:.1f} %"
