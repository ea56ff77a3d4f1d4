"""Recordings: what is played, what is refused at the start, and what is said where there is nothing to play."""

import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_service.errors import ConfigurationError, SourceExhaustedError, SourceUnavailableError
from ev_service.replay import Replay, read_recording
from ev_service.telemetry import GridLoad, SolarStatus

pytestmark = pytest.mark.anyio

NOON = datetime(2012, 6, 21, 12, tzinfo=UTC)
HEADER = "timestamp,generation_kw,capacity_kwp"
GOOD = f"{HEADER}\n2012-06-21T12:00:00Z,30,50\n2012-06-21T12:15:00Z,31.5,50\n"


def _nothing_is_implausible(_: object) -> None:
    return None


def _read(tmp_path: Path, text: str) -> Sequence[SolarStatus]:
    file = tmp_path / "solar.csv"
    file.write_text(text, encoding="utf-8")
    return read_recording(file, SolarStatus, site_id="greensboro", check=_nothing_is_implausible)


def _play(tmp_path: Path, text: str = GOOD, **how: float) -> Replay[SolarStatus]:
    return Replay(_read(tmp_path, text), **({"max_gap_s": 3600.0} | how))


async def test_a_row_holds_until_the_next_one(tmp_path: Path) -> None:
    replay = _play(tmp_path)

    readings = [(await replay.read(NOON + timedelta(minutes=minutes))).generation_kw for minutes in (0, 14, 15, 60)]

    assert readings == [30.0, 30.0, 31.5, 31.5]


async def test_a_replayed_value_holds_now_and_names_the_time_of_its_row(tmp_path: Path) -> None:
    now = NOON + timedelta(minutes=7)

    reading = await _play(tmp_path).read(now)

    assert (reading.timestamp, reading.source_time, reading.source) == (now, NOON, "replay")


async def test_before_the_first_row_the_beginning_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceExhaustedError, match="begins at 2012-06-21T12:00:00Z, after 2012-06-21T11:59:59Z"):
        await _play(tmp_path).read(NOON - timedelta(seconds=1))


async def test_the_end_is_said_and_nothing_invented(tmp_path: Path) -> None:
    last = NOON + timedelta(minutes=15)
    replay = _play(tmp_path)

    assert (await replay.read(last + timedelta(hours=1))).generation_kw == 31.5
    with pytest.raises(SourceExhaustedError, match=r"is over.* 2012-06-21T12:15:00Z and a row holds 3600 s at most"):
        await replay.read(last + timedelta(hours=1, seconds=1))


async def test_a_gap_is_said_with_its_end(tmp_path: Path) -> None:
    replay = _play(tmp_path, max_gap_s=60)

    with pytest.raises(SourceExhaustedError, match="has a gap until 2012-06-21T12:15:00Z"):
        await replay.read(NOON + timedelta(minutes=2))
    assert (await replay.read(NOON + timedelta(minutes=15))).generation_kw == 31.5


async def test_an_old_recording_is_played_later_by_a_shift_and_keeps_its_own_time(tmp_path: Path) -> None:
    replay = _play(tmp_path, shift_s=86_400)

    reading = await replay.read(NOON + timedelta(days=1))

    assert (reading.timestamp, reading.source_time) == (NOON + timedelta(days=1), NOON)
    with pytest.raises(SourceUnavailableError):
        await replay.read(NOON)


def test_offsets_are_understood_and_answered_in_utc(tmp_path: Path) -> None:
    (row,) = _read(tmp_path, f"{HEADER}\n2012-06-21T14:00:00+02:00,30,50\n")

    assert row.timestamp == NOON
    assert row.timestamp.utcoffset() == timedelta(0)


def test_an_empty_cell_leaves_an_optional_field_out(tmp_path: Path) -> None:
    text = f"{HEADER},poa_global_w_m2\n2012-06-21T12:00:00Z,30,50,\n2012-06-21T12:15:00Z,30,50,700\n"

    assert [row.poa_global_w_m2 for row in _read(tmp_path, text)] == [None, 700.0]


