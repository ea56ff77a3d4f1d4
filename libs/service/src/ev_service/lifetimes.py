"""When something ends, where the system's clock may be set at any moment, by NTP or by hand.

Readings of the clock are arguments. `EarlierEnd` is for what allows power, `LaterEnd` for what protects.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self


@dataclass(frozen=True, slots=True)
class Instant:
    """One reading of the run's clock."""

    wall: datetime
    """Aware UTC."""

    monotonic_s: float
    """As `Clock.monotonic_s` gives it [s]."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When something ends, by the wall clock and by the monotonic one; a subclass decides which of the two counts."""

    ends_at: datetime
    """Aware UTC, as it was ordered."""

    ends_at_s: float
    """The monotonic reading at which as much time has passed [s]."""

    @classmethod
    def until(cls, now: Instant, ends_at: datetime) -> Self:
        """The lifetime of something that ends at a moment of the wall clock, as that is set now."""
        return cls(ends_at, now.monotonic_s + (ends_at - now.wall).total_seconds())

    @classmethod
    def lasting(cls, now: Instant, seconds: float) -> Self:
        """The lifetime of something that begins now and lasts so long [s]."""
        return cls(now.wall + timedelta(seconds=seconds), now.monotonic_s + seconds)

    @classmethod
    def restore(cls, now: Instant, ends_at: datetime, remaining_s: float) -> Self:
        """The lifetime that was written down with its remaining time, after a restart: that time counts at most."""
        raise NotImplementedError

    def remaining_s(self, now: Instant) -> float:
        """How long it still lasts [s]; 0 or less: it has ended."""
        raise NotImplementedError

    def has_ended(self, now: Instant) -> bool:
        """Whether it is over."""
        return self.remaining_s(now) <= 0

    def expected_end(self, now: Instant) -> datetime:
        """When it ends by the wall clock as that is set now; as ordered, where the clock was not set since."""
        remaining_s = self.remaining_s(now)
        by_wall_s = (self.ends_at - now.wall).total_seconds()
        return self.ends_at if abs(remaining_s - by_wall_s) < 1 else now.wall + timedelta(seconds=remaining_s)

    def _remaining_s(self, now: Instant) -> tuple[float, float]:
        return (self.ends_at - now.wall).total_seconds(), self.ends_at_s - now.monotonic_s


class EarlierEnd(Lifetime):
    """Ends as soon as it is over by one of the two clocks: for limits and leases, which allow something.

    >>> from datetime import UTC
    >>> noon = Instant(datetime(2026, 6, 21, 12, tzinfo=UTC), 500.0)
    >>> hour_back = Instant(datetime(2026, 6, 21, 11, tzinfo=UTC), 560.0)
    >>> EarlierEnd.lasting(noon, 60).has_ended(hour_back)
    True
    """

    __slots__ = ()

    @classmethod
    def restore(cls, now: Instant, ends_at: datetime, remaining_s: float) -> Self:
        return cls(ends_at, now.monotonic_s + remaining_s)

    def remaining_s(self, now: Instant) -> float:
        return min(self._remaining_s(now))


class LaterEnd(Lifetime):
    """Ends once both clocks say so: for an operator's stop, which protects.

    >>> from datetime import UTC
    >>> noon = Instant(datetime(2026, 6, 21, 12, tzinfo=UTC), 500.0)
    >>> hour_ahead = Instant(datetime(2026, 6, 21, 13, tzinfo=UTC), 501.0)
    >>> LaterEnd.lasting(noon, 60).has_ended(hour_ahead)
    False
    """

    __slots__ = ()

    @classmethod
    def restore(cls, now: Instant, ends_at: datetime, remaining_s: float) -> Self:
        # Nobody knows whether the clock was set while no process ran, so neither an earlier end by the wall clock
        # counts nor a later one.
        return cls.lasting(now, remaining_s)

    def remaining_s(self, now: Instant) -> float:
        return max(self._remaining_s(now))
