"""Clamps a plan to the available power, whatever allocator made it.

Independent of the allocator on purpose: it shares none of its arithmetic, memory or delays.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from charging_agent.charging.sharing.model import Allotment, Car, CarKey, LimitClamp, LimitedBy, SiteRoom
from ev_service.charging import ChargingMode

_STEP_A = Fraction("0.1")
_MAX_VALUE = 1e9
_Bounds = list[tuple[Fraction, LimitedBy]]


def clamp_plan(
    allotments: Sequence[Allotment], cars: Sequence[Car], room: SiteRoom
) -> tuple[tuple[Allotment, ...], tuple[LimitClamp, ...]]:
    """Let through of a plan what fits; a plan that fits is not changed.

    Cars with a guaranteed minimum are looked at first, then those of higher priority, cars in mode `surplus` last. What
    is too much becomes what is left there, rounded down to 0.1 A, or 0 where that is below the least current. A car for
    which nothing is planned gets 0, for the limit that it has would count as well. A car on surplus may keep what it
    has, for it is up to the plan when that ends; it gets more than that, or than its minimum, from surplus alone.

    Args:
        allotments: the plan, in any order.
        cars: the cars that are there; each key once.
        room: what they may draw together.

    Returns:
        One allotment for each car, in the order of their keys, and one clamp for each thing that was changed.
    """
    known = {car.key for car in cars}
    asked: dict[CarKey, Allotment] = {}
    clamps: list[LimitClamp] = []
    for allotment in allotments:
        if allotment.key not in known or allotment.key in asked:
            word = LimitedBy.DUPLICATE if allotment.key in known else LimitedBy.UNKNOWN_CAR
            clamps.append(LimitClamp(allotment.key, allotment.limit_a, 0.0, word))
        else:
            asked[allotment.key] = allotment
    left = _RemainingCurrent(room)
    for car in cars:
        left.reserve_surplus(car, asked.get(car.key))
    given: list[Allotment] = []
    for car in sorted(cars, key=_precedence):
        allotment, clamp = _clamp_allotment(asked.get(car.key), car, left)
        given.append(allotment)
        clamps += [] if clamp is None else [clamp]
    return tuple(sorted(given, key=lambda allotment: allotment.key)), tuple(clamps)


def _precedence(car: Car) -> tuple[bool, bool, int, CarKey]:
    return car.mode is ChargingMode.SURPLUS, car.guaranteed_a <= 0, -car.priority, car.key


class _RemainingCurrent:
    """What nobody has been given yet, limit by limit [A]; the site's is the sum over its phases."""

    def __init__(self, room: SiteRoom) -> None:
        self.room = room
        self._site = self._to_current(room.total_kw)
        self._surplus = self._to_current(room.surplus_kw)
        self._phases = {number: _to_fraction(limit_a) for number, limit_a in enumerate(room.phase_a, start=1)}
        self._feeders = {
            (feeder_id, number): _to_fraction(limit_a)
            for feeder_id, limits_a in room.feeder_a.items()
            for number, limit_a in enumerate(limits_a, start=1)
        }

    def reserve_surplus(self, car: Car, allotment: Allotment | None) -> None:
        """Take off what a car on surplus keeps in any case."""
        phases = () if allotment is None else _phases(allotment, car) or ()
        if allotment is not None and car.is_on_surplus and 0 <= allotment.limit_a < math.inf:
            kept = min(_to_fraction(allotment.limit_a) * len(phases), _kept_current(car, phases))
            self._surplus = max(Fraction(0), self._surplus - kept)

    def bounds(self, car: Car, phases: Sequence[int]) -> _Bounds:
        """Every limit of the car and the current per phase that it leaves."""
        bounds = [
            (_to_fraction(car.max_a), LimitedBy.CHARGER_LIMIT),
            (self._to_current(self.room.ceiling_of(car.key)) / len(phases), LimitedBy.CEILING),
            (self._site / len(phases), self.room.total_limited_by),
        ]
        for number, times in Counter(phases).items():
            bounds.append((self._phases.get(number, Fraction(0)) / times, LimitedBy.PHASE_LIMIT))
            on_feeder = self._feeders.get((car.feeder_id, number), Fraction(0))
            bounds.append((on_feeder / times, LimitedBy.FEEDER_LIMIT))
        if car.is_on_surplus:
            bounds.append(((_kept_current(car, phases) + self._surplus) / len(phases), LimitedBy.SURPLUS))
        return bounds

    def _to_current(self, power_kw: float) -> Fraction:
        volts = _to_fraction(self.room.voltage_v)
        return _to_fraction(power_kw) * 1000 / volts if volts else Fraction(0)

    def allocate(self, car: Car, phases: Sequence[int], current: Fraction) -> None:
        """Note what a car was given on each of these phases; it has to be within `bounds`."""
        if not current:
            return
        self._site -= current * len(phases)
        if car.is_on_surplus:
            self._surplus -= max(Fraction(0), current * len(phases) - _kept_current(car, phases))
        for number in phases:
            self._phases[number] -= current
            self._feeders[car.feeder_id, number] -= current


