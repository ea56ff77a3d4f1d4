"""Who charges in this round and with how much, as if nothing had been allotted before.

Guaranteed minima come first. Then, tier by tier: as many cars as fit with their least current, then what each needs to
be ready by its departure, then equal shares. What a car does not take is offered to the others first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from charging_agent.charging.sharing.demand import CarDemand, PhaseMode, RoundContext
from charging_agent.charging.sharing.model import CarKey, LimitedBy
from charging_agent.charging.sharing.quantization import RemainingCapacity, Units
from charging_agent.charging.sharing.water_filling import Grant, raise_to, raise_together

_S_PER_H = 3600


@dataclass(slots=True)
class FairPlan:
    """The cars that charge, those that do not and why, and what is left of the room."""

    left: RemainingCapacity
    grants: dict[CarKey, Grant] = field(default_factory=dict[CarKey, Grant])
    rejected: dict[CarKey, LimitedBy] = field(default_factory=dict[CarKey, LimitedBy])


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
            plan.rejected[key] = plan.left.find_blocking_limit(last.units, claim.min_steps) or LimitedBy.HEADROOM
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
