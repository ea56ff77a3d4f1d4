"""Moves from the limits in force towards the fair plan: reductions at once, increases with delay.

What a car has and may keep is taken first; only the rest is given to others. So a delay can hold back an
increase, never a reduction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from charging_agent.charging.sharing.demand import RoundContext
from charging_agent.charging.sharing.model import LimitedBy
from charging_agent.charging.sharing.quantization import RemainingCapacity
from charging_agent.charging.sharing.water_filling import Grant, raise_to


@dataclass(frozen=True, slots=True)
class SmoothedGrant:
    """What one car gets now, and what held it below the plan; None where nothing did."""

    grant: Grant
    limited_by: LimitedBy | None


def smooth(grants: Sequence[Grant], left: RemainingCapacity, elapsed_s: float, at: RoundContext) -> list[SmoothedGrant]:
    """Go from what is in force towards the plan.

    Args:
        grants: the fair plan, the first to be served first.
        left: the whole room; it is used up.
        elapsed_s: since the round before [s], >= 0.
        at: this round.
    """
    now = [Grant(target.claim, target.mode, 0) for target in grants]
    both = list(zip(now, grants, strict=True))
    for grant, target in both:
        # Nobody gets more than in the plan here, and the plan fits; so all of this does.
        raise_to(grant, min(target.steps, max(_in_force(target), _immediate_steps(target))), left)
    for grant, target in both:
        _defer_small_reduction(grant, target, left, at)
    return [SmoothedGrant(grant, _rise(grant, target, left, elapsed_s, at)) for grant, target in both]


def _in_force(target: Grant) -> int:
    """The limit in force; nothing where the car changes to another number of phases, which is a new start."""
    claim = target.claim
    return claim.in_force_steps if claim.is_on and claim.phases == target.mode.phases else 0


def _immediate_steps(target: Grant) -> int:
    return max(target.claim.min_steps, min(target.claim.guaranteed_steps, target.steps))


def _defer_small_reduction(grant: Grant, target: Grant, left: RemainingCapacity, at: RoundContext) -> None:
    """Put off a small reduction that no limit asks for."""
    kept = min(_in_force(target), target.mode.max_steps)
    if kept <= target.steps or not _is_deferred(kept - target.steps, target, at):
        return
    if left.max_steps(grant.mode.units) >= kept - grant.steps:
        raise_to(grant, kept, left)


def _rise(grant: Grant, target: Grant, left: RemainingCapacity, elapsed_s: float, at: RoundContext) -> LimitedBy | None:
    """Raise towards the plan, and say what held it back."""
    in_force = _in_force(target)
    if target.steps <= grant.steps:
        return None
    if in_force and _is_deferred(target.steps - in_force, target, at):
        return LimitedBy.HYSTERESIS
    ramp = int(at.steps.floor(target.claim.car.max_a) * at.policy.ramp_percent_per_s * elapsed_s / 100)
    top = min(target.steps, max(in_force + ramp, _immediate_steps(target)))
    raise_to(grant, top, left)
    if grant.steps < top:
        return left.find_blocking_limit(grant.mode.units, 1)
    return LimitedBy.RAMP if top < target.steps else None


def _is_deferred(steps: int, target: Grant, at: RoundContext) -> bool:
    """Whether a change by that much can wait: it is small, and the last one was a short while ago."""
    memory = target.claim.memory
    if memory is None or at.age_s(memory.changed_at) >= at.policy.calm_s:
        return False
    return at.steps.kilowatts(steps, target.mode.phases) < at.policy.hysteresis_kw