def _kept_current(car: Car, phases: Sequence[int]) -> Fraction:
    """What a car on surplus may have without any: its minimum, and what it has, as the sum over its phases."""
    in_force = _to_fraction(car.max_a if car.limit_a is None else car.limit_a)
    kept = in_force * len(phases) if in_force >= _to_fraction(car.least_a) else Fraction(0)
    if car.mode is ChargingMode.MINIMUM_AND_SURPLUS:
        # Some chargers take whole amperes only, and a guarantee is rounded up.
        minimum = max(_to_fraction(car.least_a), Fraction(math.ceil(_to_fraction(car.guaranteed_a))))
        kept = max(kept, minimum * (1 if car.can_switch_phases else len(phases)))
    return kept


def _clamp_allotment(
    allotment: Allotment | None, car: Car, left: _RemainingCurrent
) -> tuple[Allotment, LimitClamp | None]:
    if allotment is None:
        return Allotment(car.key, 0.0, None, LimitedBy.NOT_PLANNED), LimitClamp(
            car.key, None, 0.0, LimitedBy.NOT_PLANNED
        )
    given, word = _clamp_current(allotment, car, left)
    if word is None:
        return allotment, None
    phases = None if word is LimitedBy.INVALID else allotment.phases
    changed = replace(allotment, limit_a=float(given), phases=phases, limited_by=word)
    return changed, LimitClamp(car.key, allotment.limit_a, changed.limit_a, word)


def _clamp_current(allotment: Allotment, car: Car, left: _RemainingCurrent) -> tuple[Fraction, LimitedBy | None]:
    """What gets through, and why it is less; no word where it is all."""
    phases = _phases(allotment, car)
    if phases is None or not 0 <= allotment.limit_a < math.inf:
        return Fraction(0), LimitedBy.INVALID
    asked = _to_fraction(allotment.limit_a)
    if left.room.pauses:
        return Fraction(0), LimitedBy.PAUSE if asked else None
    bound, word = min(left.bounds(car, phases), key=lambda bound: bound[0])
    given = asked if asked <= bound else bound // _STEP_A * _STEP_A
    if 0 < given < _to_fraction(car.least_a):
        return Fraction(0), LimitedBy.LEAST_CURRENT if given == asked else word
    left.allocate(car, phases, given)
    return given, word if given < asked else None


def _phases(allotment: Allotment, car: Car) -> tuple[int, ...] | None:
    """The phases of the site that it would charge on; None where the car cannot do that."""
    if allotment.phases in (None, len(car.phases)):
        return car.phases
    return car.phases[:1] if allotment.phases == 1 and car.can_switch_phases else None


def _to_fraction(value: float) -> Fraction:
    """The number as it is written in decimals; 0 for what is not positive or cannot be compared."""
    return Fraction(repr(float(min(value, _MAX_VALUE)))) if value > 0 else Fraction(0)
