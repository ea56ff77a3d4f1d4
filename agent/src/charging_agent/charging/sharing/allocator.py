"""Allocates the available power to the cars for one round.

From the limits in force towards the fair plan: reductions at once, increases with delay. What a car has and may keep is
taken first and only the rest is given to others, so a delay can hold back an increase, never a reduction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from charging_agent.charging.sharing.demand import CarDemand, PhaseMode, RoundContext, compute_demands, sum_overdraw
from charging_agent.charging.sharing.fairness import FairPlan, Grant, plan_with_switches, raise_to
from charging_agent.charging.sharing.model import (
    Allotment,
    Car,
    CarKey,
    CarMemory,
    LimitedBy,
    Memory,
    SharingPolicy,
    SiteRoom,
    remember,
)
from charging_agent.charging.sharing.quantization import RemainingCapacity, Steps
from charging_agent.charging.sharing.surplus import SurplusTimes, plan_surplus, reduce_to_minimum, set_minimum
from ev_service.charging import ChargingMode


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
    left.take_overdrawn(sum_overdraw(cars, remembered, at))
    elapsed_s = 0.0 if memory.at is None else at.age_s(memory.at)
    firm = [
        reduce_to_minimum(car) if car.is_on_surplus else car for car in cars if car.mode is not ChargingMode.SURPLUS
    ]
    shared = _share_firm(compute_demands(firm, remembered, left, at), left, elapsed_s, at)
    on_surplus = [set_minimum(car) for car in cars if car.is_on_surplus]
    surplus = _share_surplus(compute_demands(on_surplus, remembered, left, at), shared, left, elapsed_s, memory, at)
    claims = [claim for claim in shared.claims if claim.car.key not in surplus.keys] + surplus.claims
    claims.sort(key=lambda claim: claim.car.key)
    parts = {claim.car.key: surplus if claim.car.key in surplus.keys else shared for claim in claims}
    allotments = tuple(_build_allotment(claim, parts[claim.car.key], at) for claim in claims)
    known = [
        _remember(claim, allotment.limit_a, parts[claim.car.key], at)
        for claim, allotment in zip(claims, allotments, strict=True)
    ]
    changed_at = memory.surplus_at
    if not surplus.is_settling and any(one.key in surplus.keys and one.changed_at == now for one in known):
        changed_at = now
    return AllocationResult(allotments, Memory(tuple(known), now, changed_at))


@dataclass(frozen=True, slots=True)
class _Share:
    """What some of the cars get."""

    claims: list[CarDemand]
    """All of them."""
    plan: FairPlan
    """Their fair plan."""
    granted: dict[CarKey, SmoothedGrant]
    """Those that charge."""
    is_settling: bool = False
    """Whether surplus was shared a moment ago."""
    times: Mapping[CarKey, SurplusTimes] = field(default_factory=dict[CarKey, SurplusTimes])
    """What is remembered of surplus for cars in mode `surplus`."""

    @property
    def keys(self) -> frozenset[CarKey]:
        """All of them."""
        return frozenset(claim.car.key for claim in self.claims)


def _share_firm(claims: list[CarDemand], left: RemainingCapacity, elapsed_s: float, at: RoundContext) -> _Share:
    """Share among cars that need no surplus; `left` becomes what they leave."""
    plan = plan_with_switches(_select_able(claims, at), left, at)
    return _Share(claims, plan, _smooth_plan(plan, claims, left, elapsed_s, at))


def _share_surplus(
    claims: list[CarDemand],
    firm: _Share,
    left: RemainingCapacity,
    elapsed_s: float,
    memory: Memory,
    at: RoundContext,
) -> _Share:
    """Share surplus among the cars on surplus, and the minimum currents that `firm` has for some of them."""
    rejected: dict[CarKey, LimitedBy] = {}
    for claim in claims:
        if (minimum := firm.granted.get(claim.car.key)) is not None:
            left.take(minimum.grant.mode.units, -minimum.grant.steps)
        elif (reason := firm.plan.rejected.get(claim.car.key)) is not None:
            rejected[claim.car.key] = reason
    able = [claim for claim in _select_able(claims, at) if claim.car.key not in rejected]
    planned = plan_surplus(able, left, at, memory.surplus_at)
    planned.plan.rejected |= rejected
    hysteresis_kw = min(at.policy.hysteresis_kw, at.policy.surplus_hysteresis_kw)
    following = replace(at, policy=replace(at.policy, hysteresis_kw=hysteresis_kw))
    granted = _smooth_plan(planned.plan, able, planned.left, elapsed_s, following)
    return _Share(claims, planned.plan, granted, planned.is_settling, planned.times)


def _select_able(claims: Sequence[CarDemand], at: RoundContext) -> list[CarDemand]:
    return [] if at.room.pauses else [claim for claim in claims if _find_exclusion(claim) is None]


def _smooth_plan(
    plan: FairPlan, claims: Sequence[CarDemand], left: RemainingCapacity, elapsed_s: float, at: RoundContext
) -> dict[CarKey, SmoothedGrant]:
    grants = [grant for claim in claims if (grant := plan.grants.get(claim.car.key)) is not None]
    return {one.grant.claim.car.key: one for one in smooth(grants, left, elapsed_s, at)}


def _remember(claim: CarDemand, limit_a: float, share: _Share, at: RoundContext) -> CarMemory:
    known = remember(claim.car, claim.memory, limit_a, _phases(claim, share.granted), at.now)
    times = share.times.get(claim.car.key, SurplusTimes())
    return replace(known, enough_since=times.enough_since, lack_since=times.lack_since)


def _find_exclusion(claim: CarDemand) -> LimitedBy | None:
    """Return why a car cannot charge whatever the available power; None if it can."""
    if not claim.car.wants:
        return LimitedBy.NOT_WANTED
    modes = (claim.wide,) if claim.narrow is None else (claim.wide, claim.narrow)
    if any(mode.max_steps >= claim.min_steps for mode in modes):
        return None
    return LimitedBy.CHARGER_LIMIT if modes[-1].is_capped_by_car else LimitedBy.CEILING


def _build_allotment(claim: CarDemand, share: _Share, at: RoundContext) -> Allotment:
    key = claim.car.key
    phases = None if claim.narrow is None else _phases(claim, share.granted)
    current = share.granted.get(key)
    if current is not None:
        limited_by = _limited_by(current, claim.phase_mode(current.grant.mode.phases), share.plan)
        return Allotment(key, at.steps.amperes(current.grant.steps), phases, limited_by)
    if at.room.pauses:
        return Allotment(key, 0.0, phases, LimitedBy.PAUSE)
    return Allotment(key, 0.0, phases, _find_exclusion(claim) or share.plan.rejected[key])


def _limited_by(current: SmoothedGrant, mode: PhaseMode, plan: FairPlan) -> LimitedBy | None:
    grant = current.grant
    if grant.steps >= mode.max_steps:
        return LimitedBy.CHARGER_LIMIT if mode.is_capped_by_car else None
    if current.limited_by is not None:
        return current.limited_by
    # Where single steps are left over that are too few for those in line, it is still the site that has no more.
    return plan.left.find_blocking_limit(grant.mode.units, 1) or plan.left.site_limited_by


def _phases(claim: CarDemand, granted: Mapping[CarKey, SmoothedGrant]) -> int:
    current = granted.get(claim.car.key)
    return claim.phases if current is None else current.grant.mode.phases
