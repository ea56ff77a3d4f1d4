"""State of the allocator between rounds: on and off times, last limits, last phase switches.

Sorted by key, so that two memories of the same rounds are equal and serialize alike.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from charging_agent.charging.sharing.model import Car, CarKey


@dataclass(frozen=True, slots=True)
class CarMemory:
    """What is remembered of one car."""

    key: CarKey
    """Charger and EVSE."""
    limit_a: float
    """Last allotted limit [A]; 0: off."""
    phases: int
    """Number of phases it was last allotted."""
    since: datetime
    """Time at which it was last switched on or off, or arrived."""
    has_stopped: bool = False
    """Whether it charged before and was stopped; a car that has just come has not."""
    changed_at: datetime | None = None
    """When limit or phases last changed; None: not since it came."""
    raised_at: datetime | None = None
    """When it was last offered more; None: not since it came."""
    switched_at: datetime | None = None
    """When its EVSE was last switched from one number of phases to another; None: never."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of the cars that were there in the last round."""

    cars: tuple[CarMemory, ...] = ()
    """Cars of the last round, sorted by key."""
    at: datetime | None = None
    """Time of the last round; None: there was none."""

    @classmethod
    def initial(cls) -> "Memory":
        """Nothing remembered: the first round."""
        return cls()

    def as_of(self, now: datetime) -> "Memory":
        """The same with no moment ahead: where the clock was set back, no delay lasts longer than it is meant to."""
        if self.at is None or self.at <= now:
            return self
        return Memory(tuple(_as_of(car, now) for car in self.cars), now)


def remember(car: Car, before: CarMemory | None, limit_a: float, phases: int, now: datetime) -> CarMemory:
    """What is known of a car after it was allotted that limit [A] on so many phases."""
    if before is None:
        before = CarMemory(car.key, limit_a=car.limit_a or 0.0, phases=len(car.phases), since=now)
    has_changed = limit_a != before.limit_a or phases != before.phases
    has_more = limit_a > before.limit_a or (phases != before.phases and limit_a > 0)
    was_on, is_on = before.limit_a > 0, limit_a > 0
    return CarMemory(
        key=car.key,
        limit_a=limit_a,
        phases=phases,
        # Nobody waits where no car is: the next one has just come.
        since=before.since if was_on == is_on and car.wants else now,
        has_stopped=car.wants and not is_on and (was_on or before.has_stopped),
        changed_at=now if has_changed else before.changed_at,
        raised_at=now if has_more else before.raised_at,
        switched_at=now if phases != before.phases else before.switched_at,
    )


def _as_of(car: CarMemory, now: datetime) -> CarMemory:
    def past(moment: datetime | None) -> datetime | None:
        return None if moment is None else min(moment, now)

    return replace(
        car,
        since=min(car.since, now),
        changed_at=past(car.changed_at),
        raised_at=past(car.raised_at),
        switched_at=past(car.switched_at),
    )
