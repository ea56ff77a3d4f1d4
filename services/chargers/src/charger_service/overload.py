"""Choice of the cars to lower when the connection is overloaded, and of the headroom for raises.

Reports of the cars only decide who is lowered first and how far; the meter's next reading shows whether it sufficed.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from charger_service.envelope import Currents, EvseKey, EvseWiring
from ev_service.charging import LEAST_CURRENT_A

_ROUNDING_A = 1e-6
_KEPT_SHARE = 0.5
"""Share of a reduction below which it counts as not followed; the building's load changes meanwhile too."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load or limit of the connection, positive when drawn."""

    phase_a: Currents
    """On L1, L2, L3 [A]."""
    total_a: float
    """On all phases together [A]."""
    has_phases: bool = True
    """Whether the phases were measured.

    Otherwise the building counts as balanced, and only the sum shows an overload.
    """

    def less(self, other: "Load") -> "Load":
        """Subtract another load."""
        one, two, three = (mine - theirs for mine, theirs in zip(self.phase_a, other.phase_a, strict=True))
        return Load((one, two, three), self.total_a - other.total_a, self.has_phases)

    def exceeds(self, limit: "Load") -> bool:
        """Return whether it exceeds a limit on a measured phase or in total."""
        return self.has_total_above(limit) or bool(self.lines_above(limit))

    def has_total_above(self, limit: "Load") -> bool:
        """Return whether the total exceeds a limit."""
        return self.total_a > limit.total_a + _ROUNDING_A

    def lines_above(self, limit: "Load") -> list[int]:
        """Return the measured phases on which it exceeds a limit, from 0."""
        if not self.has_phases:
            return []
        return [line for line in range(3) if self.phase_a[line] > limit.phase_a[line] + _ROUNDING_A]


NO_LOAD = Load((0.0, 0.0, 0.0), 0.0)


@dataclass(frozen=True, slots=True)
class Car:
    """One EVSE for the choice of caps."""

    key: EvseKey
    allowed_a: Currents
    """What it may draw on the site's phases by its orders [A]."""
    drawn_a: Currents
    """What it draws of that as far as is known [A]."""
    is_idle: bool = False
    """Whether it draws nothing by its report and its state."""

    @property
    def first_cap_a(self) -> float:
        """The cap that leaves its draw as it is and keeps it from drawing more [A per phase]."""
        if self.is_idle:
            return 0.0
        drawn_a = math.ceil(max(self.drawn_a) * 10 - _ROUNDING_A) / 10
        return min(max(self.allowed_a), max(LEAST_CURRENT_A, drawn_a))

    def allowed_below(self, cap_a: float) -> Currents:
        """Return what it may draw below a cap [A]."""
        one, two, three = (min(current_a, cap_a) for current_a in self.allowed_a)
        return one, two, three


def sum_of(currents: Iterable[Currents]) -> Load:
    """Several currents together.

    >>> sum_of([(6.0, 6.0, 0.0), (0.0, 10.0, 0.0)])
    Load(phase_a=(6.0, 16.0, 0.0), total_a=22.0, has_phases=True)
    """
    one = two = three = 0.0
    for first, second, third in currents:
        one, two, three = one + first, two + second, three + third
    return Load((one, two, three), one + two + three)


def choose_caps(load: Load, threshold: Load, cars: Sequence[Car]) -> dict[EvseKey, float]:
    """Choose by which caps [A per phase], each 0 or at least 6, an overload ends.

    Afterwards what the cars on an overloaded phase may draw fits beside the building, or all of them are at 0. Cars
    are held to what they draw first, which takes nothing from any car; then they are lowered in their order.

    Args:
        load: load of the connection once cars have followed their earlier limits.
        threshold: what it may carry.
        cars: those that can be lowered, the first to be lowered first.

    Returns:
        Caps of the cars that are to be lowered.
    """
    touched = cars_above(load, threshold, cars)
    caps = {car.key: car.first_cap_a for car in touched}
    building = load.less(sum_of(car.drawn_a for car in touched))
    held = sum_of(car.allowed_below(caps[car.key]) for car in touched)
    excess = _Excess(
        building.less(threshold), held, load.lines_above(threshold), is_total=load.has_total_above(threshold)
    )
    for car in touched:
        caps[car.key] = excess.take_from(car, caps[car.key])
    return {car.key: caps[car.key] for car in touched if caps[car.key] < max(car.allowed_a) - _ROUNDING_A}


def cars_above(load: Load, threshold: Load, cars: Iterable[Car]) -> list[Car]:
    """Return the cars that may draw where a load exceeds a threshold: on a phase, or on any where the total does."""
    lines = range(3) if load.has_total_above(threshold) else load.lines_above(threshold)
    return [car for car in cars if any(car.allowed_a[line] > 0 for line in lines)]


class _Excess:
    """By how much cars are to be lowered still, on each overloaded phase and in all [A].

    Args:
        building: what all but these cars draw, less what may be drawn.
        held: what the cars may draw.
        lines: the overloaded phases.
        is_total: whether the sum is too high.
    """

    def __init__(self, building: Load, held: Load, lines: Sequence[int], *, is_total: bool) -> None:
        self._phase_a = {line: building.phase_a[line] + held.phase_a[line] for line in lines}
        self._total_a = building.total_a + held.total_a if is_total else 0.0

    def take_from(self, car: Car, cap_a: float) -> float:
        """Compute the cap of a car that reduces it by as much as is needed."""
        allowed_a = car.allowed_below(cap_a)
        used = [line for line in range(3) if allowed_a[line] > 0]
        if not used:
            return cap_a
        needed_a = {line: max(self._phase_a.get(line, 0.0), self._total_a / len(used)) for line in used}
        if max(needed_a.values()) <= _ROUNDING_A:
            return cap_a
        lower_a = whole_tenths(min(allowed_a[line] - one_a for line, one_a in needed_a.items() if one_a > _ROUNDING_A))
        freed_a = [before - after for before, after in zip(allowed_a, car.allowed_below(lower_a), strict=True)]
        for line in self._phase_a:
            self._phase_a[line] -= freed_a[line]
        self._total_a -= sum(freed_a)
        return lower_a


