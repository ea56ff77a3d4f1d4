"""On one phase or on all: few switches, down at once so that more cars can charge, up only where it is worth it."""

from collections.abc import Mapping, Sequence

from charging_agent.charging.sharing.demand import CarDemand, RoundContext
from charging_agent.charging.sharing.fairness import FairPlan, plan_fairly
from charging_agent.charging.sharing.model import CarKey, LimitedBy
from charging_agent.charging.sharing.quantization import RemainingCapacity

_TRIALS = 3
"""Each leaves out those for whom the one before was not worth it; who is in doubt after that stays as it is."""

_DELAYS = {LimitedBy.MINIMUM_OFF_TIME, LimitedBy.HYSTERESIS}


def plan_with_switches(claims: Sequence[CarDemand], left: RemainingCapacity, at: RoundContext) -> FairPlan:
    """Share what is left, on the phases of the last round wherever that serves everyone as well."""
    phases = {claim.car.key: claim.phases for claim in claims}
    plan = plan_fairly(claims, phases, left.copy(), at)
    if all(claim.narrow is None for claim in claims):
        return plan
    return _plan_narrower(claims, phases, plan, left, at) or _plan_wider(claims, phases, plan, left, at)


def _plan_narrower(
    claims: Sequence[CarDemand], phases: Mapping[CarKey, int], plan: FairPlan, left: RemainingCapacity, at: RoundContext
) -> FairPlan | None:
    """The plan with as few cars on one phase as let everyone charge who can; None where that helps nobody."""
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
    """The plan with those cars on all their phases that get clearly more there, if nobody else is stopped for it."""
    upward = [claim for claim in claims if _can_go_up(claim, at)]
    for _ in range(_TRIALS):
        if not upward:
            break
        trial = _plan_with_phases(None, upward, claims, phases, left, at)
        worth = [one for one in upward if _gain_kw(one.car.key, plan, trial, at) >= at.policy.hysteresis_kw]
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
    """The plan with those cars on that many phases, or on all."""
    new = {claim.car.key: claim.wide.phases if number is None else number for claim in changed}
    return plan_fairly(claims, {**phases, **new}, left.copy(), at)


def _find_downshift_candidates(claims: Sequence[CarDemand], plan: FairPlan) -> list[CarDemand]:
    """Cars on all phases that others might charge for, the last in line first.

    No car goes down for one of lower priority, unless that one lacks what is guaranteed to it.
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


def _gain_kw(key: CarKey, plan: FairPlan, trial: FairPlan, at: RoundContext) -> float:
    return _power_kw(key, trial, at) - _power_kw(key, plan, at)


def _power_kw(key: CarKey, plan: FairPlan, at: RoundContext) -> float:
    grant = plan.grants.get(key)
    return 0.0 if grant is None else at.steps.kilowatts(grant.steps, grant.mode.phases)


def _find_served(plan: FairPlan) -> frozenset[tuple[CarKey, bool]]:
    """Who charges, and who has what is guaranteed."""
    on = {(key, False) for key in plan.grants}
    return frozenset(on | {(key, True) for key, grant in plan.grants.items() if _has_guarantee(grant.claim, plan)})


def _has_guarantee(claim: CarDemand, plan: FairPlan) -> bool:
    grant = plan.grants.get(claim.car.key)
    return claim.guaranteed_steps == 0 if grant is None else grant.steps >= claim.guaranteed_steps
