"""Allocates the available power to the cars for one round."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from charging_agent.charging.sharing.demand import CarDemand, RoundContext, compute_demands, sum_overdraw
from charging_agent.charging.sharing.fairness import FairPlan
from charging_agent.charging.sharing.memory import Memory, remember
from charging_agent.charging.sharing.model import Allotment, Car, CarKey, LimitedBy, SharingPolicy, SiteRoom
from charging_agent.charging.sharing.phase_switching import plan_with_switches
from charging_agent.charging.sharing.quantization import RemainingCapacity, Steps
from charging_agent.charging.sharing.smoothing import SmoothedGrant, smooth


@dataclass(frozen=True, slots=True)
class AllocationResult:
    """One allotment for each car, in the order of their keys, and what to remember for the next round."""

    allotments: tuple[Allotment, ...]
    memory: Memory


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
    """Why a car cannot charge however much room there is; None where it can."""
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
    return plan.left.find_blocking_limit(grant.mode.units, 1) or LimitedBy.HEADROOM


def _phases(claim: CarDemand, calmed: dict[CarKey, SmoothedGrant]) -> int:
    current = calmed.get(claim.car.key)
    return claim.phases if current is None else current.grant.mode.phases
