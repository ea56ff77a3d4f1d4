"""The run's one clock: nobody else asks the system for the time.

Network timeouts, backoff and certificates use real time (`time.monotonic`), everything else asks here, so that
services, the gateway's windows, token lifetimes and the agent live in one day, also when that day passes in half
a minute.

A system's clock can be set at any moment, by NTP or by hand. What must end at the right time, or must not, is therefore
measured by two readings, the wall clock and a monotonic one; which of the two counts stands in `ev_service.lifetimes`.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from ev_service.errors import ConfigurationError
from ev_service.files import replace_file
from ev_service.lifetimes import EarlierEnd, Instant


class Clock(Protocol):
    """Tells the run's time.

    longest_sleep_s [s]: how long a sleeper may sleep before it has to look at the clock again.
    """

    @property
    def longest_sleep_s(self) -> float: ...

    def now(self) -> datetime:
        """The run's time, aware UTC; jumps where the system's clock is set."""
        ...

    def monotonic_s(self) -> float:
        """Seconds of the run since some moment [s]; never goes back, and does not follow a setting of the clock.

        Readings of two processes cannot be compared, nor those of one process before and after a restart.
        """
        ...


def read_clock(clock: Clock) -> Instant:
    """Both readings of the clock, for whatever compares a moment with a lifetime."""
    return Instant(clock.now(), clock.monotonic_s())


class SystemClock:
    """Real UTC.

    Args:
        wall: gives aware UTC; another one in tests that set the system's clock.
        monotonic: gives the monotonic reading [s].
    """

    # Also the longest time for which a setting of the system's clock goes unnoticed.
    longest_sleep_s: float = 1.0

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic

    def now(self) -> datetime:
        return self._wall()

    def monotonic_s(self) -> float:
        return self._monotonic()


class SteppedClock:
    """A clock that stands still until it is moved: for tests and simulations inside one process.

    >>> clock = SteppedClock(datetime(2026, 6, 21, tzinfo=UTC))
    >>> clock.advance(90)
    >>> clock.now().isoformat()
    '2026-06-21T00:01:30+00:00'
    """

    longest_sleep_s: float = 0.01

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)
        self._monotonic_s = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Args:
            seconds: how far [s], >= 0.

        Raises:
            ValueError: the clock would go back.
        """
        if seconds < 0:
            raise ValueError(f"a clock never goes back, got {seconds} s")
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def set_wall(self, moment: datetime) -> None:
        """Set the wall clock alone, to any moment, as a person or NTP sets a system's clock; no time passes."""
        self._now = moment.astimezone(UTC)


_EPOCH = datetime.fromtimestamp(0, UTC)


class FollowedClock:
    """The clock that a file describes: `{"real_at": …, "sim_at": …, "speed": 1}`.

    The file is replaced atomically by one driver; every process of the run follows it.
    Time is `sim_at + (real now - real_at) * speed`, held so that it never goes back.
    """

    longest_sleep_s: float = 0.05

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._real_at = self._sim_at = _EPOCH
        self._speed = 1.0
        self._latest = self._sim_at
        self._follow()

    def now(self) -> datetime:
        self._follow()
        moment = self._sim_at + (datetime.now(UTC) - self._real_at) * self._speed
        self._latest = max(self._latest, moment)
        return self._latest

    def monotonic_s(self) -> float:
        """The run's time in seconds: in a run with a clock of its own that clock alone counts."""
        return (self.now() - _EPOCH).total_seconds()

    def _follow(self) -> None:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return
            content = json.loads(self._path.read_text(encoding="utf-8"))
            real_at, sim_at, speed = _moment(content["real_at"]), _moment(content["sim_at"]), float(content["speed"])
            if not 0 <= speed < math.inf:
                raise ValueError(f"speed must be finite and not negative, got {speed}")
            self._real_at, self._sim_at, self._speed, self._stamp = real_at, sim_at, speed, stamp
        except (OSError, ValueError, KeyError, TypeError) as error:
            # A clock that was once read goes on: the driver may just be replacing the file, or be gone.
            if self._stamp is None:
                raise ConfigurationError(f"SIM_CLOCK_FILE {self._path} cannot be read: {error}") from error


def make_clock(sim_clock_file: Path | None) -> Clock:
    """The run's clock: real UTC, or the one that `SIM_CLOCK_FILE` describes.

    Raises:
        ConfigurationError: the file is named and cannot be read.
    """
    return SystemClock() if sim_clock_file is None else FollowedClock(sim_clock_file)


def write_clock_file(path: Path, sim_at: datetime, speed: float = 1.0) -> None:
    """Set the run's clock: the driver's side of `FollowedClock`, atomic for every reader."""
    content = {"real_at": datetime.now(UTC).isoformat(), "sim_at": sim_at.isoformat(), "speed": speed}
    replace_file(path, json.dumps(content), is_durable=False)


async def sleep_until(clock: Clock, moment: datetime) -> None:
    """Sleep until the run's clock has reached `moment`, also when the clock jumps.

    A system's clock that is set back prolongs no sleep; one that is set forward is noticed within `longest_sleep_s`.
    """
    sleep = EarlierEnd.until(read_clock(clock), moment)
    while (remaining_s := sleep.remaining_s(read_clock(clock))) > 0:
        await asyncio.sleep(min(remaining_s, clock.longest_sleep_s))


async def sleep_until_s(clock: Clock, due_s: float) -> None:
    """Sleep until the run's monotonic reading has reached `due_s` [s]: for loops, whatever sets the wall clock."""
    while (remaining_s := due_s - clock.monotonic_s()) > 0:
        await asyncio.sleep(min(remaining_s, clock.longest_sleep_s))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment.astimezone(UTC)
