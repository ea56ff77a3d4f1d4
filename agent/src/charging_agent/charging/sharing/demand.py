"""Demand of each car: current range, expected draw, urgency and order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from charging_agent.charging.sharing.model import Car, CarKey, CarMemory, SharingPolicy, SiteRoom
from charging_agent.charging.sharing.quantization import RemainingCapacity, Steps, Units
from ev_service.charging import ChargingMode

_S_PER_H = 3600


@dataclass(frozen=True, slots=True)
class PhaseMode:
    """A car on a number of phases."""

    phases: int
    """Number of phases."""
    units: Units
    """Limits that the car draws from, see `Units`."""
    max_steps: int
    """Highest current that decision, EVSE, cable and car allow [steps]."""
    is_capped_by_car: bool
    """Whether EVSE, cable or car set `max_steps`, not the decision."""


@dataclass(frozen=True, slots=True)
class CarDemand:
    """One car and its demand; currents in steps."""

    car: Car
    """The car."""
    memory: CarMemory | None
    """What is remembered of it; None for a car that has just come."""
    wide: PhaseMode
    """The car on all its phases."""
    narrow: PhaseMode | None
    """The car on one phase; None where it cannot be switched."""
    phases: int
    """Number of phases that it was allotted last; as wired, if it never was."""
    min_steps: int
    """Lowest current with which it charges."""
    guaranteed_steps: int
    """Guaranteed and allowed current; 0: no guarantee."""
    in_force_steps: int
    """Limit in force."""
    is_on: bool
    """Whether it may charge now, by its limit and by the last allotment."""
    appetite_steps: int | None
    """Current that it would take, judged by its measured current; None: all that is offered."""
    laxity_s: float
    """How long it can wait and still be ready at its departure [s]; infinite where that is not known."""
    tier: tuple[int, int, bool]
    """Cars of one tier share equally; the lowest tier is served first."""
    order: tuple[float, float, float]
    """Order within a tier when not every car can charge."""

    def phase_mode(self, phases: int) -> PhaseMode:
        """Return the mode with that number of phases."""
        return self.narrow if self.narrow is not None and phases == self.narrow.phases else self.wide

    def wanted_steps(self, mode: PhaseMode) -> int:
        """Current that it would take in this mode, at least the guaranteed one."""
        appetite = (
            mode.max_steps
            if self.appetite_steps is None
            else max(self.appetite_steps, self.min_steps, self.guaranteed_steps)
        )
        return min(appetite, mode.max_steps)


@dataclass(frozen=True, slots=True)
class RoundContext:
    """Inputs that all demands of a round share."""

    room: SiteRoom
    """What the cars may draw together."""
    steps: Steps
    """Conversion between steps, currents and powers."""
    now: datetime
    """Time of the round."""
    policy: SharingPolicy
    """Delays, hysteresis, ramp and rounding."""

    def age_s(self, since: datetime | None) -> float:
        """Time since then [s]; infinite for None."""
        return math.inf if since is None else (self.now - since).total_seconds()


def compute_demands(
    cars: Sequence[Car], remembered: Mapping[CarKey, CarMemory], left: RemainingCapacity, at: RoundContext
) -> list[CarDemand]:
    """Compute the demands of all cars, the first to be served first; `left` is not changed."""
    claims = [_compute_demand(car, remembered.get(car.key), left, at) for car in cars]
    return sorted(claims, key=lambda claim: (claim.tier, claim.order, claim.car.key))


def sum_overdraw(
    cars: Sequence[Car], remembered: Mapping[CarKey, CarMemory], at: RoundContext
) -> dict[tuple[str, int], int]:
    """Sum what cars draw beyond their limits, by feeder and phase [steps]."""
    excess: dict[tuple[str, int], int] = {}
    for car in cars:
        memory = remembered.get(car.key)
        # Until a limit has settled, the meter may still show the one before.
        if car.limit_a is None or memory is None or at.age_s(memory.changed_at or memory.since) < at.policy.settle_s:
            continue
        allotted = memory.phases if car.can_switch_phases else len(car.phases)
        for place, phase in enumerate(car.phases):
            excess_a = (_max_drawn_a(car, (phase,)) or 0.0) - (car.limit_a if place < allotted else 0.0)
            if excess_a > at.policy.tolerance_a:
                key = car.feeder_id, phase
                excess[key] = excess.get(key, 0) + at.steps.ceil(excess_a)
    return excess


def _compute_demand(car: Car, memory: CarMemory | None, left: RemainingCapacity, at: RoundContext) -> CarDemand:
    wide = _build_phase_mode(car, len(car.phases), left, at)
    narrow = _build_phase_mode(car, 1, left, at) if car.can_switch_phases and len(car.phases) > 1 else None
    least = at.steps.ceil(car.least_a)
    remembered_a = memory.limit_a if memory is not None else 0.0
    in_force = at.steps.floor(remembered_a if car.limit_a is None else car.limit_a)
    is_on = in_force >= least and (memory is None or memory.limit_a > 0)
    appetite = _appetite_steps(car, memory, at) if is_on else None
    widest = narrow if wide.max_steps < least and narrow is not None else wide
    laxity_s = _laxity_s(car, widest, at)
    # Allowed on all its phases, so that on one phase it never takes more of that phase than on all.
    guaranteed = min(widest.max_steps, max(least, at.steps.ceil(car.guaranteed_a))) if car.guaranteed_a > 0 else 0
    return CarDemand(
        car=car,
        memory=memory,
        wide=wide,
        narrow=narrow,
        phases=1 if narrow is not None and memory is not None and memory.phases == 1 else wide.phases,
        min_steps=least,
        guaranteed_steps=guaranteed,
        in_force_steps=in_force,
        is_on=is_on,
        appetite_steps=appetite,
        laxity_s=laxity_s,
        tier=(_group(car, appetite, at), -car.priority, car.mode is not ChargingMode.FAST),
        order=_order(memory, laxity_s, is_on=is_on, at=at),
    )


def _build_phase_mode(car: Car, phases: int, left: RemainingCapacity, at: RoundContext) -> PhaseMode:
    by_car, by_decision = at.steps.floor(car.max_a), at.steps.floor_power(at.room.ceiling_of(car.key), phases)
    units = left.units(car.feeder_id, car.phases[:phases], is_on_surplus=car.is_on_surplus)
    return PhaseMode(phases, units, min(by_car, by_decision), is_capped_by_car=by_car < by_decision)


def _appetite_steps(car: Car, memory: CarMemory | None, at: RoundContext) -> int | None:
    drawn_a = _max_drawn_a(car, car.phases)
    if drawn_a is None or car.limit_a is None or memory is None:
        return None
    if at.age_s(memory.raised_at or memory.since) < at.policy.settle_s:
        return None
    takes_all = drawn_a >= car.limit_a - at.policy.tolerance_a
    return None if takes_all else at.steps.ceil(drawn_a + at.policy.rise_a)


def _group(car: Car, appetite: int | None, at: RoundContext) -> int:
    # Neither is stopped while there is room: a car may resume charging, and a driver may have asked for too little.
    if (
        appetite is not None
        and not car.is_charging
        and appetite <= at.steps.ceil(at.policy.rise_a + at.policy.tolerance_a)
    ):
        return 2
    return 1 if car.energy_left_kwh is not None and car.energy_left_kwh <= 0 else 0


def _order(memory: CarMemory | None, laxity_s: float, *, is_on: bool, at: RoundContext) -> tuple[float, float, float]:
    """Order cars: those within their minimum on time, urgent ones, waiting ones, those past their minimum on time.

    Of the first, the one that has charged longest is stopped first.
    """
    since_s = memory.since.timestamp() if memory is not None else at.now.timestamp()
    urgency_s = laxity_s if laxity_s <= at.policy.turn_s else math.inf
    had_turn = is_on and memory is not None
    if had_turn and at.now.timestamp() - since_s < at.policy.turn_s:
        return (0, urgency_s, -since_s)
    if urgency_s < math.inf:
        return (1, urgency_s, 0)
    return (3, -since_s, 0) if had_turn else (2, since_s, not is_on)


def _laxity_s(car: Car, mode: PhaseMode, at: RoundContext) -> float:
    if car.departure is None or not car.energy_left_kwh or car.energy_left_kwh < 0:
        return math.inf
    remaining_s, power_kw = (car.departure - at.now).total_seconds(), at.steps.kilowatts(mode.max_steps, mode.phases)
    # A departure that has passed can no longer be met; such a car takes its turn like the others.
    if remaining_s <= 0 or power_kw <= 0:
        return math.inf
    return remaining_s - car.energy_left_kwh / power_kw * _S_PER_H


def _max_drawn_a(car: Car, phases: Sequence[int]) -> float | None:
    """The highest measured current on those phases of the site [A]; None where one is not measured."""
    if car.drawn_a is None or max(phases) > len(car.drawn_a):
        return None
    return max(car.drawn_a[phase - 1] for phase in phases)
