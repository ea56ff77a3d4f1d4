"""On one phase or on all: few switches, down at once so that more cars can charge, up only where it is worth it."""

from collections.abc import Mapping, Sequence

from charging_agent.charging.sharing.demand import Claim, Moment
from charging_agent.charging.sharing.fairness import Plan, plan_fairly
from charging_agent.charging.sharing.model import CarKey, LimitedBy
from charging_agent.charging.sharing.quantization import Left

_TRIALS = 3
"""Each leaves out those for whom the one before was not worth it; who is in doubt after that stays as it is."""

_DELAYS = {LimitedBy.MINIMUM_OFF_TIME, LimitedBy.HYSTERESIS}


def plan_with_switches(claims: Sequence[Claim], left: Left, at: Moment) -> Plan:
    """Share what is left, on the phases of the last round wherever that serves everyone as well."""
    phases = {claim.car.key: claim.phases for claim in claims}
    plan = plan_fairly(claims, phases, left.copy(), at)
    if all(claim.narrow is None for claim in claims):
        return plan
    return _narrower(claims, phases, plan, left, at) or _wider(claims, phases, plan, left, at)


def _narrower(claims: Sequence[Claim], phases: Mapping[CarKey, int], plan: Plan, left: Left, at: Moment) -> Plan | None:
    """The plan with as few cars on one phase as let everyone charge who can; None where that helps nobody."""
    candidates = _may_go_down(claims, plan)
    most = len(candidates)
    best = _with_phases(1, candidates, claims, phases, left, at)
    if not _served(best) > _served(plan):
        return None
    served, fewest = _served(best), 1
    while fewest < most:
        middle = (fewest + most) // 2
        trial = _with_phases(1, candidates[:middle], claims, phases, left, at)
        if _served(trial) >= served:
            best, most = trial, middle
        else:
            fewest = middle + 1
    return best


def _wider(claims: Sequence[Claim], phases: Mapping[CarKey, int], plan: Plan, left: Left, at: Moment) -> Plan:
    """The plan with those cars on all their phases that get clearly more there, if nobody else is stopped for it."""
    upward = [claim for claim in claims if _may_go_up(claim, at)]
    for _ in range(_TRIALS):
        if not upward:
            break
        trial = _with_phases(None, upward, claims, phases, left, at)
        worth = [one for one in upward if _gain_kw(one.car.key, plan, trial, at) >= at.policy.hysteresis_kw]
        if len(worth) == len(upward):
            return trial if _served(trial) >= _served(plan) else plan
        upward = worth
    return plan


def _with_phases(
    number: int | None,
    changed: Sequence[Claim],
    claims: Sequence[Claim],
    phases: Mapping[CarKey, int],
    left: Left,
    at: Moment,
) -> Plan:
    """The plan with those cars on that many phases, or on all."""
    new = {claim.car.key: claim.wide.phases if number is None else number for claim in changed}
    return plan_fairly(claims, {**phases, **new}, left.copy(), at)


def _may_go_down(claims: Sequence[Claim], plan: Plan) -> list[Claim]:
    """Cars on all phases that others might charge for, the last in line first.

    No car goes down for one of lower priority, unless that one lacks what is guaranteed to it.
    """
    lacking = [claim for claim in claims if plan.refused.get(claim.car.key) not in _DELAYS]
    if any(not _has_guarantee(claim, plan) for claim in lacking):
        first = claims[0].tier
    else:
        first = next((claim.tier for claim in lacking if claim.car.key not in plan.grants), None)
    if first is None:
        return []
    return [one for one in reversed(claims) if one.narrow is not None and one.tier >= first and one.phases > 1]


def _may_go_up(claim: Claim, at: Moment) -> bool:
    if claim.narrow is None or claim.phases != claim.narrow.phases or claim.wide.most < claim.least:
        return False
    return claim.memory is None or at.age_s(claim.memory.switched_at) >= at.policy.phase_switch_s


def _gain_kw(key: CarKey, plan: Plan, trial: Plan, at: Moment) -> float:
    return _power_kw(key, trial, at) - _power_kw(key, plan, at)


def _power_kw(key: CarKey, plan: Plan, at: Moment) -> float:
    grant = plan.grants.get(key)
    return 0.0 if grant is None else at.steps.kilowatts(grant.steps, grant.mode.phases)


def _served(plan: Plan) -> frozenset[tuple[CarKey, bool]]:
    """Who charges, and who has what is guaranteed."""
    on = {(key, False) for key in plan.grants}
    return frozenset(on | {(key, True) for key, grant in plan.grants.items() if _has_guarantee(grant.claim, plan)})


def _has_guarantee(claim: Claim, plan: Plan) -> bool:
    grant = plan.grants.get(claim.car.key)
    return claim.guaranteed == 0 if grant is None else grant.steps >= claim.guaranteed
