"""Keeps one reading per period of a service's source, whether anybody asks for it or not.

A database that is slow, full or broken costs no reading: what could not be written waits in memory for the next period,
at most `MOST_WAITING` readings, and `GET /health` warns.
"""

import logging
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

from prometheus_client import Counter, Gauge
from prometheus_client.registry import Collector

from ev_service.clock import Clock, sleep_until_s
from ev_service.database_thread import DatabaseLateError, DatabaseThread
from ev_service.errors import EvError
from ev_service.history.database import HistoryUnavailableError
from ev_service.history.reading_history import ReadingHistory
from ev_service.history.store import HistoryStore, Sample
from ev_service.sources import Source
from ev_service.telemetry import Reading

MOST_WAITING = 1440
"""How many readings wait for the database at most: a day of one per minute; the oldest are dropped."""

_LONGEST_CALL_S = 5.0
_UPKEEP_S = 3600.0

_logger = logging.getLogger(__name__)


class HistoryMetrics:
    """Counters of one service's history; the service registers them."""

    def __init__(self) -> None:
        self.values = Counter("history_values", "Values written to the history", registry=None)
        self.failures = Counter("history_failures", "Calls to the history's database that failed", registry=None)
        self.waiting = Gauge("history_waiting_readings", "Readings that wait for the database", registry=None)

    def collectors(self) -> Iterable[Collector]:
        """All of them."""
        return (self.values, self.failures, self.waiting)


class HistoryRecorder:
    """Reads a source once per period and writes what it gives.

    Args:
        source: read with the run's clock.
        clock: the run's clock.
        store: where readings are kept.
        period_s: one reading is kept in each period of this length [s].
    """

    def __init__(self, source: Source[Reading], clock: Clock, store: HistoryStore, *, period_s: int) -> None:
        self.metrics = HistoryMetrics()
        self._source, self._clock, self._store, self._period_s = source, clock, store, period_s
        self._thread = DatabaseThread("history-writer", _LONGEST_CALL_S)
        self._waiting: deque[Sample] = deque(maxlen=MOST_WAITING)
        self._failure: str | None = None
        self._upkeep_due_s = 0.0

    @property
    def history(self) -> ReadingHistory:
        """What it writes, to read."""
        return self._store

    async def run(self) -> None:
        """Record until the task is cancelled."""
        try:
            while True:
                due_s = self._clock.monotonic_s() + self._period_s
                await self.record()
                await self.maintain()
                await sleep_until_s(self._clock, due_s)
        finally:
            self._thread.close()

    async def record(self) -> None:
        """Read once, and write what waits; nothing is raised."""
        if (sample := await self._read()) is not None:
            self._waiting.append(sample)
        if not self._waiting:
            return
        samples = list(self._waiting)
        try:
            new = await self._thread.run(lambda: self._store.write(samples))
        except (DatabaseLateError, HistoryUnavailableError) as error:
            self._note_failure(error)
        else:
            self.metrics.values.inc(new)
            self._waiting.clear()
            self._clear_failure()
        self.metrics.waiting.set(len(self._waiting))

    async def maintain(self) -> None:
        """Every hour, turn old readings into means and delete old means; nothing is raised."""
        if self._clock.monotonic_s() < self._upkeep_due_s or self._failure is not None:
            return
        now = self._clock.now()
        try:
            while await self._thread.run(lambda: self._store.compact(now)):
                pass
            await self._thread.run(lambda: self._store.prune(now))
        except (DatabaseLateError, HistoryUnavailableError) as error:
            self._note_failure(error)
        self._upkeep_due_s = self._clock.monotonic_s() + _UPKEEP_S

    def write_error(self) -> str | None:
        """Why readings are not kept, in one sentence; None while they are."""
        return self._failure

    async def _read(self) -> Sample | None:
        try:
            reading = await self._source.read(self._clock.now())
        except EvError:
            # Health reports it; in the history it is a gap.
            return None
        except Exception:
            _logger.exception("source failed")
            return None
        return to_sample(reading, self._period_s)

    def _note_failure(self, error: DatabaseLateError | HistoryUnavailableError) -> None:
        self.metrics.failures.inc()
        reason = error.message if isinstance(error, EvError) else f"it takes longer than {_LONGEST_CALL_S:g} s"
        if self._failure is None:
            _logger.error("readings are not kept; they are answered all the same", extra={"reason": reason})
        self._failure = f"readings are not kept: {reason}"

    def _clear_failure(self) -> None:
        if self._failure is not None:
            _logger.warning("readings are kept again")
        self._failure = None


def to_sample(reading: Reading, period_s: int) -> Sample:
    """Make a sample of a reading's numeric fields.

    Its moment is the start of the period that has the reading, so that a period has one reading even after a restart,
    or where the clock was set back.

    Args:
        reading: the reading.
        period_s: length of a period [s].
    """
    since_s = int(reading.timestamp.timestamp()) // period_s * period_s
    return Sample(datetime.fromtimestamp(since_s, UTC), dict(_numbers(reading)))


def _numbers(reading: Reading) -> Iterable[tuple[str, float]]:
    """Fields that a reading has in addition to those of all readings, several phases one by one."""
    values: dict[str, Any] = reading.model_dump(exclude=set(Reading.model_fields), exclude_none=True)
    for name, value in values.items():
        if isinstance(value, tuple):
            phases = cast(tuple[float, ...], value)
            yield from ((f"{name}_l{phase}", float(one)) for phase, one in enumerate(phases, start=1))
        elif isinstance(value, int | float):
            yield name, float(value)
