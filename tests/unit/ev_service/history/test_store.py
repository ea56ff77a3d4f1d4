"""Kept readings: what is written is read back as means, old readings become means, and means end after a while."""

import math
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.ev_service.history.conftest import NOON, OWNER, make_store, minutes

from ev_service.history.database import HistoryDatabase, HistoryUnavailableError, open_database
from ev_service.history.reading_history import ResolutionError
from ev_service.history.settings import HistorySettings
from ev_service.history.store import Sample

DAY = timedelta(days=1)


def test_readings_are_read_back_as_the_mean_extremes_and_number_of_each_interval(database: HistoryDatabase) -> None:
    store = make_store(database)

    assert store.write(minutes(NOON, 30)) == 30

    first, second = store.read_intervals(NOON, NOON + timedelta(hours=1), 900)["load_kw"]
    assert (first.start, first.count, first.mean, first.minimum, first.maximum) == (NOON, 15, 17.0, 10.0, 24.0)
    assert (second.start, second.count, second.mean) == (NOON + timedelta(minutes=15), 15, 32.0)


def test_the_end_belongs_to_what_comes_after(database: HistoryDatabase) -> None:
    store = make_store(database)
    store.write(minutes(NOON, 30))

    assert [one.count for one in store.read_intervals(NOON, NOON + timedelta(minutes=15), 900)["load_kw"]] == [15]


def test_a_moment_that_was_written_before_keeps_its_value(database: HistoryDatabase) -> None:
    store = make_store(database)
    store.write(minutes(NOON, 2))

    assert store.write(minutes(NOON, 3, value=99.0)) == 1
    assert store.read_series("load_kw", NOON, NOON + timedelta(minutes=3), 60).values == [10.0, 11.0, 101.0]


def test_a_series_has_a_value_for_every_step_and_nan_in_its_gaps(database: HistoryDatabase) -> None:
    store = make_store(database)
    store.write([*minutes(NOON, 15), *minutes(NOON + timedelta(minutes=45), 15)])

    series = store.read_series("load_kw", NOON, NOON + timedelta(hours=1))

    assert (series.start, series.resolution_s, series.counts) == (NOON, 900, [15, 0, 0, 15])
    assert [math.isnan(value) for value in series.values] == [False, True, True, False]
    assert store.find_span("load_kw") == (NOON, NOON + timedelta(minutes=59))
    assert store.find_span("export_kw") is None
    assert store.read_series("export_kw", NOON, NOON + timedelta(hours=1)).counts == [0, 0, 0, 0]


def test_a_series_whose_ends_are_no_multiples_of_its_steps_is_refused(database: HistoryDatabase) -> None:
    with pytest.raises(ValueError, match="multiples of 900 s"):
        make_store(database).read_series("load_kw", NOON + timedelta(minutes=1), NOON + timedelta(hours=1))


def test_what_is_measured_later_changes_no_earlier_series(database: HistoryDatabase) -> None:
    store = make_store(database, raw=1)
    store.write(minutes(NOON, 60))
    before = store.read_series("load_kw", NOON, NOON + timedelta(hours=1))

    store.write([Sample(NOON + timedelta(hours=1, minutes=minute), {"load_kw": 1e9}) for minute in range(120)])

    assert store.read_series("load_kw", NOON, NOON + timedelta(hours=1)) == before
    while store.compact(NOON + 30 * DAY):
        pass
    assert store.read_series("load_kw", NOON, NOON + timedelta(hours=1)) == before


@pytest.mark.parametrize(
    "other", [replace(OWNER, site_id="elsewhere"), replace(OWNER, service="solar"), replace(OWNER, origin="simulated")]
)
def test_nothing_of_another_site_service_or_origin_is_read_moved_or_deleted(
    database: HistoryDatabase, other: object
) -> None:
    ours, theirs = make_store(database, raw=1, mean=1), make_store(database, replace(OWNER, **vars_of(other)))
    theirs.write(minutes(NOON, 15))
    ours.write(minutes(NOON, 15, value=50.0))

    ours.compact(NOON + 10 * DAY)
    ours.prune(NOON + 10 * DAY)

    assert ours.read_intervals(NOON, NOON + DAY, 900) == {}
    assert theirs.read_series("load_kw", NOON, NOON + timedelta(minutes=1), 60).values == [10.0]


def vars_of(owner: object) -> dict[str, str]:
    return {name: getattr(owner, name) for name in ("site_id", "service", "origin")}


def test_old_readings_become_means_and_give_the_same_answer_at_their_resolution(database: HistoryDatabase) -> None:
    store = make_store(database, raw=2)
    store.write(minutes(NOON, 3 * 1440))
    before = store.read_intervals(NOON, NOON + 3 * DAY, 900)["load_kw"]

    now = NOON + 3 * DAY
    assert [store.compact(now), store.compact(now)] == [False, False]

    after = store.read_intervals(NOON, NOON + 3 * DAY, 900)["load_kw"]
    assert [(one.start, one.count, one.minimum, one.maximum) for one in after] == [
        (one.start, one.count, one.minimum, one.maximum) for one in before
    ]
    assert [one.mean for one in after] == pytest.approx([one.mean for one in before])
    hours = store.read_series("load_kw", NOON, NOON + 3 * DAY, 3600)
    assert hours.counts == [60] * 72


def test_means_are_not_given_out_as_something_finer(database: HistoryDatabase) -> None:
    store = make_store(database, raw=1)
    store.write(minutes(NOON, 2 * 1440))
    store.compact(NOON + 2 * DAY)

    with pytest.raises(ResolutionError, match=r"readings before 2026-06-26T12:00:00Z are kept as means of 900 s"):
        store.read_intervals(NOON, NOON + 2 * DAY, 60)
    assert len(store.read_intervals(NOON + DAY, NOON + 2 * DAY, 60)["load_kw"]) == 1440