def test_flags_are_read_as_words(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text("timestamp,load_percent,load_kw,limit_kw,includes_charging\n2012-06-21T12:00:00Z,40,40,100,false\n")

    (row,) = read_recording(file, GridLoad, site_id="greensboro", check=_nothing_is_implausible)

    assert row.includes_charging is False


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    assert len(_read(tmp_path, "\ufeff" + GOOD.replace("\n", "\r\n"))) == 2


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("2012-06-21T12:30:00Z,nan,50", "line 4: generation_kw: Input should be a finite number"),
        ("2012-06-21T12:30:00Z,inf,50", "line 4: generation_kw: Input should be a finite number"),
        ("2012-06-21T12:30:00Z,-Infinity,50", "line 4: generation_kw"),
        ("2012-06-21T12:30:00Z,-0.1,50", "line 4: generation_kw: Input should be greater than or equal to 0"),
        ("2012-06-21T12:30:00Z,sunny,50", "line 4: generation_kw: Input should be a valid number"),
        ('2012-06-21T12:30:00Z,"4,5",50', "line 4: generation_kw: Input should be a valid number"),
        ("2012-06-21T12:30:00Z,,50", "line 4: generation_kw: Field required"),
        ("2012-06-21T12:30:00Z,30,0", "line 4: capacity_kwp: Input should be greater than 0"),
        ("2012-06-21T12:30:00Z,30", "line 4: it has not as many cells"),
        ("2012-06-21T12:30:00Z,30,50,9", "line 4: it has not as many cells"),
        ("2012-06-21T12:30:00,30,50", "line 4: timestamp '2012-06-21T12:30:00' has no offset"),
        ("1340281800,30,50", "line 4: timestamp '1340281800' "),
        ("tomorrow,30,50", "line 4: timestamp 'tomorrow' is not ISO 8601"),
        (",30,50", "line 4: timestamp '' is not ISO 8601"),
        ("2012-06-21T12:15:00Z,30,50", "line 4: 2012-06-21T12:15:00Z does not come after the row before it"),
        ("2012-06-21T11:00:00Z,30,50", "line 4: 2012-06-21T11:00:00Z does not come after the row before it"),
    ],
)
def test_a_bad_row_is_refused_with_line_and_reason(tmp_path: Path, cells: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _read(tmp_path, f"{GOOD}{cells}\n")

    assert reason in refused.value.message


def test_an_implausible_row_is_refused_with_the_reason_of_its_service(tmp_path: Path) -> None:
    file = tmp_path / "solar.csv"
    file.write_text(GOOD)

    with pytest.raises(ConfigurationError, match=r"line 2: too much; line 3: too much"):
        read_recording(file, SolarStatus, site_id="greensboro", check=lambda _: "too much")


def test_ten_bad_rows_are_told_and_the_others_counted(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _read(tmp_path, HEADER + "\nyesterday,1,1" * 13)

    assert refused.value.message.count("not ISO 8601") == 10
    assert "line 11" in refused.value.message
    assert refused.value.message.endswith("and 3 more")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (HEADER, "has no rows"),
        ("\n\n", "is empty"),
        ("timestamp,generation_kw\n", "has no column capacity_kwp"),
        ("generation_kw,capacity_kwp\n", "has no column timestamp"),
        (f"{HEADER},capacity_kwp\n", "names a column twice: capacity_kwp"),
        ('timestamp,generation_kw,capacity_kwp\n"2012', "cannot be read"),
        (f"{HEADER}\n\x00", "line 2"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        _read(tmp_path, text)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.csv cannot be read"):
        read_recording(tmp_path / "absent.csv", SolarStatus, site_id="x", check=_nothing_is_implausible)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "solar.csv"
    file.write_bytes(b"\xff\xfe\x00t")

    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_recording(file, SolarStatus, site_id="x", check=_nothing_is_implausible)


def test_columns_that_nobody_knows_are_not_played_and_this_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = _read(tmp_path, f"{HEADER},mood\n2012-06-21T12:00:00Z,30,50,fine\n")

    assert rows[0].generation_kw == 30.0
    assert [record.message for record in caplog.records] == ["columns of the recording are not played"]


@given(
    offsets_s=st.lists(st.integers(1, 5000), min_size=1, max_size=20),
    asked_s=st.integers(-2000, 120_000),
    gap_s=st.integers(1, 4000),
)
async def test_what_is_answered_is_the_newest_row_not_older_than_the_gap(
    offsets_s: list[int], asked_s: int, gap_s: int
) -> None:
    times = [NOON + timedelta(seconds=sum(offsets_s[: index + 1])) for index in range(len(offsets_s))]
    now = NOON + timedelta(seconds=asked_s)
    rows = [
        SolarStatus(site_id="x", source="replay", timestamp=time, generation_kw=index, capacity_kwp=50.0)
        for index, time in enumerate(times)
    ]
    holding = [index for index, time in enumerate(times) if time <= now]
    replay = Replay(rows, max_gap_s=gap_s)

    if holding and now - times[holding[-1]] <= timedelta(seconds=gap_s):
        assert (await replay.read(now)).generation_kw == holding[-1]
    else:
        with pytest.raises(SourceExhaustedError):
            await replay.read(now)


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_a_last_line_that_is_cut_is_not_accepted_whatever_is_left_of_its_number(tmp_path: Path, cut: int) -> None:
    with pytest.raises(ConfigurationError, match=r"line 3: (it has no line end|it has not as many|capacity_kwp)"):
        _read(tmp_path, GOOD[:-cut])


async def test_rows_that_are_appended_later_are_played_once_they_are_whole(tmp_path: Path) -> None:
    replay, file = _play(tmp_path), tmp_path / "solar.csv"
    now = NOON + timedelta(minutes=31)
    seen: list[float] = []

    for text in ("2012-06-21T12:30:00Z,3", "2.5,50\n2012-", "06-21T12:31:00Z,33,50\n"):
        with file.open("a") as recording:
            recording.write(text)
        seen.append((await replay.read(now)).generation_kw)
        assert await replay.health_error(now) is None

    assert seen == [31.5, 32.5, 33.0]


async def test_an_appended_row_that_is_wrong_is_told_and_holds_up_what_follows_until_it_is_mended(
    tmp_path: Path,
) -> None:
    replay, file = _play(tmp_path), tmp_path / "solar.csv"
    now = NOON + timedelta(minutes=31)
    more = "2012-06-21T12:30:00Z,sunny,50\n2012-06-21T12:31:00Z,33,50\n"

    file.write_text(GOOD + more)
    before, told = (await replay.read(now)).generation_kw, await replay.health_error(now)
    file.write_text(GOOD + more.replace("sunny", "32"))

    assert (before, (await replay.read(now)).generation_kw, await replay.health_error(now)) == (31.5, 33.0, None)
    assert told is not None
    assert "line 4: generation_kw: Input should be a valid number" in told


async def test_a_recording_that_is_shorter_than_it_was_is_told(tmp_path: Path) -> None:
    replay, file = _play(tmp_path), tmp_path / "solar.csv"
    file.write_text(HEADER + "\n")

    with pytest.raises(SourceUnavailableError, match="no longer holds"):
        await replay.read(NOON)
    assert "is shorter than it was" in str(await replay.health_error(NOON))


async def test_several_currents_in_one_cell_are_played_and_judged(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    header = "timestamp,load_percent,load_kw,limit_kw,current_a\n"
    file.write_text(f"{header}2012-06-21T12:00:00Z,40,40,100,58 58 58.5\n2012-06-21T12:15:00Z,40,40,100,\n")

    rows = read_recording(file, GridLoad, site_id="greensboro", check=_nothing_is_implausible)

    assert [row.current_a for row in rows] == [(58.0, 58.0, 58.5), None]
    file.write_text(f"{header}2012-06-21T12:00:00Z,40,40,100,58 58 58 58\n")
    with pytest.raises(ConfigurationError, match=r"line 2: .*at most 3"):
        read_recording(file, GridLoad, site_id="greensboro", check=_nothing_is_implausible)


@pytest.mark.parametrize("cell", ["58 1_ 3", "58 nan 3", "58 x 3", "1e999 1 1"])
def test_a_current_that_is_no_number_is_refused_by_name(tmp_path: Path, cell: str) -> None:
    file = tmp_path / "grid.csv"
    file.write_text(f"timestamp,load_percent,load_kw,limit_kw,current_a\n2012-06-21T12:00:00Z,40,40,100,{cell}\n")

    with pytest.raises(ConfigurationError, match=r"line 2: current_a"):
        read_recording(file, GridLoad, site_id="greensboro", check=_nothing_is_implausible)


@pytest.mark.parametrize("odd", ['2012-06-21T13:01:00Z,"33",50\n', "\n", "\r\n"])
def test_rows_behind_a_quoted_or_an_empty_line_are_read_from_where_they_stand(tmp_path: Path, odd: str) -> None:
    rows = _read(tmp_path, f"{GOOD}2012-06-21T13:00:00Z,33,50\n{odd}2012-06-21T14:00:00Z,34,50\n")

    assert [row.generation_kw for row in rows if row.generation_kw != 33.0] == [30.0, 31.5, 34.0]
    assert [row.timestamp.hour for row in rows][-1] == 14


def test_a_long_recording_stays_in_its_file(tmp_path: Path) -> None:
    count = 20_000
    lines = (f"{(NOON + timedelta(minutes=index)).isoformat()},{index % 50},50\n" for index in range(count))
    text = f"{HEADER}\n{''.join(lines)}"
    _read(tmp_path, GOOD)

    tracemalloc.start()
    try:
        rows = _read(tmp_path, text)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # A year of minutes is 26 times as many: 25 MB at the most, and 4 MB in fact.
    assert held < 1_000_000
    assert (len(rows), rows[count - 1].generation_kw) == (count, (count - 1) % 50)
