"""The run's clock: real, stepped, or described by a file."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from ev_service.clock import FollowedClock, SteppedClock, SystemClock, make_clock, sleep_until, write_clock_file
from ev_service.errors import ConfigurationError

REAL = datetime(2026, 11, 23, 10, tzinfo=UTC)
JUNE = datetime(2026, 6, 21, 4, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "clock.json"


def describe(file: Path, **changes: object) -> None:
    content = {"real_at": REAL.isoformat(), "sim_at": JUNE.isoformat(), "speed": 1} | changes
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(file)


def test_without_a_file_the_clock_is_real_utc() -> None:
    with time_machine.travel(REAL, tick=False):
        assert make_clock(None).now() == REAL


def test_a_followed_clock_runs_from_the_moment_in_the_file(file: Path) -> None:
    describe(file)
    with time_machine.travel(REAL, tick=False) as real:
        clock = make_clock(file)
        assert clock.now() == JUNE

        real.shift(90)

        assert clock.now() == JUNE + timedelta(seconds=90)


def test_a_followed_clock_runs_at_the_files_speed(file: Path) -> None:
    describe(file, speed=60)
    with time_machine.travel(REAL, tick=False) as real:
        clock = FollowedClock(file)
        real.shift(10)

        assert clock.now() == JUNE + timedelta(minutes=10)


def test_a_followed_clock_jumps_when_the_file_is_replaced(file: Path) -> None:
    describe(file)
    with time_machine.travel(REAL, tick=False):
        clock = FollowedClock(file)

        write_clock_file(file, JUNE + timedelta(hours=3))

        assert clock.now() == JUNE + timedelta(hours=3)
    assert [path.name for path in file.parent.iterdir()] == ["clock.json"]


def test_a_followed_clock_never_goes_back(file: Path) -> None:
    describe(file)
    with time_machine.travel(REAL, tick=False) as real:
        clock = FollowedClock(file)
        assert clock.now() == JUNE

        write_clock_file(file, JUNE - timedelta(days=1))
        assert clock.now() == JUNE
        real.shift(-3600)
        assert clock.now() == JUNE


@given(moves=st.lists(st.tuples(st.integers(-10_000, 10_000), st.integers(-10_000, 10_000)), max_size=8))
def test_no_series_of_files_and_real_times_turns_a_followed_clock_back(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, int]]
) -> None:
    file = tmp_path_factory.mktemp("clock") / "clock.json"
    with time_machine.travel(REAL, tick=False) as real:
        write_clock_file(file, JUNE)
        clock = FollowedClock(file)
        told = [clock.now()]
        for sim_shift_s, real_shift_s in moves:
            real.shift(real_shift_s)
            write_clock_file(file, JUNE + timedelta(seconds=sim_shift_s))
            told.append(clock.now())

    assert told == sorted(told)


BAD = [
    "",
    "{",
    "[]",
    "null",
    '{"real_at": "2026-11-23T10:00:00Z", "sim_at": "2026-06-21T04:00:00Z"}',
    '{"real_at": "2026-11-23T10:00:00Z", "sim_at": "noon", "speed": 1}',
    '{"real_at": "2026-11-23T10:00:00Z", "sim_at": "2026-06-21T04:00:00", "speed": 1}',
    '{"real_at": 0, "sim_at": 0, "speed": 1}',
    '{"real_at": "2026-11-23T10:00:00Z", "sim_at": "2027-06-21T04:00:00Z", "speed": NaN}',
    '{"real_at": "2026-11-23T10:00:00Z", "sim_at": "2027-06-21T04:00:00Z", "speed": Infinity}',
    '{"real_at": "2026-11-23T10:00:00Z", "sim_at": "2027-06-21T04:00:00Z", "speed": -1}',
    '{"real_at": "2026-11-23T10:00:00Z", "sim_at": "2027-06-21T04:00:00Z", "speed": "fast"}',
]


@pytest.mark.parametrize("content", BAD)
def test_a_bad_file_is_refused_at_start(file: Path, content: str) -> None:
    file.write_text(content, encoding="utf-8")

    with pytest.raises(ConfigurationError, match="SIM_CLOCK_FILE"):
        make_clock(file)


@pytest.mark.parametrize("content", BAD)
def test_a_file_that_turns_bad_leaves_the_clock_running_as_before(file: Path, content: str) -> None:
    describe(file)
    with time_machine.travel(REAL, tick=False) as real:
        clock = FollowedClock(file)
        file.write_text(content, encoding="utf-8")
        real.shift(5)

        assert clock.now() == JUNE + timedelta(seconds=5)


def test_a_missing_file_is_refused_at_start_and_borne_later(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="SIM_CLOCK_FILE"):
        make_clock(file)
    describe(file)
    with time_machine.travel(REAL, tick=False):
        clock = make_clock(file)
        file.unlink()

        assert clock.now() == JUNE


def test_a_stepped_clock_refuses_to_go_back() -> None:
    clock = SteppedClock(JUNE)

    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(-1)


@pytest.mark.anyio
async def test_a_sleeper_wakes_when_the_clock_jumps_past_its_moment() -> None:
    clock = SteppedClock(JUNE)
    sleeping = asyncio.create_task(sleep_until(clock, JUNE + timedelta(hours=1)))
    await asyncio.sleep(0.02)
    assert not sleeping.done()

    clock.advance(3600)

    async with asyncio.timeout(2):
        await sleeping


@pytest.mark.anyio
async def test_a_sleeper_whose_moment_has_passed_does_not_sleep() -> None:
    async with asyncio.timeout(0.2):
        await sleep_until(SystemClock(), datetime.now(UTC) - timedelta(hours=1))


class SetBackClock(SteppedClock):
    """A system clock that someone sets."""

    def set_back(self, seconds: float) -> None:
        self._now -= timedelta(seconds=seconds)


@pytest.mark.anyio
async def test_a_sleeper_wakes_when_the_systems_clock_is_set_back() -> None:
    clock = SetBackClock(JUNE)
    sleeping = asyncio.create_task(sleep_until(clock, JUNE + timedelta(seconds=15)))
    await asyncio.sleep(0.02)

    clock.set_back(3600)

    async with asyncio.timeout(2):
        await sleeping
