"""The clock minutes in which limits are counted: awaited on a stack of others, jumped over on our own."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from ev_service.clock import FollowedClock, SystemClock, write_clock_file

_A_LITTLE = timedelta(milliseconds=100)
_BEFORE_THE_EDGE_S = 3.0
_BURST_S = 20.0


class Minutes(Protocol):
    """What attacks need of time."""

    def now(self) -> datetime:
        """The run's time."""
        ...

    def fresh(self) -> None:
        """Go into the beginning of the next clock minute."""
        ...

    def roomy(self) -> None:
        """See that the clock minute has time enough left for a burst."""
        ...

    def to_the_edge(self) -> None:
        """Go to the last moments of a clock minute."""
        ...

    def over_the_edge(self) -> None:
        """Go just past them."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass [s]."""
        ...


class SteeredMinutes:
    """Jumps: for a stack whose clock is ours."""

    def __init__(self, clock_file: Path) -> None:
        self._file = clock_file
        self._clock = FollowedClock(clock_file)

    def now(self) -> datetime:
        return self._clock.now()

    def fresh(self) -> None:
        self._set(_next_minute(self.now()) + _A_LITTLE)

    def roomy(self) -> None:
        self.fresh()

    def to_the_edge(self) -> None:
        # Standing still: however slow the machine is, the burst does not cross the edge by itself.
        self._set(_next_minute(self.now()) + timedelta(minutes=1) - _A_LITTLE, speed=0.0)

    def over_the_edge(self) -> None:
        self._set(_next_minute(self.now()) + _A_LITTLE)

    def wait(self, seconds: float) -> None:
        self._set(self.now() + timedelta(seconds=seconds))

    def _set(self, moment: datetime, speed: float = 1.0) -> None:
        write_clock_file(self._file, moment, speed)


class RealMinutes:
    """Waits, and says so.

    Args:
        report: told what is waited for.
        sleep: waits [s].
    """

    def __init__(self, report: Callable[[str], None], sleep: Callable[[float], None] = time.sleep) -> None:
        self._report = report
        self._sleep = sleep
        self._clock = SystemClock()

    def now(self) -> datetime:
        return self._clock.now()

    def fresh(self) -> None:
        self._until(_next_minute(self.now()) + _A_LITTLE, "the next clock minute")

    def roomy(self) -> None:
        if (_next_minute(self.now()) - self.now()).total_seconds() < _BURST_S:
            self.fresh()

    def to_the_edge(self) -> None:
        edge = _next_minute(self.now())
        if (edge - self.now()).total_seconds() < _BEFORE_THE_EDGE_S:
            edge += timedelta(minutes=1)
        self._until(edge - timedelta(seconds=_BEFORE_THE_EDGE_S), "the end of a clock minute")

    def over_the_edge(self) -> None:
        self._until(_next_minute(self.now()) + _A_LITTLE, "the edge")

    def wait(self, seconds: float) -> None:
        self._sleep(seconds)

    def _until(self, moment: datetime, what: str) -> None:
        left_s = (moment - self.now()).total_seconds()
        if left_s > 1:
            self._report(f"waiting {left_s:.0f} s for {what}")
        self._sleep(max(0.0, left_s))


def _next_minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
