"""Currents in whole steps, as integers, so that sums are exact.

Values are read as decimals: 7.2 A is 72 steps of 0.1 A. Allowed currents are rounded down, drawn currents up.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from decimal import ROUND_CEILING, Decimal

from charging_agent.charging.sharing.model import LimitedBy, SiteRoom

Units = tuple[tuple[int, int], ...]
"""For each limit that a car draws from: its index, and how many steps one step of the car's current takes of it."""

_MAX_VALUE = 1e9
"""Nothing carries more [A, V, kW]; so an infinity is a number too."""


class Steps:
    """Amperes and kilowatts in whole steps.

    Args:
        step_a: size of a step [A], > 0.
        voltage_v: between phase and neutral [V], > 0.

    Raises:
        ValueError: one of them is not positive.
    """

    def __init__(self, step_a: float, voltage_v: float) -> None:
        self._step_a, self._voltage_v = _to_decimal(step_a), _to_decimal(voltage_v)
        if not (self._step_a > 0 and self._voltage_v > 0):
            raise ValueError(f"step and voltage must be positive, got {step_a} A and {voltage_v} V")

    def floor(self, current_a: float) -> int:
        """Whole steps within a current [A]; 0 for what is not positive."""
        return int(_to_decimal(current_a) // self._step_a)

    def ceil(self, current_a: float) -> int:
        """Whole steps that cover a current [A]."""
        return int((_to_decimal(current_a) / self._step_a).to_integral_value(ROUND_CEILING))

    def floor_power(self, power_kw: float, phases: int = 1) -> int:
        """Whole steps of current on that many phases within a power [kW]."""
        return int(_to_decimal(power_kw) * 1000 // (self._voltage_v * self._step_a * phases))

    def amperes(self, steps: int) -> float:
        """The current [A] of that many steps, as near as a float comes."""
        return float(self._step_a * steps)

    def kilowatts(self, steps: int, phases: int) -> float:
        """The power [kW] of that many steps on that many phases."""
        return float(self._step_a * steps * phases * self._voltage_v / 1000)


class RemainingCapacity:
    """Remaining capacity of each limit: site, phases, phases of each feeder, surplus."""

    def __init__(self, room: SiteRoom, steps: Steps) -> None:
        # The second is what a car draws from that names a phase or a feeder of which nothing is known.
        self.steps = [steps.floor_power(room.total_kw), 0, *(steps.floor(limit_a) for limit_a in room.phase_a)]
        self.site_limited_by = room.total_limited_by
        self._limit_kinds = [
            room.total_limited_by,
            LimitedBy.PHASE_LIMIT,
            *(LimitedBy.PHASE_LIMIT for _ in room.phase_a),
        ]
        self._phases = {number: 1 + number for number in range(1, len(room.phase_a) + 1)}
        self._feeders: dict[tuple[str, int], int] = {}
        for feeder_id, limits_a in room.feeder_a.items():
            for number, limit_a in enumerate(limits_a, start=1):
                self._feeders[feeder_id, number] = len(self.steps)
                self.steps.append(steps.floor(limit_a))
                self._limit_kinds.append(LimitedBy.FEEDER_LIMIT)
        self._unknown_feeder = len(self.steps)
        self.steps.append(0)
        self._limit_kinds.append(LimitedBy.FEEDER_LIMIT)
        self._surplus = len(self.steps)
        self.steps.append(steps.floor_power(room.surplus_kw))
        self._limit_kinds.append(LimitedBy.SURPLUS)

    @property
    def surplus_steps(self) -> int:
        """Remaining surplus, as steps on one phase."""
        return self.steps[self._surplus]

    def with_surplus(self, steps: int) -> "RemainingCapacity":
        """The same room with another surplus, as steps on one phase."""
        twin = self.copy()
        twin.steps[self._surplus] = steps
        return twin

    def units(self, feeder_id: str, phases: Sequence[int], *, is_on_surplus: bool = False) -> Units:
        """What a car on those phases of the site draws from."""
        of_phases = (self._phases.get(phase, 1) for phase in phases)
        of_feeder = (self._feeders.get((feeder_id, phase), self._unknown_feeder) for phase in phases)
        # Counted, for an EVSE may be wired to the same phase twice.
        of_surplus = ((self._surplus, len(phases)),) if is_on_surplus else ()
        return ((0, len(phases)), *Counter(of_phases).items(), *Counter(of_feeder).items(), *of_surplus)

    def copy(self) -> "RemainingCapacity":
        """The same room, to be used up on its own."""
        twin = copy(self)
        twin.steps = self.steps.copy()
        return twin

    def max_steps(self, units: Units) -> int:
        """How many steps still fit on all limits of a car."""
        return min(self.steps[index] // weight for index, weight in units)

    def take(self, units: Units, steps: int) -> None:
        """Use steps; what does not fit has to be asked before."""
        for index, weight in units:
            self.steps[index] -= weight * steps

    def take_overdrawn(self, excess: Mapping[tuple[str, int], int]) -> None:
        """Take off what is drawn beyond the limits, by feeder and phase.

        The site's power and an even part of each phase are without it already: nobody could tell it from the building.
        """
        for key, steps in excess.items():
            index = self._feeders.get(key, self._unknown_feeder)
            self.steps[index] = max(0, self.steps[index] - steps)
        by_phase = {number: sum(steps for key, steps in excess.items() if key[1] == number) for number in self._phases}
        for number, steps in by_phase.items():
            index = self._phases[number]
            uneven = max(0, steps - sum(by_phase.values()) // len(by_phase))
            self.steps[index] = max(0, self.steps[index] - uneven)

    def reserve(self, units: Units, steps: int) -> Units:
        """Set aside as much as there is of what a car would need; returns what `release` gives back."""
        held = tuple((index, min(self.steps[index], weight * steps)) for index, weight in units)
        self.take(held, 1)
        return held

    def release(self, held: Iterable[Units]) -> None:
        """Give back what was set aside."""
        for units in held:
            self.take(units, -1)

    def find_blocking_limit(self, units: Units, steps: int) -> LimitedBy | None:
        """The first limit on which so many steps do not fit: site, phase, feeder, surplus."""
        return next((self._limit_kinds[index] for index, weight in units if self.steps[index] < weight * steps), None)


def _to_decimal(value: float) -> Decimal:
    # Written so that a number that cannot be compared is nothing.
    return Decimal(repr(float(min(value, _MAX_VALUE)))) if value > 0 else Decimal(0)
