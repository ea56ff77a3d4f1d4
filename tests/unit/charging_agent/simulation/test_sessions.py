import gzip
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from charging_agent.simulation.generated_sessions import generate_sessions
from charging_agent.simulation.sessions import (
    COLUMNS,
    SessionsError,
    last_day,
    read_sessions,
    select_period,
    trim_to_steps,
)

PACIFIC = ZoneInfo("America/Los_Angeles")
ROW = {
    "session_id": "s1",
    "station_id": "CA-1",
    "arrival": "2019-09-02T15:00:00Z",
    "departure": "2019-09-02T20:00:00Z",
    "requested_kwh": "20",
    "delivered_kwh": "10",
    "estimated_departure": "2019-09-02T19:00:00Z",
    "claimed": "True",
}


def write(folder: Path, *rows: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    lines = [",".join(columns), *(",".join({**ROW, **row}.get(column, "") for column in columns) for row in rows)]
    file = folder / "sessions.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_a_compressed_file_reads_like_a_plain_one(tmp_path: Path) -> None:
    plain = write(tmp_path, {}, {"session_id": "s2", "station_id": "CA-2"})
    packed = tmp_path / "sessions.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    assert read_sessions(packed) == read_sessions(plain)
    assert read_sessions(plain)[0].arrival == datetime(2019, 9, 2, 15, tzinfo=UTC)


def test_sessions_come_ordered_by_arrival(tmp_path: Path) -> None:
    later = {"session_id": "s2", "station_id": "CA-2", "arrival": "2019-09-02T14:00:00Z"}

    assert [session.session_id for session in read_sessions(write(tmp_path, {}, later))] == ["s2", "s1"]


def test_further_columns_are_ignored(tmp_path: Path) -> None:
    assert len(read_sessions(write(tmp_path, {}, columns=(*COLUMNS, "colour")))) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"departure": "2019-09-02T14:00:00Z"}, "line 2: departure 2019-09-02T14:00:00Z is not after arrival"),
        ({"arrival": "2019-09-02T15:00:00"}, "line 2: arrival .* has no time zone"),
        ({"arrival": "yesterday"}, "line 2: arrival is 'yesterday'"),
        ({"delivered_kwh": "-1"}, "line 2: delivered_kwh is '-1'"),
        ({"requested_kwh": "nan"}, "line 2: requested_kwh is 'nan'"),
        ({"claimed": "maybe"}, "line 2: claimed is 'maybe'"),
        ({"station_id": ""}, "line 2: station_id is empty"),
    ],
)
def test_a_row_that_is_no_session_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(SessionsError, match=message):
        read_sessions(write(tmp_path, change))


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(SessionsError, match="lacks the columns delivered_kwh"):
        read_sessions(write(tmp_path, {}, columns=tuple(c for c in COLUMNS if c != "delivered_kwh")))


def test_an_id_that_is_there_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(SessionsError, match="session s1 is there twice"):
        read_sessions(write(tmp_path, {}, {"station_id": "CA-2"}))


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b""])
def test_what_is_no_text_or_empty_is_an_error(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "sessions.csv"
    file.write_bytes(data)

    with pytest.raises(SessionsError):
        read_sessions(file)


def test_a_file_that_is_no_gzip_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "sessions.csv.gz"
    file.write_bytes(b"session_id\n")

    with pytest.raises(SessionsError, match="cannot be read"):
        read_sessions(file)


def test_overlapping_sessions_at_a_station_get_connectors_of_their_own(tmp_path: Path) -> None:
    second = {"session_id": "s2", "arrival": "2019-09-02T16:00:00Z"}
    third = {"session_id": "s3", "arrival": "2019-09-02T20:00:00Z", "departure": "2019-09-02T21:00:00Z"}

    assert [s.key for s in read_sessions(write(tmp_path, {}, second, third))] == [("CA-1", 1), ("CA-1", 2), ("CA-1", 1)]


def test_a_session_belongs_to_the_local_day_of_its_arrival(tmp_path: Path) -> None:
    evening = {"arrival": "2019-10-01T05:00:00Z", "departure": "2019-10-01T08:00:00Z"}
    sessions = read_sessions(write(tmp_path, evening))

    assert select_period(sessions, date(2019, 9, 30), date(2019, 9, 30), PACIFIC) == sessions
    assert select_period(sessions, date(2019, 10, 1), date(2019, 10, 1), PACIFIC) == ()


@pytest.mark.parametrize(
    ("first", "to", "last"),
    [
        (date(2019, 9, 1), date(2019, 9, 30), date(2019, 9, 30)),
        (date(2019, 9, 1), date(2019, 10, 1), date(2019, 9, 30)),
        (date(2019, 9, 2), date(2019, 10, 1), date(2019, 10, 1)),
        (date(2019, 9, 1), date(2019, 9, 1), date(2019, 9, 1)),
    ],
)
def test_a_month_may_end_on_its_last_day_or_on_the_next_first(first: date, to: date, last: date) -> None:
    assert last_day(first, to) == last


def test_a_period_that_ends_before_it_begins_is_an_error() -> None:
    with pytest.raises(SessionsError, match="before"):
        last_day(date(2019, 9, 2), date(2019, 9, 1))


def test_what_does_not_fit_into_the_stay_is_not_deliverable(tmp_path: Path) -> None:
    (session,) = read_sessions(write(tmp_path, {"delivered_kwh": "100"}))

    assert session.deliverable_kwh(6.656) == pytest.approx(5 * 6.656)


def test_whole_steps_lie_inside_the_stay_and_short_stays_are_left_out(tmp_path: Path) -> None:
    odd = {"arrival": "2019-09-02T15:01:00Z", "departure": "2019-09-02T15:59:00Z"}
    short = {"session_id": "s2", "station_id": "B", "arrival": "2019-09-02T15:01:00Z"}
    short["departure"] = "2019-09-02T15:29:00Z"

    (session,) = trim_to_steps(read_sessions(write(tmp_path, odd, short)), 900)

    assert (session.arrival.minute, session.departure.minute) == (15, 45)


@pytest.mark.parametrize("day", [date(2026, 3, 8), date(2026, 11, 1)])
def test_generated_sessions_repeat_and_fit_into_their_stays_also_when_the_clock_changes(day: date) -> None:
    sessions = generate_sessions(day - timedelta(days=2), day + timedelta(days=1), PACIFIC)

    assert sessions == generate_sessions(day - timedelta(days=2), day + timedelta(days=1), PACIFIC)
    assert len(sessions) > 30
    assert all(s.arrival < s.departure and s.deliverable_kwh(6.656) == s.delivered_kwh for s in sessions)
