"""The guard over every policy: it lowers ceilings to bounds that follow from readings and settings alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from charging_agent.charging.sharing import CarKey
from charging_agent.decision.policy import DecisionInputs, Proposal
from charging_agent.decision.rules import RuleThresholds


class PowerLimit(StrEnum):
    """What lowered a ceiling, in the order in which it is named where several do alike."""

    FAIL_SAFE = "fail_safe"
    """There is no grid reading younger than the stale limit: 0 kW."""

    GRID_OVERLOAD = "grid_overload"
    """The grid load is above the overload threshold: 0 kW."""

    RULE_CEILING = "rule_ceiling"
    """The rules give less, and AGENT_KEEP_RULE_CEILINGS is true."""

    INVALID_POWER = "invalid_power"
    """The proposed power is negative or not finite: 0 kW."""


@dataclass(frozen=True, slots=True)
class PowerClamp:
    """A ceiling that the guard lowered."""

    limited_by: PowerLimit
    """The bound that applied, the lowest of several."""

    proposed_kw: float
    """What was proposed [kW]; may be negative or not finite."""

    allowed_kw: float
    """What is allowed [kW], >= 0."""

    evse: CarKey | None = None
    """The charging point; None: the ceiling of all that have none of their own."""


@dataclass(frozen=True, slots=True)
class GuardedCeilings:
    """Ceilings that are within every bound."""

    ceiling_kw: float
    """For each charging point that `evse_ceilings_kw` does not name [kW]."""

    evse_ceilings_kw: Mapping[CarKey, float]
    """Of single charging points [kW]."""

    clamps: tuple[PowerClamp, ...]
    """What was lowered; empty where the proposal was within the bounds."""

    @property
    def highest_kw(self) -> float:
        """The highest ceiling of any charging point [kW]."""
        return max([self.ceiling_kw, *self.evse_ceilings_kw.values()])

    @property
    def limited_by(self) -> PowerLimit | None:
        """The limit that determined the highest ceiling; None where it is as proposed."""
        determined = (one for one in self.clamps if one.allowed_kw == self.highest_kw)
        return next((one.limited_by for one in determined), None)


def power_bounds(
    inputs: DecisionInputs, thresholds: RuleThresholds, rule_ceiling_kw: float | None
) -> dict[PowerLimit, float]:
    """Compute the bounds of every ceiling [kW].

    Args:
        inputs: readings of the decision.
        thresholds: of the grid overload.
        rule_ceiling_kw: what the rules give [kW]; None: it does not bound.
    """
    bounds = dict[PowerLimit, float]()
    if inputs.grid is None:
        bounds[PowerLimit.FAIL_SAFE] = 0.0
    elif thresholds.is_overloaded(inputs.grid):
        bounds[PowerLimit.GRID_OVERLOAD] = 0.0
    if rule_ceiling_kw is not None:
        bounds[PowerLimit.RULE_CEILING] = rule_ceiling_kw
    return bounds


def guard(proposal: Proposal, bounds: Mapping[PowerLimit, float]) -> GuardedCeilings:
    """Lower each ceiling to the lowest bound; a power that is negative or not finite becomes 0.

    >>> guard(Proposal(22.0, "Fast."), {PowerLimit.RULE_CEILING: 11.0}).ceiling_kw
    11.0
    """
    clamps: list[PowerClamp] = []

    def cap(proposed_kw: float, evse: CarKey | None) -> float:
        valid_kw = proposed_kw if isfinite(proposed_kw) and proposed_kw >= 0 else 0.0
        limited_by, allowed_kw = min(bounds.items(), key=lambda bound: bound[1], default=(None, valid_kw))
        if limited_by is None or allowed_kw >= valid_kw:
            limited_by, allowed_kw = PowerLimit.INVALID_POWER, valid_kw
        # Not a number is unequal to everything, so it counts as lowered.
        if proposed_kw != allowed_kw:
            clamps.append(PowerClamp(limited_by, proposed_kw, allowed_kw, evse))
        return allowed_kw

    ceiling_kw = cap(proposal.ceiling_kw, None)
    ceilings_kw = {evse: cap(power_kw, evse) for evse, power_kw in proposal.evse_ceilings_kw.items()}
    return GuardedCeilings(ceiling_kw, ceilings_kw, tuple(clamps))