def whole_tenths(current_a: float) -> float:
    """A current that a car can be given [A]: down to tenths, which is what OCPP carries, and 0 below 6 A.

    >>> whole_tenths(9.99), whole_tenths(5.9)
    (9.9, 0.0)
    """
    tenths_a = math.floor(current_a * 10 + _ROUNDING_A) / 10
    return 0.0 if tenths_a < LEAST_CURRENT_A else tenths_a


@dataclass(slots=True)
class _Reduction:
    """A reduction that was ordered."""

    keys: frozenset[EvseKey]
    ordered_a: float
    """Ordered reduction on all phases together [A]."""
    phase_a: list[float]
    """Part that the meter does not show yet, on L1, L2, L3 [A]."""
    total_a: float
    """The same on all phases together [A]."""
    until_s: float
    """Monotonic time until which cars may take to follow [s]."""


@dataclass(slots=True)
class Reductions:
    """Reductions that were ordered and do not show at the meter yet; for a while they count as followed."""

    unmet: int = 0
    """Number of reductions in a row that the meter never showed."""
    not_followed: set[EvseKey] = field(default_factory=set[EvseKey])
    """EVSEs of these reductions."""
    _open: list[_Reduction] = field(default_factory=list[_Reduction])
    _before: Load = NO_LOAD

    def add(self, keys: Iterable[EvseKey], reduction: Load, until_s: float) -> None:
        """Add a reduction that cars may take until then to follow, monotonic [s]."""
        if reduction.total_a > _ROUNDING_A:
            total_a = reduction.total_a
            self._open.append(_Reduction(frozenset(keys), total_a, list(reduction.phase_a), total_a, until_s))

    def update(self, load: Load, now_s: float) -> Load:
        """Apply a load, and return what is still to be followed.

        Each fall since the message before counts as followed, the oldest reduction first.
        """
        fall = self._before.less(load)
        self._before = load
        falls, total_a = [max(0.0, one) for one in fall.phase_a], max(0.0, fall.total_a)
        for entry in self._open:
            for line in range(3):
                shown_a = min(falls[line], entry.phase_a[line])
                entry.phase_a[line] -= shown_a
                falls[line] -= shown_a
            shown_a = min(total_a, entry.total_a)
            entry.total_a -= shown_a
            total_a -= shown_a
        unmet = [one for one in self._open if one.until_s <= now_s and one.total_a > _KEPT_SHARE * one.ordered_a]
        self.unmet += len(unmet)
        self.not_followed.update(*(one.keys for one in unmet))
        self._open = [one for one in self._open if one.until_s > now_s]
        phases = [sum(one.phase_a[line] for one in self._open) for line in range(3)]
        return Load((phases[0], phases[1], phases[2]), sum(one.total_a for one in self._open))

    def forgive(self) -> None:
        """Reset the counters: the overload is over."""
        self.unmet = 0
        self.not_followed.clear()


@dataclass(slots=True)
class Headroom:
    """How much more may be drawn by the meter's reading [A]; negative: the limit is exceeded."""

    phase_a: list[float]
    total_a: float

    def raise_to(self, wiring: EvseWiring, limit_a: float, phases: int | None, allowed_a: Currents) -> float:
        """Take headroom for a raise; return the limit that fits [A per phase], at least the present one.

        Args:
            wiring: the EVSE.
            limit_a: what is wanted [A per phase].
            phases: on so many phases; None: as wired.
            allowed_a: what the EVSE may draw already.
        """
        wanted_a = wiring.currents(limit_a, phases)
        used = [line for line in range(3) if wanted_a[line] > 0]
        rising = [line for line in used if wanted_a[line] > allowed_a[line] + _ROUNDING_A]
        if not rising:
            return limit_a
        most_a = [allowed_a[line] + max(0.0, self.phase_a[line]) for line in rising]
        most_a.append((sum(allowed_a[line] for line in used) + max(0.0, self.total_a)) / len(used))
        given_a = limit_a if min(most_a) >= limit_a else whole_tenths(max(min(most_a), min(allowed_a[i] for i in used)))
        for line in used:
            taken_a = max(0.0, given_a - allowed_a[line])
            self.phase_a[line] -= taken_a
            self.total_a -= taken_a
        return given_a

    def half(self) -> "Headroom":
        """Return what one step of a release may use: half of it, but enough for a car to start."""
        phases = [min(one, max(one / 2, LEAST_CURRENT_A)) for one in self.phase_a]
        return Headroom(phases, min(self.total_a, max(self.total_a / 2, 3 * LEAST_CURRENT_A)))


def compute_headroom_below(level: Load, load: Load, cars: Iterable[Car]) -> Headroom:
    """Compute the headroom below a level, next to the load and what cars may draw in addition."""
    more = sum_of(
        (car.allowed_a[0] - car.drawn_a[0], car.allowed_a[1] - car.drawn_a[1], car.allowed_a[2] - car.drawn_a[2])
        for car in cars
    )
    left = level.less(load).less(more)
    return Headroom(list(left.phase_a), left.total_a)
