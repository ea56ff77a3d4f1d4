"""Regular series and their CSV files."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_forecasting.series import Gap, SeriesError, TimeSeries, read_csv

START = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEW_YORK = ZoneInfo("America/New_York")


def write(path: Path, *rows: str, header: str = "utc_timestamp,load_kw") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_only_intervals_that_ended_are_known() -> None:
    series = TimeSeries(START, HOUR, np.arange(5.0))

    assert series.until(START + timedelta(minutes=150)).values.tolist() == [0, 1]
    assert series.until(START - HOUR).values.tolist() == []
    assert series.since(START + timedelta(minutes=90)).start == START + 2 * HOUR


@given(st.lists(st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6)), min_size=1, max_size=40))
def test_gaps_are_exactly_the_missing_intervals(values: list[float]) -> None:
    series = TimeSeries(START, HOUR, np.array(values))

    missing = {gap.start + HOUR * step for gap in series.gaps() for step in range(gap.intervals)}

    assert missing == {START + HOUR * at for at, value in enumerate(values) if np.isnan(value)}


def test_longer_intervals_leave_missing_values_out() -> None:
    halves = TimeSeries(START, HOUR / 2, np.array([1.0, 3.0, np.nan, 5.0, np.nan, np.nan, 9.0]))

    hours = halves.mean_over(HOUR)

    np.testing.assert_equal(hours.values, [2.0, 5.0, np.nan])


def test_rows_out_of_order_gaps_and_doubled_rows_are_reported(tmp_path: Path) -> None:
    path = write(
        tmp_path / "load.csv",
        "2026-06-01 01:00:00+00:00,2",
        "2026-06-01T00:00:00Z,1",
        "2026-06-01T02:00:00,",
        "2026-06-01T07:00:00+02:00,6",
        "2026-06-01T05:00:00Z,8",
    )

    series, report = read_csv(path, ["load_kw"])

    np.testing.assert_equal(series["load_kw"].values, [1, 2, np.nan, np.nan, np.nan, 7])
    assert (report.rows, report.missing, report.doubled) == (5, 3, 1)
    assert report.gaps == (Gap(START + 2 * HOUR, 3),)
    assert "longest 3 intervals from 2026-06-01 02:00 UTC" in report.describe()


def test_compressed_file_with_several_columns(tmp_path: Path) -> None:
    path = tmp_path / "load.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("utc_timestamp,load_kw,holiday\n2026-06-01,1,True\n2026-06-02,2,False\n")

    series, _ = read_csv(path, ["holiday", "load_kw"])

    assert series["holiday"].values.tolist() == [1, 0]
    assert series["load_kw"].resolution == timedelta(days=1)


@pytest.mark.parametrize("marks_end", [False, True])
def test_wall_clock_is_read_across_both_clock_changes(tmp_path: Path, marks_end: bool) -> None:
    starts = [datetime(2025, 3, 8, 5, tzinfo=UTC) + HOUR * at for at in range(24 * 300)]
    shift = HOUR if marks_end else timedelta(0)
    rows = [f"{start.astimezone(NEW_YORK).replace(tzinfo=None) + shift},{at}" for at, start in enumerate(starts)]
    path = write(tmp_path / "load.csv", *rows, header="local_timestamp,load_kw")

    series, report = read_csv(path, ["load_kw"], timezone=NEW_YORK)

    assert report.marks_interval_end is marks_end
    assert (report.missing, report.doubled) == (0, 0)
    assert series["load_kw"].start == starts[0]
    assert series["load_kw"].values.tolist() == list(range(len(starts)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["2026-06-01,1"], "two rows"),
        (["2026-06-01,1", "2026-06-01,2"], "same timestamp"),
        (["2026-06-01,1", "yesterday,2"], "line 3"),
        (["2026-06-01,1", "2026-06-02,many"], "line 3"),
        (["2026-06-01,1", "2026-06-02,inf"], "no finite number"),
        (["2026-06-01,1", "2026-06-02"], "line 3"),
        (["2026-06-01T00:00,1", "2026-06-01T01:00,1", "2026-06-01T02:00,1", "2026-06-01T03:01,2"], "03:01:00"),
        (["2026-06-01T00:00:00,1", "2026-06-01T00:00:01,1", "3026-06-01T02:00,1"], "timestamp wrong"),
    ],
)
def test_unusable_file_is_refused_with_the_place(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(SeriesError, match=message):
        read_csv(write(tmp_path / "load.csv", *rows), ["load_kw"])


def test_absent_column_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="no column 'power'; it has load_kw"):
        read_csv(write(tmp_path / "load.csv", "2026-06-01,1", "2026-06-02,2"), ["power"])


def test_absent_or_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "load.csv.gz").write_bytes(b"no archive")

    for name in ("absent.csv", "load.csv.gz"):
        with pytest.raises(SeriesError, match="cannot be read"):
            read_csv(tmp_path / name, ["load_kw"])


def test_local_time_without_its_zone_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "load.csv", "2026-06-01,1", "2026-06-02,2", header="local_timestamp,load_kw")

    with pytest.raises(SeriesError, match="name their time zone"):
        read_csv(path, ["load_kw"])
