"""`GET /history`: what a service answered before, as means over intervals."""

import re
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ev_service.clock import Clock
from ev_service.database_thread import DatabaseLateError, DatabaseThread
from ev_service.errors import EvError
from ev_service.history.database import HistoryUnavailableError
from ev_service.history.reading_history import IntervalMean, ReadingHistory
from ev_service.telemetry import SiteId
from ev_service.units import UtcTimestamp, utc_text
from ev_service.web import through_gateway

MOST_INTERVALS = 1500
"""How many intervals one answer has at most: a day of minutes, or fifteen days of quarter hours."""

_DEFAULT_RESOLUTION_S = 900
_DEFAULT_SPAN = timedelta(days=1)
_DAY_S = 86_400
_LONGEST_CALL_S = 5.0
_COARSE_S = [one for one in range(900, _DAY_S + 1, 900) if _DAY_S % one == 0]
"""Resolutions that can be answered of any time [s], the finest first."""
_UNITS_S = {"": 1, "s": 1, "min": 60, "h": 3600, "d": _DAY_S}


class HistoryNotKeptError(EvError):
    """The service keeps no readings."""

    code: ClassVar[str] = "history_not_kept"
    http_status: ClassVar[int] = 404


class HistoryRangeError(EvError):
    """The times or the resolution that were asked for cannot be answered."""

    code: ClassVar[str] = "invalid_request"
    http_status: ClassVar[int] = 422


class HistoryTooLongError(EvError):
    """The answer would have more intervals than one answer may have."""

    code: ClassVar[str] = "history_too_long"
    http_status: ClassVar[int] = 422


class HistoryValue(BaseModel):
    """One field in one interval."""

    model_config = ConfigDict(frozen=True)

    mean: float = Field(description="Mean of the readings, in the unit of the field.", examples=[61.0])
    minimum: float = Field(description="The lowest reading.", examples=[55.2])
    maximum: float = Field(description="The highest reading.", examples=[70.9])
    count: int = Field(ge=1, description="How many readings the interval has.", examples=[15])


class HistoryInterval(BaseModel):
    """One interval in which something was read."""

    model_config = ConfigDict(frozen=True)

    interval_start: UtcTimestamp = Field(description="Start of the interval, UTC.", examples=["2026-06-21T16:00:00Z"])
    values: dict[str, HistoryValue] = Field(
        description="By field of the reading; `current_a` of phase L1 is `current_a_l1`, true counts as 1."
    )


class History(BaseModel):
    """Readings of a time that has passed."""

    model_config = ConfigDict(frozen=True)

    site_id: SiteId = Field(description="The site.", examples=["greensboro"])
    timestamp: UtcTimestamp = Field(description="When this was answered, UTC.", examples=["2026-06-21T16:05:00Z"])
    source: str = Field(description="Origin of the readings: measured, simulated or replay.", examples=["measured"])
    start: UtcTimestamp = Field(description="Start of the first interval asked for, UTC.")
    end: UtcTimestamp = Field(description="End of the last interval asked for, UTC.")
    resolution_s: int = Field(description="Length of each interval [s].", examples=[900])
    intervals: list[HistoryInterval] = Field(
        description="Intervals in which something was read, the earliest first; others are left out."
    )


