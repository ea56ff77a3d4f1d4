"""Fair plan of one round: who charges, on how many phases and with how much, as if nothing had been allotted before.

Guaranteed minima come first. Then, tier by tier: as many cars as fit with their least current, then what each needs to
be ready by its departure, then equal shares (max-min fairness). What a car does not take is offered to the others.

A car that can be switched between one phase and all goes down at once if more cars can charge then, and up only where
it gets clearly more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from charging_agent.charging.sharing.demand import CarDemand, PhaseMode, RoundContext
from charging_agent.charging.sharing.model import CarKey, LimitedBy
from charging_agent.charging.sharing.quantization import RemainingCapacity, Units

_S_PER_H = 3600
_TRIALS = 3
"""Each trial leaves out the cars for which the one before gained too little; after the last one nothing changes."""

_DELAYS = {LimitedBy.MINIMUM_OFF_TIME, LimitedBy.HYSTERESIS}


@dataclass(slots=True)
class Grant:
    """A car that charges."""

    claim: CarDemand
    """Its demand."""
    mode: PhaseMode
    """Number of phases and limits."""
    steps: int
    """Current so far [steps]."""


def raise_to(grant: Grant, steps: int, left: RemainingCapacity) -> int:
    """Give one car as much of that as still fits, never less than it has; returns by how much it rose."""
    more = max(0, min(steps - grant.steps, left.max_steps(grant.mode.units)))
    left.take(grant.mode.units, more)
    grant.steps += more
    return more


def raise_together(grants: Sequence[Grant], tops: Sequence[int], left: RemainingCapacity) -> None:
    """Raise all of them alike, each up to its top; the last steps that are too few for all go to the first in line."""
    rising = _RisingGroup(grants, left)
    bounds = [(grant, top) for grant, top in zip(grants, tops, strict=True) if grant.steps < top]
    events = [(grant.steps, 0, place) for place, (grant, _) in enumerate(bounds)]
    events += [(top, 1, place) for place, (_, top) in enumerate(bounds)]
    for level, leaves, place in sorted(events):
        rising.rise_to(level)
        if leaves:
            rising.leave(bounds[place][0])
        else:
            rising.join(bounds[place][0])
    while sum(raise_to(grant, min(top, grant.steps + 1), left) for grant, top in bounds):
        pass


class _RisingGroup:
    """The cars whose current is at the level now."""

    def __init__(self, grants: Sequence[Grant], left: RemainingCapacity) -> None:
        self._left, self._level = left, 0
        self._weights = [0] * len(left.steps)
        # Insertion order, so that nothing depends on hashes.
        self._members: dict[int, Grant] = {}
        self._users: list[dict[int, Grant]] = [{} for _ in left.steps]

    def join(self, grant: Grant) -> None:
        self._members[id(grant)] = grant
        for index, weight in grant.mode.units:
            self._weights[index] += weight
            self._users[index][id(grant)] = grant

    def leave(self, grant: Grant) -> None:
        if self._members.pop(id(grant), None) is None:
            return
        grant.steps = self._level
        for index, weight in grant.mode.units:
            self._weights[index] -= weight
            del self._users[index][id(grant)]

    def rise_to(self, level: int) -> None:
        while self._members and self._level < level:
            left = self._left.steps
            loaded = [(index, weight) for index, weight in enumerate(self._weights) if weight]
            rise = min(level - self._level, *(left[index] // weight for index, weight in loaded))
            for index, weight in loaded:
                left[index] -= weight * rise
            self._level += rise
            if self._level < level:
                full = [index for index, weight in loaded if left[index] < weight]
                for grant in [grant for index in full for grant in self._users[index].values()]:
                    self.leave(grant)
        self._level = max(self._level, level)


@dataclass(slots=True)
class FairPlan:
    """Result of fair sharing."""

    left: RemainingCapacity
    """Capacity that is left."""
    grants: dict[CarKey, Grant] = field(default_factory=dict[CarKey, Grant])
    """Cars that charge."""
    rejected: dict[CarKey, LimitedBy] = field(default_factory=dict[CarKey, LimitedBy])
    """Cars that do not charge, and why."""


def plan_fairly(
    claims: Sequence[CarDemand], phases: Mapping[CarKey, int], left: RemainingCapacity, at: RoundContext
) -> FairPlan:
    """Share what is left.

    Args:
        claims: of the cars that may charge at all, the first to be served first.
        phases: on how many phases each of them is to charge; where all do not fit, a car may get one.
        left: the room; it is used up.
        at: this round.
    """
    plan = FairPlan(left)
    guaranteed = [claim for claim in claims if claim.guaranteed_steps]
    _admit(guaranteed, phases, plan, at)
    for claim in guaranteed:
        if (grant := plan.grants.get(claim.car.key)) is not None:
            raise_to(grant, claim.guaranteed_steps, left)
    tiers = [list(tier) for _, tier in groupby(claims, key=lambda claim: claim.tier)]
    for tier in tiers:
        _admit([claim for claim in tier if claim.car.key not in plan.grants], phases, plan, at)
        grants = _collect_grants(tier, plan)
        for grant in sorted(grants, key=lambda grant: grant.claim.laxity_s):
            raise_to(grant, min(_needed_steps(grant, at), grant.claim.wanted_steps(grant.mode)), left)
        raise_together(grants, [grant.claim.wanted_steps(grant.mode) for grant in grants], left)
    for tier in tiers:
        grants = _collect_grants(tier, plan)
        raise_together(grants, [grant.mode.max_steps for grant in grants], left)
    return plan


def _collect_grants(tier: Sequence[CarDemand], plan: FairPlan) -> list[Grant]:
    return [grant for claim in tier if (grant := plan.grants.get(claim.car.key)) is not None]


def _admit(claims: Sequence[CarDemand], phases: Mapping[CarKey, int], plan: FairPlan, at: RoundContext) -> None:
    """Give as many as fit their least current, in their order.

    For a car that waits and would fit if others had not come first, what is there is held against those behind it:
    else a car that needs three phases would be overtaken by smaller ones for ever.
    """
    fitting = {claim.car.key for claim in claims if _mode_that_fits(claim, phases, plan.left) is not None}
    held: list[Units] = []
    for claim in claims:
        key = claim.car.key
        if _is_resting(claim, at):
            plan.rejected[key] = LimitedBy.MINIMUM_OFF_TIME
            continue
        mode = _mode_that_fits(claim, phases, plan.left)
        if mode is None:
            last = _modes(claim, phases)[-1]
            plan.rejected[key] = plan.left.find_blocking_limit(last.units, claim.min_steps) or plan.left.site_limited_by
            if key in fitting and not claim.is_on:
                held.append(plan.left.reserve(last.units, claim.min_steps))
        elif plan.left.max_steps(mode.units) < claim.min_steps + _margin(claim, mode, at):
            plan.rejected[key] = LimitedBy.HYSTERESIS
        else:
            plan.left.take(mode.units, claim.min_steps)
            plan.grants[key] = Grant(claim, mode, claim.min_steps)
            plan.rejected.pop(key, None)
    plan.left.release(held)


def _modes(claim: CarDemand, phases: Mapping[CarKey, int]) -> list[PhaseMode]:
    """How it may charge, the first choice first: fewer phases than wanted are taken, more are not."""
    first = claim.phase_mode(phases[claim.car.key])
    choices = [first] if claim.narrow is None or first is claim.narrow else [first, claim.narrow]
    return [mode for mode in choices if mode.max_steps >= claim.min_steps] or choices[-1:]


def _mode_that_fits(claim: CarDemand, phases: Mapping[CarKey, int], left: RemainingCapacity) -> PhaseMode | None:
    modes = _modes(claim, phases)
    return next((mode for mode in modes if min(mode.max_steps, left.max_steps(mode.units)) >= claim.min_steps), None)


def _is_resting(claim: CarDemand, at: RoundContext) -> bool:
    memory = claim.memory
    return (
        memory is not None
        and memory.has_stopped
        and not claim.is_on
        and at.age_s(memory.since) < at.policy.minimum_off_s
    )


def _margin(claim: CarDemand, mode: PhaseMode, at: RoundContext) -> int:
    """What has to be to spare before a car starts again that stopped a short while ago."""
    memory = claim.memory
    if memory is None or not memory.has_stopped or claim.is_on or claim.guaranteed_steps:
        return 0
    if at.age_s(memory.since) >= at.policy.calm_s:
        return 0
    return at.steps.floor_power(at.policy.hysteresis_kw, mode.phases)


def _needed_steps(grant: Grant, at: RoundContext) -> int:
    """The current that brings the energy that is left just by the departure; 0 where it is not known or has passed."""
    car = grant.claim.car
    if car.departure is None or car.energy_left_kwh is None or car.departure <= at.now:
        return 0
    hours = (car.departure - at.now).total_seconds() / _S_PER_H
    return at.steps.floor_power(car.energy_left_kwh / hours, grant.mode.phases)


def plan_with_switches(claims: Sequence[CarDemand], left: RemainingCapacity, at: RoundContext) -> FairPlan:
    """Share the remaining capacity, on the phases of the last round wherever that serves as many cars."""
    phases = {claim.car.key: claim.phases for claim in claims}
    plan = plan_fairly(claims, phases, left.copy(), at)
    if all(claim.narrow is None for claim in claims):
        return plan
    return _plan_narrower(claims, phases, plan, left, at) or _plan_wider(claims, phases, plan, left, at)


def _plan_narrower(
    claims: Sequence[CarDemand], phases: Mapping[CarKey, int], plan: FairPlan, left: RemainingCapacity, at: RoundContext
) -> FairPlan | None:
    """Plan with the fewest cars on one phase that lets the most cars charge; None if that helps no car."""
    candidates = _find_downshift_candidates(claims, plan)
    most = len(candidates)
    best = _plan_with_phases(1, candidates, claims, phases, left, at)
    if not _find_served(best) > _find_served(plan):
        return None
    served, fewest = _find_served(best), 1
    while fewest < most:
        middle = (fewest + most) // 2
        trial = _plan_with_phases(1, candidates[:middle], claims, phases, left, at)
        if _find_served(trial) >= served:
            best, most = trial, middle
        else:
            fewest = middle + 1
    return best


def _plan_wider(
    claims: Sequence[CarDemand], phases: Mapping[CarKey, int], plan: FairPlan, left: RemainingCapacity, at: RoundContext
) -> FairPlan:
    """Plan with those cars on all phases that get clearly more there, unless another car is stopped for it."""
    upward = [claim for claim in claims if _can_go_up(claim, at)]
    for _ in range(_TRIALS):
        if not upward:
            break
        trial = _plan_with_phases(None, upward, claims, phases, left, at)
        worth = [
            one
            for one in upward
            if _power_kw(one.car.key, trial, at) - _power_kw(one.car.key, plan, at) >= at.policy.hysteresis_kw
        ]
        if len(worth) == len(upward):
            return trial if _find_served(trial) >= _find_served(plan) else plan
        upward = worth
    return plan


def _plan_with_phases(
    number: int | None,
    changed: Sequence[CarDemand],
    claims: Sequence[CarDemand],
    phases: Mapping[CarKey, int],
    left: RemainingCapacity,
    at: RoundContext,
) -> FairPlan:
    """Plan with `changed` on that number of phases; None: on all."""
    new = {claim.car.key: claim.wide.phases if number is None else number for claim in changed}
    return plan_fairly(claims, {**phases, **new}, left.copy(), at)


def _find_downshift_candidates(claims: Sequence[CarDemand], plan: FairPlan) -> list[CarDemand]:
    """Find cars on all phases whose switch to one phase may let others charge, the last in order first.

    No car goes down for one of lower priority, unless that one lacks its guaranteed current.
    """
    lacking = [claim for claim in claims if plan.rejected.get(claim.car.key) not in _DELAYS]
    if any(not _has_guarantee(claim, plan) for claim in lacking):
        first = claims[0].tier
    else:
        first = next((claim.tier for claim in lacking if claim.car.key not in plan.grants), None)
    if first is None:
        return []
    return [one for one in reversed(claims) if one.narrow is not None and one.tier >= first and one.phases > 1]


def _can_go_up(claim: CarDemand, at: RoundContext) -> bool:
    if claim.narrow is None or claim.phases != claim.narrow.phases or claim.wide.max_steps < claim.min_steps:
        return False
    return claim.memory is None or at.age_s(claim.memory.switched_at) >= at.policy.phase_switch_s


def _power_kw(key: CarKey, plan: FairPlan, at: RoundContext) -> float:
    grant = plan.grants.get(key)
    return 0.0 if grant is None else at.steps.kilowatts(grant.steps, grant.mode.phases)


def _find_served(plan: FairPlan) -> frozenset[tuple[CarKey, bool]]:
    """Cars that charge, and cars that have their guaranteed current."""
    on = {(key, False) for key in plan.grants}
    return frozenset(on | {(key, True) for key, grant in plan.grants.items() if _has_guarantee(grant.claim, plan)})


def _has_guarantee(claim: CarDemand, plan: FairPlan) -> bool:
    grant = plan.grants.get(claim.car.key)
    return claim.guaranteed_steps == 0 if grant is None else grant.steps >= claim.guaranteed_steps
