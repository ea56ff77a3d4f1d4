"""Recorded values are imported once, in UTC and kW, and the report names gaps and refused rows."""

import gzip
from pathlib import Path

import pytest
from tests.unit.ev_service.history.conftest import NOON, OWNER, make_store

from ev_service.history.__main__ import main
from ev_service.history.database import open_database
from ev_service.history.settings import HistorySettings

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = tmp_path / "clock.json"
    clock.write_text('{"real_at": "2020-01-01T00:00:00Z", "sim_at": "2026-06-26T00:00:00Z", "speed": 0}')
    for name, value in {"HISTORY_DIR": str(tmp_path), "SIM_CLOCK_FILE": str(clock), "GRID_SOURCE": "mqtt"}.items():
        monkeypatch.setenv(name, value)


def import_text(folder: Path, text: str, *options: str, service: str = "grid") -> int:
    file = folder / "recorded.csv"
    file.write_text(text, encoding="utf-8")
    return main([service, str(file), *options])


def read_values(folder: Path, hours: int, start: int = 0) -> list[float]:
    database = open_database(HistorySettings(dir=folder), "grid")
    assert database is not None
    begin = NOON.replace(hour=start)
    return make_store(database, OWNER).read_series("load_kw", begin, begin.replace(hour=start + hours), 3600).values


def test_columns_named_as_fields_are_imported_and_a_second_import_changes_nothing(
    tmp_path: Path, capsys: Output
) -> None:
    text = "timestamp,load_kw,note\n2026-06-25T00:00:00Z,10,a\n2026-06-25T03:00:00+02:00,20,b\n"

    assert [import_text(tmp_path, text), import_text(tmp_path, text)] == [0, 0]

    first, second = capsys.readouterr().out.split("measured values of greensboro")[1:]
    assert "2 new, 0 of times that had one" in first
    assert "0 new, 2 of times that had one" in second
    assert read_values(tmp_path, 2) == [10.0, 20.0]


def test_the_report_names_step_gaps_and_refused_rows(tmp_path: Path, capsys: Output) -> None:
    rows = [f"2026-06-25T{hour:02d}:00:00Z,{hour}" for hour in (0, 1, 2, 6, 7, 9)]
    rows += ["2026-06-25T10:00:00Z,-1", "noon,1", "2026-06-25T11:00:00Z,nan", "2026-06-25T12:00:00,1"]
    rows += ["2026-06-25T13:00:00Z,", "2026-07-01T00:00:00Z,1", "1999-01-01T00:00:00Z,1", "2026-06-25T00:00:00Z,5"]

    assert import_text(tmp_path, "\n".join(["timestamp,load_kw", *rows, ""])) == 0

    report = capsys.readouterr().out
    assert "14 read, 5 refused, 2 outside" in report
    assert "6 new, 1 of times that had one" in report
    assert "2026-06-25T00:00:00Z to 2026-06-25T09:00:00Z" in report
    assert "step      3600 s" in report
    assert "gaps      2, the longest:\n  2026-06-25T03:00:00Z to 2026-06-25T06:00:00Z, 3:00:00\n" in report
    assert "line 8: load_kw -1: Input should be greater than or equal to 0" in report
    assert "line 11: timestamp 2026-06-25T12:00:00 has no offset from UTC" in report


def test_other_columns_units_and_a_compressed_file_are_read(tmp_path: Path) -> None:
    file = tmp_path / "recorded.csv.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbfhour,demand\n2026-06-25T00:00:00Z,0.25\n"))

    assert main(["grid", str(file), "--time-column", "hour", "--column", "load_kw=demand", "--unit", "MW"]) == 0
    assert read_values(tmp_path, 1) == [250.0]


def test_the_hour_that_comes_twice_is_told_apart_by_its_order_and_the_one_that_is_missing_refused(
    tmp_path: Path, capsys: Output
) -> None:
    autumn = [f"2025-10-26T0{hour}:00:00,{value}" for hour, value in ((1, 1), (2, 2), (2, 3), (3, 4))]
    spring = ["2026-03-29T02:30:00,5"]

    text = "\n".join(["timestamp,load_kw", *autumn, *spring, ""])
    assert import_text(tmp_path, text, "--timezone", "Europe/Berlin") == 0

    report = capsys.readouterr().out
    assert "4 new, 0 of times" in report
    assert "2025-10-25T23:00:00Z to 2025-10-26T02:00:00Z" in report
    assert "gaps      0" in report
    assert "02:30:00 does not exist in Europe/Berlin" in report


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ([], "", "has no column of the grid service"),
        (["--column", "load_kw=power"], "timestamp,load_kw\n", "has no column power"),
        (["--column", "voltage=load_kw"], "timestamp,load_kw\n", "grid has no field voltage; it has load_percent"),
        (["--column", "load_kw"], "timestamp,load_kw\n", "must be FIELD=NAME"),
        (["--timezone", "Berlin"], "timestamp,load_kw\n", "no IANA time zone"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(
    tmp_path: Path, capsys: Output, options: list[str], text: str, reason: str
) -> None:
    assert import_text(tmp_path, text, *options) == 1
    assert reason in capsys.readouterr().err


def test_without_a_place_for_history_there_is_nothing_to_import_into(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HISTORY_DIR")

    assert import_text(tmp_path, "timestamp,load_kw\n") == 1
    assert "set HISTORY_DIR or HISTORY_DATABASE_URL" in capsys.readouterr().err