class HistoryQuery(BaseModel):
    """What is asked for; a parameter of another name is refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: AwareDatetime | None = Field(
        default=None,
        alias="from",
        description="Earliest time, ISO 8601 with Z; a day before `to` if absent. Its whole interval counts.",
    )
    end: AwareDatetime | None = Field(
        default=None,
        alias="to",
        description="Time before which the last interval begins, ISO 8601 with Z; now if absent.",
    )
    resolution_s: int | None = Field(
        default=None,
        ge=60,
        le=_DAY_S,
        description="Length of each interval [s], 60 to 86400; a day must be a multiple of it. 900 if absent.",
    )
    resolution: str | None = Field(
        default=None, max_length=10, description="The same in the form `900`, `15min`, `1h` or `1d`."
    )


def create_history_routes(
    history: ReadingHistory | None, clock: Clock, *, apicontext: str, site_id: str, service: str
) -> APIRouter:
    """Create the route of one service.

    Args:
        history: what is kept; None: the route answers that nothing is.
        clock: the run's clock.
        apicontext: context with version of the API that publishes the route.
        site_id: the site.
        service: name of the service: solar, battery or grid.
    """
    router = APIRouter(dependencies=[through_gateway(apicontext)], tags=[service])
    thread = DatabaseThread("history-reader", _LONGEST_CALL_S)

    @router.get(
        "/history",
        operation_id=f"get{service.capitalize()}History",
        summary="What did this service answer before?",
    )
    async def get_history(query: Annotated[HistoryQuery, Query()]) -> History:
        """Mean, lowest and highest reading of each field per interval, with the number of readings, in UTC.

        Without `from` and `to` it is the last day in intervals of 15 min. One answer has at most 1500 intervals. Older
        readings are kept as means of 15 min: for them the resolution must be a multiple of that.
        """
        if history is None:
            raise HistoryNotKeptError(
                "this service keeps no readings: HISTORY_DIR and HISTORY_DATABASE_URL are not set"
            )
        now = clock.now()
        start, end, resolution_s = resolve_query(query, now)
        try:
            found = await thread.run(partial(history.read_intervals, start, end, resolution_s))
        except DatabaseLateError as error:
            raise HistoryUnavailableError(f"the history takes longer than {_LONGEST_CALL_S:g} s") from error
        return History(
            site_id=site_id,
            timestamp=now,
            source=history.owner.origin,
            start=start,
            end=end,
            resolution_s=resolution_s,
            intervals=_to_intervals(found),
        )

    return router


def resolve_query(query: HistoryQuery, now: datetime) -> tuple[datetime, datetime, int]:
    """Return start, end and resolution [s] of whole intervals.

    Raises:
        HistoryRangeError: the times are in the wrong order or in the future, or the resolution is none.
        HistoryTooLongError: there are more intervals than one answer may have.
    """
    resolution_s = _resolution_s(query)
    # What was read at this very moment counts.
    until_now = now + timedelta(milliseconds=1)
    end = min(query.end or until_now, until_now)
    start = query.start or (query.end or now) - _DEFAULT_SPAN
    if start > now:
        raise HistoryRangeError(f"from: {utc_text(start)} is in the future; it is {utc_text(now)}")
    if query.end is not None and query.end <= start:
        raise HistoryRangeError("from: must be earlier than to")
    step = timedelta(seconds=resolution_s)
    origin = datetime(1970, 1, 1, tzinfo=now.tzinfo)
    first, last = (start - origin) // step, -((origin - end) // step)
    if (number := last - first) > MOST_INTERVALS:
        needed_s = (end - start).total_seconds() / (MOST_INTERVALS - 1)
        enough_s = next((one for one in _COARSE_S if one >= needed_s), None)
        advice = f"a resolution_s of at least {enough_s}" if enough_s else "a shorter time"
        raise HistoryTooLongError(f"{number} intervals are more than {MOST_INTERVALS}: ask for {advice}")
    return origin + first * step, origin + last * step, resolution_s


def _resolution_s(query: HistoryQuery) -> int:
    resolution_s = query.resolution_s
    if query.resolution is not None:
        matched = re.fullmatch(r"(\d{1,5})(s|min|h|d)?", query.resolution)
        if matched is None:
            raise HistoryRangeError("resolution: must be a number of seconds, or such as 15min, 1h or 1d")
        parsed_s = int(matched[1]) * _UNITS_S[matched[2] or ""]
        if resolution_s is not None and resolution_s != parsed_s:
            raise HistoryRangeError("resolution and resolution_s differ: give one of them")
        resolution_s = parsed_s
    if resolution_s is None:
        return _DEFAULT_RESOLUTION_S
    if not 60 <= resolution_s <= _DAY_S or _DAY_S % resolution_s:
        raise HistoryRangeError("resolution_s: must be 60 to 86400, and a day a multiple of it, such as 900 or 3600")
    return resolution_s


def _to_intervals(found: dict[str, list[IntervalMean]]) -> list[HistoryInterval]:
    by_start: dict[datetime, dict[str, HistoryValue]] = {}
    for field, intervals in found.items():
        for one in intervals:
            by_start.setdefault(one.start, {})[field] = HistoryValue(
                mean=round(one.mean, 6), minimum=one.minimum, maximum=one.maximum, count=one.count
            )
    return [HistoryInterval(interval_start=start, values=by_start[start]) for start in sorted(by_start)]
