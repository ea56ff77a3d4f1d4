"""Reads kept readings as means over intervals: for `GET /history`, and for forecasts made in the same process.

Calls wait for the database: call them in a thread.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    func,
    literal_column,
    select,
    union_all,
)

from ev_service.errors import EvError
from ev_service.history.database import HistoryDatabase
from ev_service.history.schema import MEAN_INTERVAL_S, means, readings, series
from ev_service.units import utc_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ResolutionError(EvError):
    """The resolution cannot be answered; another one can."""

    code: ClassVar[str] = "resolution_not_kept"
    http_status: ClassVar[int] = 422


@dataclass(frozen=True, slots=True)
class SeriesOwner:
    """Whose values these are; no other's are read or written."""

    site_id: str
    """The site."""

    service: str
    """The service: solar, battery or grid."""

    origin: str
    """How the values came about: measured, simulated or replay; values of different origin never mix."""


@dataclass(frozen=True, slots=True)
class IntervalMean:
    """Values of one field in one interval."""

    start: datetime
    """Start of the interval, UTC."""

    count: int
    """How many readings the interval has, >= 1."""

    mean: float
    """Their mean."""

    minimum: float
    """The lowest of them."""

    maximum: float
    """The highest of them."""


@dataclass(frozen=True, slots=True)
class MeanSeries:
    """Means of one field over consecutive intervals."""

    start: datetime
    """Start of the first interval, UTC."""

    resolution_s: int
    """Length of each interval [s]."""

    values: list[float]
    """Mean of each interval in the unit of the field; NaN where nothing was read."""

    counts: list[int]
    """Number of readings of each interval; 0 where nothing was read."""


class ReadingHistory:
    """Kept readings of one service at one site.

    Args:
        database: where they are.
        owner: whose they are.
    """

    def __init__(self, database: HistoryDatabase, owner: SeriesOwner) -> None:
        self._database, self.owner = database, owner

    def read_series(
        self, field: str, start: datetime, end: datetime, resolution_s: int = MEAN_INTERVAL_S
    ) -> MeanSeries:
        """Read means of one field at regular steps; nothing that was measured at `end` or later is in them.

        Args:
            field: field of the reading, such as `load_kw`; several phases are `current_a_l1` and so on.
            start: start of the first interval, a multiple of the resolution since 1970.
            end: end of the last interval, a multiple of the resolution too, >= start.
            resolution_s: length of each interval [s], > 0.

        Returns:
            One value for each interval, `(end - start) / resolution` in all.

        Raises:
            HistoryUnavailableError: the database cannot be read.
            ResolutionError: the readings of that time are kept at a coarser resolution only.
            ValueError: a time is naive or not a multiple of the resolution.
        """
        step_ms = resolution_s * 1000
        start_ms, end_ms = to_ms(start), to_ms(end)
        if start_ms % step_ms or end_ms % step_ms or end_ms < start_ms:
            raise ValueError(f"{start} and {end} must be multiples of {resolution_s} s, the first not after the second")
        size = (end_ms - start_ms) // step_ms
        values, counts = [math.nan] * size, [0] * size
        for interval in self.read_intervals(start, end, resolution_s, fields=[field]).get(field, []):
            index = (to_ms(interval.start) - start_ms) // step_ms
            values[index], counts[index] = interval.mean, interval.count
        return MeanSeries(from_ms(start_ms), resolution_s, values, counts)

    def read_intervals(
        self, start: datetime, end: datetime, resolution_s: int, *, fields: Collection[str] | None = None
    ) -> dict[str, list[IntervalMean]]:
        """Read the intervals in which something was measured, by field, the earliest first.

        Args:
            start: nothing earlier counts, aware.
            end: nothing at this time or later counts, aware.
            resolution_s: length of each interval [s], > 0; intervals begin at multiples of it since 1970.
            fields: the fields; all of them if absent.

        Raises:
            HistoryUnavailableError: the database cannot be read.
            ResolutionError: the readings of that time are kept at a coarser resolution only.
        """
        start_ms, end_ms, step_ms = to_ms(start), to_ms(end), resolution_s * 1000
        with self._database.transaction() as connection:
            names = {
                series_id: field
                for field, series_id in self._read_series_ids(connection).items()
                if fields is None or field in fields
            }
            if resolution_s % MEAN_INTERVAL_S:
                _demand_readings(connection, names, start_ms, end_ms)
            rows = connection.execute(_aggregate(names, start_ms, end_ms, step_ms)).all()
        merged: dict[tuple[str, int], IntervalMean] = {}
        for series_id, bucket, count, total, minimum, maximum in rows:
            key = (names[series_id], bucket)
            found = IntervalMean(from_ms(bucket * step_ms), count, total / count, minimum, maximum)
            merged[key] = _merge(merged[key], found) if key in merged else found
        answer: dict[str, list[IntervalMean]] = {}
        for field, bucket in sorted(merged):
            answer.setdefault(field, []).append(merged[field, bucket])
        return answer

    def find_span(self, field: str) -> tuple[datetime, datetime] | None:
        """Find the first and the last time of one field; None if nothing is kept.

        The first may be the start of an interval of which only a mean is kept.

        Raises:
            HistoryUnavailableError: the database cannot be read.
        """
        with self._database.transaction() as connection:
            series_id = self._read_series_ids(connection).get(field)
            if series_id is None:
                return None
            spans = [
                connection.execute(select(func.min(time), func.max(time)).where(owner == series_id)).one()
                for owner, time in (
                    (readings.c.series_id, readings.c.timestamp_ms),
                    (means.c.series_id, means.c.interval_start_ms),
                )
            ]
        times: list[int] = [time for span in spans for time in span if time is not None]
        return (from_ms(min(times)), from_ms(max(times))) if times else None

    def _read_series_ids(self, connection: Connection) -> dict[str, int]:
        query = select(series.c.field, series.c.series_id).where(
            series.c.site_id == self.owner.site_id,
            series.c.service == self.owner.service,
            series.c.origin == self.owner.origin,
        )
        return {row.field: row.series_id for row in connection.execute(query)}