def test_each_call_compacts_a_day_and_tells_whether_there_are_more(database: HistoryDatabase) -> None:
    store = make_store(database, raw=1)
    store.write([Sample(NOON + timedelta(hours=hour), {"load_kw": 1.0}) for hour in range(72)])

    assert [store.compact(NOON + 4 * DAY) for _ in range(3)] == [True, True, False]


def test_the_same_old_readings_written_again_change_no_mean(database: HistoryDatabase) -> None:
    store = make_store(database, raw=1)
    for _ in range(2):
        store.write(minutes(NOON, 15))
        store.compact(NOON + 5 * DAY)
    # A part of the interval that comes later has fewer readings than the mean of the whole.
    store.write(minutes(NOON, 3, value=500.0))
    store.compact(NOON + 5 * DAY)

    (mean,) = store.read_intervals(NOON, NOON + DAY, 900)["load_kw"]
    assert (mean.count, mean.mean) == (15, 17.0)


def test_means_end_with_their_retention_a_day_at_a_call(database: HistoryDatabase) -> None:
    store = make_store(database, raw=1, mean=2)
    store.write([Sample(NOON + timedelta(hours=hour), {"load_kw": 1.0}) for hour in range(96)])
    while store.compact(NOON + 20 * DAY):
        pass

    store.prune(NOON + 20 * DAY)
    assert store.find_span("load_kw") == (NOON + DAY, NOON + timedelta(hours=95))
    store.prune(NOON + 3 * DAY + timedelta(hours=1))
    assert store.find_span("load_kw") == (NOON + DAY + timedelta(hours=1), NOON + timedelta(hours=95))


def test_readings_survive_a_restart(settings: HistorySettings, database: HistoryDatabase) -> None:
    make_store(database).write(minutes(NOON, 15))
    database.close()

    again = open_database(settings, "grid")
    assert again is not None
    assert make_store(again).read_intervals(NOON, NOON + DAY, 900)["load_kw"][0].count == 15
    again.close()


def test_services_that_begin_with_an_empty_database_at_once_all_get_their_tables(
    settings: HistorySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four migrations one after the other, on a machine that may be busy.
    monkeypatch.setattr("ev_service.history.database._BUSY_S", 30.0)
    databases = [found for found in (open_database(settings, "grid") for _ in range(4)) if found is not None]

    def write(database: HistoryDatabase) -> int:
        return make_store(database).write(minutes(NOON, 5))

    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(write, databases))

    assert sum(written) == 5
    for database in databases:
        database.close()


def test_a_database_of_a_newer_version_is_neither_read_nor_written(
    settings: HistorySettings, database: HistoryDatabase
) -> None:
    make_store(database).write(minutes(NOON, 1))
    with database.transaction(is_write=True) as connection:
        connection.exec_driver_sql("UPDATE history_version SET version_num = '9999'")
    older = open_database(settings, "grid")
    assert older is not None

    for call in (lambda: make_store(older).write(minutes(NOON, 1)), lambda: make_store(older).find_span("load_kw")):
        with pytest.raises(HistoryUnavailableError, match="of a newer version"):
            call()
    older.close()


def test_a_file_that_is_no_database_is_reported_and_works_once_it_is_moved_away(tmp_path: Path) -> None:
    settings = HistorySettings(dir=tmp_path)
    file = tmp_path / "grid-history.sqlite"
    file.write_bytes(b"no database " * 1000)
    database = open_database(settings, "grid")
    assert database is not None
    store = make_store(database)

    with pytest.raises(HistoryUnavailableError, match=r"grid-history\.sqlite: file is not a database; move the file"):
        store.write(minutes(NOON, 1))

    file.unlink()
    assert store.write(minutes(NOON, 1)) == 1


def test_a_file_that_another_process_locks_is_reported_and_works_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ev_service.history.database._BUSY_S", 0.05)
    database = open_database(HistorySettings(dir=tmp_path), "grid")
    assert database is not None
    store = make_store(database)
    store.write(minutes(NOON, 1))
    other = sqlite3.connect(tmp_path / "grid-history.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(HistoryUnavailableError, match="database is locked"):
        store.write(minutes(NOON, 2))
    assert store.find_span("load_kw") == (NOON, NOON)

    other.execute("ROLLBACK")
    other.close()
    assert store.write(minutes(NOON, 2)) == 1


def test_a_full_disk_is_reported_and_what_was_kept_stays(tmp_path: Path) -> None:
    database = open_database(HistorySettings(dir=tmp_path), "grid")
    assert database is not None
    store = make_store(database)
    store.write(minutes(NOON, 5))

    # SQLite's own error for it, without a disk to fill.
    with pytest.raises(HistoryUnavailableError, match="full"):
        fill_disk(database)

    assert store.read_intervals(NOON, NOON + DAY, 900)["load_kw"][0].count == 5
    assert store.write(minutes(NOON, 6)) == 1


def fill_disk(database: HistoryDatabase) -> None:
    with database.transaction(is_write=True) as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("CREATE TABLE filler AS SELECT randomblob(9000) AS bytes")


def test_a_server_that_is_away_is_reported(tmp_path: Path) -> None:
    database = open_database(HistorySettings(database_url="postgresql://history@127.0.0.1:1/energy"), "grid")
    assert database is not None

    with pytest.raises(HistoryUnavailableError, match=r"database energy on 127\.0\.0\.1: "):
        make_store(database).write(minutes(NOON, 1))
