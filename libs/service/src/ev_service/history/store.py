"""Writes readings, turns old ones into means, and removes those past their retention.

Calls wait for the database: call them in a thread.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select

from ev_service.history.database import HistoryDatabase, open_database
from ev_service.history.reading_history import ReadingHistory, SeriesOwner, interval_of, to_ms
from ev_service.history.schema import MEAN_INTERVAL_S, means, readings, series
from ev_service.history.settings import HistorySettings

_MEAN_MS = MEAN_INTERVAL_S * 1000
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one moment."""

    taken_at: datetime
    """The moment, aware."""

    values: Mapping[str, float]
    """Finite values by field."""


class HistoryStore(ReadingHistory):
    """Kept readings of one service at one site, for the one who writes them.

    Args:
        database: where they are.
        owner: whose they are.
        raw_for: age up to which every reading is kept.
        means_for: age up to which means are kept.
    """

    def __init__(
        self, database: HistoryDatabase, owner: SeriesOwner, *, raw_for: timedelta, means_for: timedelta
    ) -> None:
        super().__init__(database, owner)
        self._raw_for, self._means_for = raw_for, means_for

    def write(self, samples: Sequence[Sample]) -> int:
        """Write samples in one transaction; a value of a moment that has one already is not changed.

        Returns:
            Number of values that were new.

        Raises:
            HistoryUnavailableError: nothing was written.
        """
        fields = {field for sample in samples for field in sample.values}
        if not fields:
            return 0
        with self._database.transaction(is_write=True) as connection:
            ids = self._ensure_series(connection, fields)
            rows = [
                {"series_id": ids[field], "timestamp_ms": to_ms(sample.taken_at), "value": value}
                for sample in samples
                for field, value in sample.values.items()
            ]
            statement = self._database.insert(readings).on_conflict_do_nothing()
            # Without the option PostgreSQL's driver is not asked how many rows were new.
            return connection.execute(statement, rows, execution_options={"preserve_rowcount": True}).rowcount

    def compact(self, now: datetime) -> bool:
        """Turn the readings of one day that are older than they are kept into means.

        Of two means of the same interval that of more readings stays, so that a file that is imported again changes
        nothing.

        Args:
            now: the run's time, aware.

        Returns:
            Whether there are more such days.

        Raises:
            HistoryUnavailableError: nothing was changed.
        """
        kept_from_ms = to_ms(now - self._raw_for) // _MEAN_MS * _MEAN_MS
        with self._database.transaction(is_write=True) as connection:
            ids = list(self._read_series_ids(connection).values())
            oldest_ms = connection.scalar(
                select(func.min(readings.c.timestamp_ms)).where(readings.c.series_id.in_(ids))
            )
            if oldest_ms is None or oldest_ms >= kept_from_ms:
                return False
            end_ms = min(kept_from_ms, oldest_ms // _MEAN_MS * _MEAN_MS + _DAY_MS)
            self._write_means(connection, ids, end_ms)
            connection.execute(delete(readings).where(readings.c.series_id.in_(ids), readings.c.timestamp_ms < end_ms))
        return end_ms < kept_from_ms

    def prune(self, now: datetime) -> None:
        """Delete the oldest day of means, if it is older than means are kept.

        One day at a call: a clock that is wrong for a while does not cost the whole history.

        Args:
            now: the run's time, aware.

        Raises:
            HistoryUnavailableError: nothing was deleted.
        """
        kept_from_ms = to_ms(now - self._means_for)
        start = means.c.interval_start_ms
        with self._database.transaction(is_write=True) as connection:
            ids = list(self._read_series_ids(connection).values())
            oldest_ms = connection.scalar(select(func.min(start)).where(means.c.series_id.in_(ids)))
            if oldest_ms is not None and oldest_ms < kept_from_ms:
                end_ms = min(kept_from_ms, oldest_ms + _DAY_MS)
                connection.execute(delete(means).where(means.c.series_id.in_(ids), start < end_ms))

    def _write_means(self, connection: Connection, ids: Sequence[int], end_ms: int) -> None:
        interval, value = interval_of(readings.c.timestamp_ms, _MEAN_MS), readings.c.value
        aggregated = (
            select(
                readings.c.series_id,
                interval * _MEAN_MS,
                func.count(),
                func.avg(value),
                func.min(value),
                func.max(value),
            )
            .where(readings.c.series_id.in_(ids), readings.c.timestamp_ms < end_ms)
            .group_by(readings.c.series_id, interval)
        )
        columns = ["series_id", "interval_start_ms", "count", "mean", "minimum", "maximum"]
        statement = self._database.insert(means).from_select(columns, aggregated)
        new = statement.excluded
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[means.c.series_id, means.c.interval_start_ms],
                set_={name: new[name] for name in columns[2:]},
                where=new["count"] > means.c.count,
            )
        )

    def _ensure_series(self, connection: Connection, fields: Iterable[str]) -> dict[str, int]:
        known = self._read_series_ids(connection)
        missing = sorted(set(fields) - known.keys())
        if not missing:
            return known
        owner = {"site_id": self.owner.site_id, "service": self.owner.service, "origin": self.owner.origin}
        rows = [{**owner, "field": field} for field in missing]
        connection.execute(self._database.insert(series).on_conflict_do_nothing(), rows)
        return self._read_series_ids(connection)


def open_store(settings: HistorySettings, owner: SeriesOwner) -> HistoryStore | None:
    """Make the store that the settings name; its database is opened at the first call.

    Args:
        settings: `HISTORY_…`.
        owner: whose readings it keeps.

    Returns:
        The store, or None if the settings name no database.

    Raises:
        ConfigurationError: the file of the password cannot be read.
    """
    database = open_database(settings, owner.service)
    if database is None:
        return None
    return HistoryStore(
        database,
        owner,
        raw_for=timedelta(days=settings.raw_days),
        means_for=timedelta(days=settings.mean_days),
    )