def find_origin(source: str) -> str:
    """Find the origin of what a source gives: a device may be read by MQTT today and by Modbus tomorrow.

    >>> find_origin("mqtt"), find_origin("simulated")
    ('measured', 'simulated')
    """
    return source if source in ("simulated", "replay") else "measured"


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 [ms], rounded down.

    Raises:
        ValueError: the time is naive.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(time_ms: int) -> datetime:
    """The moment so many milliseconds after 1970, UTC."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def _aggregate(
    ids: Collection[int], start_ms: int, end_ms: int, step_ms: int
) -> CompoundSelect[int, int, int, float, float, float]:
    """Number, sum, minimum and maximum by series and interval, of readings and of means."""
    value, time, count = readings.c.value, readings.c.timestamp_ms, means.c.count
    of_readings = (readings.c.series_id, interval_of(time, step_ms))
    of_means = (means.c.series_id, interval_of(means.c.interval_start_ms, step_ms))
    return union_all(
        select(*of_readings, func.count(), func.sum(value), func.min(value), func.max(value))
        .where(readings.c.series_id.in_(ids), time >= start_ms, time < end_ms)
        .group_by(*of_readings),
        select(
            *of_means,
            func.sum(count),
            func.sum(means.c.mean * count),
            func.min(means.c.minimum),
            func.max(means.c.maximum),
        )
        .where(means.c.series_id.in_(ids), means.c.interval_start_ms >= start_ms, means.c.interval_start_ms < end_ms)
        .group_by(*of_means),
    )


def interval_of(time: Column[int], step_ms: int) -> ColumnElement[int]:
    """Number of the interval that has a time, counted from 1970."""
    # Written out: PostgreSQL takes two parameters of one value for different ones in SELECT and GROUP BY.
    return time // literal_column(str(step_ms), BigInteger)


def _merge(one: IntervalMean, other: IntervalMean) -> IntervalMean:
    count = one.count + other.count
    mean = (one.mean * one.count + other.mean * other.count) / count
    return IntervalMean(one.start, count, mean, min(one.minimum, other.minimum), max(one.maximum, other.maximum))


def _demand_readings(connection: Connection, ids: Collection[int], start_ms: int, end_ms: int) -> None:
    newest = connection.scalar(
        select(func.max(means.c.interval_start_ms)).where(
            means.c.series_id.in_(ids), means.c.interval_start_ms >= start_ms, means.c.interval_start_ms < end_ms
        )
    )
    if newest is not None:
        kept_from = utc_text(from_ms(newest + MEAN_INTERVAL_S * 1000))
        raise ResolutionError(
            f"readings before {kept_from} are kept as means of {MEAN_INTERVAL_S} s: ask for a multiple of that,"
            " or for later ones"
        )
