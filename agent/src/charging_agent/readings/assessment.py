"""How good a reading is: fresh, cached, stale or missing, and what stood in the way."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from charging_agent.gateway.calls import FailureReason
from ev_service.lifetimes import Instant


class DatedReading(Protocol):
    """Something that was so at a moment."""

    @property
    def timestamp(self) -> datetime: ...


D = TypeVar("D", bound=DatedReading)
D_co = TypeVar("D_co", bound=DatedReading, covariant=True)


class Status(StrEnum):
    """Age of a reading and where it came from."""

    FRESH = "fresh"
    CACHED = "cached"
    STALE = "stale"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class AgeLimits:
    """How old a reading may be [s], counted from its own timestamp.

    maximum_s: up to here it is used without a new call. stale_s: up to here it still counts.
    future_s: further ahead than this it is invalid.
    """

    maximum_s: float = 10.0
    stale_s: float = 60.0
    future_s: float = 5.0


@dataclass(frozen=True, slots=True)
class AssessedReading(Generic[D_co]):
    """One reading as a decision sees it.

    reading: None when missing. age_s [s]: now minus its timestamp. error: set for stale and missing.
    """

    status: Status
    reading: D_co | None = None
    age_s: float | None = None
    error: FailureReason | None = None

    @property
    def is_degraded(self) -> bool:
        return self.status in (Status.STALE, Status.MISSING)


_CLOCK_STEP_S = 1.0
"""What the clocks may differ by [s] before the wall clock counts as set: NTP slews it by less."""


def was_set_back(before: Instant, now: Instant) -> bool:
    """Tell whether the wall clock was set back between two readings of the clock.

    Ages by the wall clock are then too small: what came before cannot be dated any more.
    """
    by_wall_s = (now.wall - before.wall).total_seconds()
    return now.monotonic_s - before.monotonic_s - by_wall_s > _CLOCK_STEP_S


def age_s(reading: DatedReading, now: datetime) -> float:
    """Age of a reading [s]; negative when its timestamp lies ahead."""
    return (now - reading.timestamp).total_seconds()


def is_young(reading: DatedReading | None, now: datetime, limits: AgeLimits) -> bool:
    """Tell whether a reading may serve a decision without a new call."""
    return reading is not None and -limits.future_s <= age_s(reading, now) <= limits.maximum_s


def assess_reading(
    reading: D | None, now: datetime, limits: AgeLimits, *, is_new: bool, failure: FailureReason | None = None
) -> AssessedReading[D]:
    """Judge the newest reading held.

    Args:
        reading: the newest one, None when there never was one.
        now: the run's time.
        limits: how old it may be.
        is_new: whether it was fetched for this decision.
        failure: what kept this decision from fetching one, None when nothing did.
    """
    if reading is None:
        return AssessedReading(Status.MISSING, error=failure or FailureReason.TIMEOUT)
    age = age_s(reading, now)
    if age < -limits.future_s:
        return AssessedReading(Status.MISSING, error=failure or FailureReason.INVALID_READING)
    if age <= limits.maximum_s:
        return AssessedReading(Status.FRESH if is_new else Status.CACHED, reading, age)
    if age <= limits.stale_s:
        return AssessedReading(Status.STALE, reading, age, failure or FailureReason.TOO_OLD)
    return AssessedReading(Status.MISSING, age_s=age, error=failure or FailureReason.TOO_OLD)
