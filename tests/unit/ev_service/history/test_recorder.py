"""The recorder keeps one reading per period; whatever the database does, readings go on and nothing is disordered."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.ev_service.history.conftest import NOON, make_store

from ev_service.clock import SteppedClock
from ev_service.errors import SourceUnavailableError
from ev_service.history.database import open_database
from ev_service.history.recorder import MOST_WAITING, HistoryRecorder, to_sample
from ev_service.history.settings import HistorySettings
from ev_service.history.store import HistoryStore, Sample
from ev_service.sources import Source
from ev_service.telemetry import GridLoad

pytestmark = pytest.mark.anyio


class Meter(Source[GridLoad]):
    """Gives as many kW as minutes have passed; nothing while it is away."""

    is_away = False
    error: Exception | None = None

    async def read(self, now: datetime) -> GridLoad:
        if self.error is not None:
            raise self.error
        if self.is_away:
            raise SourceUnavailableError("the meter is away")
        load_kw = (now - NOON) / timedelta(minutes=1)
        return grid_load(now, max(load_kw, 0.0))


def grid_load(now: datetime, load_kw: float) -> GridLoad:
    return GridLoad(
        site_id="greensboro", timestamp=now, source="mqtt", load_percent=load_kw, load_kw=load_kw, limit_kw=100.0,
        current_a=(1.0, -2.0, 3.0),
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HistoryStore]:
    database = open_database(HistorySettings(dir=tmp_path), "grid")
    assert database is not None
    yield make_store(database)
    database.close()


def test_a_sample_has_every_number_of_a_reading_and_each_phase_at_the_start_of_its_period() -> None:
    reading = grid_load(NOON + timedelta(seconds=59.9), 7.0)

    assert to_sample(reading, 60) == Sample(
        NOON,
        {
            "load_percent": 7.0, "load_kw": 7.0, "limit_kw": 100.0, "export_kw": 0.0, "includes_charging": 1.0,
            "current_a_l1": 1.0, "current_a_l2": -2.0, "current_a_l3": 3.0,
        },
    )  # fmt: skip


async def test_each_period_keeps_one_reading_also_after_a_restart_or_a_clock_that_is_set_back(
    store: HistoryStore,
) -> None:
    clock, meter = SteppedClock(NOON), Meter()
    recorder = HistoryRecorder(meter, clock, store, period_s=60)
    for _ in range(30):
        await recorder.record()
        clock.advance(30)
    clock.set_wall(NOON + timedelta(seconds=20))
    for _ in range(20):
        # A process that was just started knows nothing of what is kept.
        await HistoryRecorder(meter, clock, store, period_s=60).record()
        clock.advance(60)

    series = store.read_series("load_kw", NOON, NOON + timedelta(minutes=20), 60)
    assert series.counts == [1] * 20
    assert series.values[:15] == [float(minute) for minute in range(15)]


async def test_a_source_that_gives_nothing_or_fails_leaves_a_gap_and_no_warning(store: HistoryStore) -> None:
    clock, meter = SteppedClock(NOON), Meter()
    recorder = HistoryRecorder(meter, clock, store, period_s=60)
    for minute in range(4):
        meter.is_away, meter.error = minute == 1, ZeroDivisionError() if minute == 2 else None
        await recorder.record()
        clock.advance(60)

    assert store.read_series("load_kw", NOON, NOON + timedelta(minutes=4), 60).counts == [1, 0, 0, 1]
    assert recorder.write_error() is None


async def test_readings_that_could_not_be_written_are_once_the_database_works(
    store: HistoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ev_service.history.database._BUSY_S", 0.05)
    database = open_database(HistorySettings(dir=tmp_path), "grid")
    assert database is not None
    clock = SteppedClock(NOON)
    recorder = HistoryRecorder(Meter(), clock, make_store(database), period_s=60)
    await recorder.record()
    other = sqlite3.connect(tmp_path / "grid-history.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        clock.advance(60)
        await recorder.record()
    reason, waiting = recorder.write_error(), recorder.metrics.waiting.collect()

    other.execute("ROLLBACK")
    other.close()
    clock.advance(60)
    await recorder.record()

    assert reason is not None
    assert "readings are not kept" in reason
    assert "database is locked" in reason
    assert [sample.value for metric in waiting for sample in metric.samples] == [3.0]
    assert recorder.write_error() is None
    assert store.read_series("load_kw", NOON, NOON + timedelta(minutes=5), 60).counts == [1] * 5


async def test_while_the_database_is_away_only_so_many_readings_wait(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    database = open_database(HistorySettings(dir=tmp_path / "file"), "grid")
    assert database is not None
    clock = SteppedClock(NOON)
    recorder = HistoryRecorder(Meter(), clock, make_store(database), period_s=60)
    for _ in range(MOST_WAITING + 10):
        recorder._waiting.append(Sample(clock.now(), {}))  # pyright: ignore[reportPrivateUsage]
        clock.advance(60)

    await recorder.record()

    assert [sample.value for metric in recorder.metrics.waiting.collect() for sample in metric.samples] == [1440.0]
    assert "readings are not kept" in (recorder.write_error() or "")


async def test_a_database_that_hangs_holds_nobody_up(store: HistoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ev_service.history.recorder._LONGEST_CALL_S", 0.05)
    released = threading.Event()
    write = store.write

    def hang(samples: list[Sample]) -> int:
        released.wait(20)
        return write(samples)

    monkeypatch.setattr(store, "write", hang)
    clock = SteppedClock(NOON)
    recorder = HistoryRecorder(Meter(), clock, store, period_s=60)

    await recorder.record()
    clock.advance(60)
    await recorder.record()
    assert "takes longer" in (recorder.write_error() or "")

    released.set()
    while recorder.write_error():
        await recorder.record()
        await asyncio.sleep(0.01)
    assert store.read_series("load_kw", NOON, NOON + timedelta(minutes=2), 60).counts == [1, 1]


async def test_old_readings_are_compacted_by_the_hour(store: HistoryStore) -> None:
    clock = SteppedClock(NOON + timedelta(days=20))
    store.write([Sample(NOON + timedelta(minutes=minute), {"load_kw": 1.0}) for minute in range(3000)])
    recorder = HistoryRecorder(Meter(), clock, store, period_s=60)

    await recorder.maintain()

    # Means alone are left of the time before.
    assert store.find_span("load_kw") == (NOON, NOON + timedelta(minutes=2985))
