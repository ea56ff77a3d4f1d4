"""Allocates the available power to the cars for one round.

From the limits in force towards the fair plan: reductions at once, increases with delay. What a car has and may keep is
taken first and only the rest is given to others, so a delay can hold back an increase, never a reduction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from charging_agent.charging.sharing.demand import CarDemand, RoundContext, compute_demands, sum_overdraw
from charging_agent.charging.sharing.fairness import FairPlan, Grant, plan_with_switches, raise_to
from charging_agent.charging.sharing.model import (
    Allotment,
    Car,
    CarKey,
    LimitedBy,
    Memory,
    SharingPolicy,
    SiteRoom,
    remember,
)
from charging_agent.charging.sharing.quantization import RemainingCapacity, Steps


@dataclass(frozen=True, slots=True)
class SmoothedGrant:
    """Current of one car in this round."""

    grant: Grant
    """Current and number of phases."""
    limited_by: LimitedBy | None
    """What kept it below the fair plan; None: nothing."""


def smooth(grants: Sequence[Grant], left: RemainingCapacity, elapsed_s: float, at: RoundContext) -> list[SmoothedGrant]:
    """Move from the limits in force towards the fair plan.

    Args:
        grants: the fair plan, the first to be served first.
        left: remaining capacity, all of it; changed.
        elapsed_s: time since the round before [s], >= 0.
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
    """Limit in force [steps]; 0 if the number of phases changes, which is a new start."""
    claim = target.claim
    return claim.in_force_steps if claim.is_on and claim.phases == target.mode.phases else 0


def _immediate_steps(target: Grant) -> int:
    return max(target.claim.min_steps, min(target.claim.guaranteed_steps, target.steps))


def _defer_small_reduction(grant: Grant, target: Grant, left: RemainingCapacity, at: RoundContext) -> None:
    """Defer a small reduction that no limit requires."""
    kept = min(_in_force(target), target.mode.max_steps)
    if kept <= target.steps or not _is_deferred(kept - target.steps, target, at):
        return
    if left.max_steps(grant.mode.units) >= kept - grant.steps:
        raise_to(grant, kept, left)


def _rise(grant: Grant, target: Grant, left: RemainingCapacity, elapsed_s: float, at: RoundContext) -> LimitedBy | None:
    """Raise a grant towards the plan; return what kept it below, if anything did."""
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
    """Whether a change by that many steps is deferred: it is small, and the last one is recent."""
    memory = target.claim.memory
    if memory is None or at.age_s(memory.changed_at) >= at.policy.calm_s:
        return False
    return at.steps.kilowatts(steps, target.mode.phases) < at.policy.hysteresis_kw


@dataclass(frozen=True, slots=True)
class AllocationResult:
    """Result of one round."""

    allotments: tuple[Allotment, ...]
    """One for each car, sorted by key."""
    memory: Memory
    """Memory for the next round."""


def allocate(
    cars: Sequence[Car], room: SiteRoom, memory: Memory, now: datetime, policy: SharingPolicy
) -> AllocationResult:
    """Allocate the room to the cars.

    The same arguments give the same answer, whatever the order of the cars.

    Args:
        cars: in any order; each key once.
        room: what they may draw together.
        memory: of the round before; `Memory.initial()` at first.
        now: the moment of this round, aware, in the run's clock.
        policy: delays, hysteresis, ramp, rounding.

    Raises:
        ValueError: two cars have the same key, or voltage or step are not positive.
    """
    by_key = {car.key: car for car in cars}
    if len(by_key) < len(cars):
        raise ValueError("two cars have the same key")
    memory = memory.as_of(now)
    remembered = {known.key: known for known in memory.cars}
    at = RoundContext(room, Steps(policy.step_a, room.voltage_v), now, policy)
    left = RemainingCapacity(room, at.steps)
    claims = compute_demands(cars, remembered, left, at)
    left.take_overdrawn(sum_overdraw(cars, remembered, at))
    able = [] if room.pauses else [claim for claim in claims if _find_exclusion(claim) is None]
    plan = plan_with_switches(able, left, at)
    elapsed_s = 0.0 if memory.at is None else at.age_s(memory.at)
    granted = [grant for claim in able if (grant := plan.grants.get(claim.car.key)) is not None]
    calmed = {now.grant.claim.car.key: now for now in smooth(granted, left, elapsed_s, at)}
    claims.sort(key=lambda claim: claim.car.key)
    allotments = tuple(_build_allotment(claim, plan, calmed, at) for claim in claims)
    known = (
        remember(claim.car, claim.memory, allotment.limit_a, _phases(claim, calmed), now)
        for claim, allotment in zip(claims, allotments, strict=True)
    )
    return AllocationResult(allotments, Memory(tuple(known), now))


def _find_exclusion(claim: CarDemand) -> LimitedBy | None:
    """Return why a car cannot charge whatever the available power; None if it can."""
    if not claim.car.wants:
        return LimitedBy.NOT_WANTED
    modes = (claim.wide,) if claim.narrow is None else (claim.wide, claim.narrow)
    if any(mode.max_steps >= claim.min_steps for mode in modes):
        return None
    return LimitedBy.CHARGER_LIMIT if modes[-1].is_capped_by_car else LimitedBy.CEILING


def _build_allotment(
    claim: CarDemand, plan: FairPlan, calmed: dict[CarKey, SmoothedGrant], at: RoundContext
) -> Allotment:
    key = claim.car.key
    phases = None if claim.narrow is None else _phases(claim, calmed)
    current = calmed.get(key)
    if current is not None:
        return Allotment(key, at.steps.amperes(current.grant.steps), phases, _limited_by(current, plan))
    if at.room.pauses:
        return Allotment(key, 0.0, phases, LimitedBy.PAUSE)
    return Allotment(key, 0.0, phases, _find_exclusion(claim) or plan.rejected[key])


def _limited_by(current: SmoothedGrant, plan: FairPlan) -> LimitedBy | None:
    grant = current.grant
    if grant.steps >= grant.mode.max_steps:
        return LimitedBy.CHARGER_LIMIT if grant.mode.is_capped_by_car else None
    if current.limited_by is not None:
        return current.limited_by
    # Where single steps are left over that are too few for those in line, it is still the site that has no more.
    return plan.left.find_blocking_limit(grant.mode.units, 1) or plan.left.site_limited_by


def _phases(claim: CarDemand, calmed: dict[CarKey, SmoothedGrant]) -> int:
    current = calmed.get(claim.car.key)
    return claim.phases if current is None else current.grant.mode.phases
