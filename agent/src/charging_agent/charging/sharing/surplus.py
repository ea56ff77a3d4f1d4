"""Shares surplus among the cars in the modes `surplus` and `minimum_and_surplus`, after all others have theirs.

A car starts after surplus has been enough for a while and stops after it has been too little for a while; meanwhile a
car that charges keeps its least current. After a change limits stay until the meters show it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from charging_agent.charging.sharing.demand import CarDemand, PhaseMode, RoundContext
from charging_agent.charging.sharing.fairness import FairPlan, plan_fairly, plan_with_switches
from charging_agent.charging.sharing.model import Car, CarKey, LimitedBy
from charging_agent.charging.sharing.quantization import RemainingCapacity
from ev_service.charging import ChargingMode


@dataclass(frozen=True, slots=True)
class SurplusTimes:
    """Since when surplus is enough or too little for one car."""

    enough_since: datetime | None = None
    """Since when there is enough; None: there is not."""
    lack_since: datetime | None = None
    """Since when there is too little while it charges; None: there is enough, or it does not charge."""


@dataclass(slots=True)
class SurplusPlan:
    """Plan of the cars on surplus."""

    plan: FairPlan
    """Who charges; of the others, why not."""
    left: RemainingCapacity
    """Capacity within which limits move towards the plan."""
    is_settling: bool
    """Whether limits stay as they are because surplus was shared a moment ago."""
    times: Mapping[CarKey, SurplusTimes] = field(default_factory=dict[CarKey, SurplusTimes])
    """What is remembered of each car in mode `surplus`."""


def reduce_to_minimum(car: Car) -> Car:
    """A car in mode `minimum_and_surplus` as it takes part in sharing what is no surplus: with its minimum alone."""
    return replace(
        car,
        mode=ChargingMode.SMART,
        max_a=min(car.max_a, max(car.least_a, car.guaranteed_a)),
        phases=car.phases[:1] if car.can_switch_phases else car.phases,
        can_switch_phases=False,
    )


def set_minimum(car: Car) -> Car:
    """A car on surplus with what it gets without any as its guarantee."""
    is_minimum = car.mode is ChargingMode.MINIMUM_AND_SURPLUS
    return replace(car, guaranteed_a=max(car.least_a, car.guaranteed_a) if is_minimum else 0.0)


def plan_surplus(
    claims: Sequence[CarDemand], left: RemainingCapacity, at: RoundContext, changed_at: datetime | None
) -> SurplusPlan:
    """Plan the cars on surplus.

    Args:
        claims: of cars that can charge, with `set_minimum`, the first to be served first.
        left: capacity without what other cars have, and all surplus; not changed.
        at: this round.
        changed_at: when surplus was last shared otherwise than before.
    """
    if at.age_s(changed_at) < at.policy.surplus_settle_s:
        return _keep(claims, left, at)
    sunny = _plan_within(claims, left, at)
    times = {
        claim.car.key: _update_times(claim, at, has_enough=claim.car.key in sunny.grants)
        for claim in claims
        if claim.car.mode is ChargingMode.SURPLUS
    }
    lacking = {key for key, one in times.items() if one.lack_since is not None}
    charging = [claim for claim in claims if _may_charge(claim, times.get(claim.car.key), at)]
    plan = sunny
    if len(charging) < len(claims) or lacking:
        # While surplus is too little for all that charge, none of them is stopped for another.
        kept = [replace(one, guaranteed_steps=one.guaranteed_steps or one.min_steps) for one in charging if one.is_on]
        by_key = {one.car.key: one for one in kept} if lacking & {one.car.key for one in charging} else {}
        plan = _plan_within([by_key.get(claim.car.key, claim) for claim in charging], left, at)
        for key in {claim.car.key for claim in claims} - {claim.car.key for claim in charging}:
            plan.rejected[key] = sunny.rejected.get(key, LimitedBy.SURPLUS)
    return SurplusPlan(plan, _smoothing_capacity(plan, left), is_settling=False, times=times)


def _update_times(claim: CarDemand, at: RoundContext, *, has_enough: bool) -> SurplusTimes:
    memory = claim.memory
    if has_enough:
        return SurplusTimes(enough_since=(None if memory is None else memory.enough_since) or at.now)
    is_lacking = claim.is_on and memory is not None
    return SurplusTimes(lack_since=(memory.lack_since or at.now) if is_lacking and memory is not None else None)


def _may_charge(claim: CarDemand, times: SurplusTimes | None, at: RoundContext) -> bool:
    """Whether minimum times let a car charge; those that are not in mode `surplus` have none."""
    if times is None:
        return True
    if claim.is_on:
        is_waiting = times.lack_since is not None and at.age_s(times.lack_since) < at.policy.surplus_stop_s
        return times.enough_since is not None or is_waiting
    return times.enough_since is not None and at.age_s(times.enough_since) >= at.policy.surplus_start_s


def _keep(claims: Sequence[CarDemand], left: RemainingCapacity, at: RoundContext) -> SurplusPlan:
    """Keep limits as they are, as far as other limits allow."""
    phases: dict[CarKey, int] = {}
    frozen: list[CarDemand] = []
    for claim in claims:
        stays = claim.is_on and claim.memory is not None
        if not stays and not claim.guaranteed_steps:
            continue
        # One that has to get its minimum only now begins with as few phases as it can.
        number = claim.phases if stays or claim.narrow is None else claim.narrow.phases
        phases[claim.car.key] = number
        frozen.append(_freeze(claim, number, claim.in_force_steps if stays else claim.guaranteed_steps))
    steps = sum(claim.guaranteed_steps * phases[claim.car.key] for claim in frozen)
    plan = plan_fairly(frozen, phases, left.with_surplus(steps), at)
    for claim in claims:
        if claim.car.key not in phases:
            plan.rejected[claim.car.key] = LimitedBy.SURPLUS
    times = {
        claim.car.key: SurplusTimes(claim.memory.enough_since, claim.memory.lack_since)
        for claim in claims
        if claim.memory is not None
    }
    return SurplusPlan(plan, left.with_surplus(steps), is_settling=True, times=times)


def _freeze(claim: CarDemand, phases: int, steps: int) -> CarDemand:
    """The demand of a car that gets so much on so many phases and no more, and less where that is not allowed."""
    mode = claim.phase_mode(phases)
    if mode.max_steps < claim.min_steps and claim.narrow is not None:
        mode = claim.narrow
    steps = min(steps, mode.max_steps)
    narrow = None if claim.narrow is None else _cap(claim.narrow, steps)
    return replace(claim, wide=_cap(claim.wide, steps), narrow=narrow, guaranteed_steps=steps)


def _cap(mode: PhaseMode, steps: int) -> PhaseMode:
    return replace(mode, max_steps=min(mode.max_steps, steps))


def _kept_steps(claims: Collection[CarDemand]) -> int:
    """What cars get without surplus, on as few phases as they can, as steps on one phase."""
    return sum(
        claim.guaranteed_steps * (claim.wide if claim.narrow is None else claim.narrow).phases for claim in claims
    )


def _plan_within(claims: Sequence[CarDemand], left: RemainingCapacity, at: RoundContext) -> FairPlan:
    """Plan with what cars get without surplus, and for the rest no more than the surplus beyond that."""
    surplus = left.surplus_steps
    plan = plan_with_switches(claims, left.with_surplus(max(surplus, _kept_steps(claims))), at)
    kept, more = 0, 0
    for grant in plan.grants.values():
        steps, own = grant.steps * grant.mode.phases, _kept_steps([grant.claim])
        kept, more = kept + min(steps, own), more + max(0, steps - own)
    if more <= max(0, surplus - kept):
        return plan
    # Another limit kept a car below its minimum: what was set aside for that is no surplus for the others.
    alone = [_freeze(claim, claim.phases, claim.guaranteed_steps) for claim in claims if claim.guaranteed_steps]
    again = plan_with_switches(alone, left.with_surplus(_kept_steps(alone)), at)
    rejected = {claim.car.key: LimitedBy.SURPLUS for claim in claims if claim.car.key not in again.grants}
    again.rejected = {**rejected, **plan.rejected, **again.rejected}
    return again


def _smoothing_capacity(plan: FairPlan, left: RemainingCapacity) -> RemainingCapacity:
    grants = plan.grants.values()
    steps = max(left.surplus_steps, sum(grant.steps * grant.mode.phases for grant in grants))
    in_force = [
        one.claim.in_force_steps if one.claim.is_on and one.claim.phases == one.mode.phases else 0 for one in grants
    ]
    if all(grant.steps <= had for grant, had in zip(grants, in_force, strict=True)):
        # A small reduction may wait, but not at the expense of a car that rises.
        steps = max(steps, sum(had * grant.mode.phases for grant, had in zip(grants, in_force, strict=True)))
    return left.with_surplus(steps)
