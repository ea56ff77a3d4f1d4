"""The run's clock: real, stepped, or described by a file."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from ev_service.clock import (
    FollowedClock,
    SteppedClock,
    SystemClock,
    make_clock,
    read_clock,
    sleep_until,
    sleep_until_s,
    write_clock_file,
)
from ev_service.errors import ConfigurationError
from ev_service.lifetimes import EarlierEnd, Instant, LaterEnd

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


class CountingClock(SteppedClock):
    """Counts how often a sleeper looks at it."""

    looks = 0

    def monotonic_s(self) -> float:
        self.looks += 1
        return super().monotonic_s()


@pytest.mark.anyio
@pytest.mark.parametrize("by", [timedelta(hours=-1), timedelta(seconds=-14)])
async def test_a_clock_set_back_neither_prolongs_a_sleep_nor_ends_it_early(by: timedelta) -> None:
    clock = CountingClock(JUNE)
    sleeping = asyncio.create_task(sleep_until(clock, JUNE + timedelta(seconds=15)))
    await asyncio.sleep(0.02)

    clock.set_wall(clock.now() + by)
    clock.advance(14.9)
    clock.looks = 0
    await asyncio.sleep(0.05)
    assert not sleeping.done()
    assert clock.looks < 20

    clock.advance(0.1)
    async with asyncio.timeout(2):
        await sleeping


@pytest.mark.anyio
async def test_a_sleeper_notices_a_clock_that_is_set_forward() -> None:
    clock = SteppedClock(JUNE)
    sleeping = asyncio.create_task(sleep_until(clock, JUNE + timedelta(hours=1)))
    await asyncio.sleep(0.02)

    clock.set_wall(JUNE + timedelta(hours=1))

    async with asyncio.timeout(2):
        await sleeping
    assert SystemClock.longest_sleep_s <= 5


@pytest.mark.anyio
async def test_a_loop_sleeps_by_monotonic_time_alone() -> None:
    clock = SteppedClock(JUNE)
    sleeping = asyncio.create_task(sleep_until_s(clock, clock.monotonic_s() + 15))
    for hours in (-1, 2):
        clock.set_wall(JUNE + timedelta(hours=hours))
        await asyncio.sleep(0.02)
        assert not sleeping.done()

    clock.advance(15)

    async with asyncio.timeout(2):
        await sleeping


def test_the_systems_monotonic_reading_does_not_follow_its_wall_clock() -> None:
    wall = [JUNE]
    clock = SystemClock(wall=lambda: wall[0], monotonic=lambda: 7.0)
    wall[0] -= timedelta(hours=1)

    assert read_clock(clock) == Instant(JUNE - timedelta(hours=1), 7.0)


def test_under_a_clock_file_the_runs_clock_alone_counts(file: Path) -> None:
    describe(file)
    with time_machine.travel(REAL, tick=False):
        clock = FollowedClock(file)
        limit, stop = EarlierEnd.lasting(read_clock(clock), 60), LaterEnd.lasting(read_clock(clock), 60)
        write_clock_file(file, JUNE + timedelta(seconds=59))
        assert not limit.has_ended(read_clock(clock))
        write_clock_file(file, JUNE + timedelta(seconds=60))
        assert limit.has_ended(read_clock(clock))
        assert stop.has_ended(read_clock(clock))


@given(
    lasts_s=st.integers(1, 100_000),
    steps=st.lists(st.tuples(st.integers(0, 50_000), st.integers(-90_000, 90_000)), max_size=6),
)
def test_whatever_sets_the_clock_a_limit_ends_no_later_and_a_stop_no_earlier(
    lasts_s: int, steps: list[tuple[int, int]]
) -> None:
    clock, passed_s = SteppedClock(JUNE), 0
    limit, stop = EarlierEnd.lasting(read_clock(clock), lasts_s), LaterEnd.lasting(read_clock(clock), lasts_s)
    for step_s, set_by_s in steps:
        clock.advance(step_s)
        clock.set_wall(clock.now() + timedelta(seconds=set_by_s))
        passed_s += step_s
        now = read_clock(clock)
        assert limit.has_ended(now) or (passed_s < lasts_s and now.wall < limit.ends_at)
        assert not stop.has_ended(now) or (passed_s >= lasts_s and now.wall >= stop.ends_at)
        assert limit.remaining_s(now) <= stop.remaining_s(now)


@pytest.mark.parametrize("set_by", [timedelta(0), timedelta(hours=-2), timedelta(hours=2)])
def test_after_a_restart_at_most_the_remaining_time_counts(set_by: timedelta) -> None:
    later = Instant(JUNE + set_by, 3.0)
    written = JUNE + timedelta(seconds=60)

    assert EarlierEnd.restore(later, written, 60).remaining_s(later) == min(60, 60 - set_by.total_seconds())
    assert LaterEnd.restore(later, written, 60).remaining_s(later) == 60


def test_an_end_is_shown_as_ordered_unless_the_clock_was_set() -> None:
    clock = SteppedClock(JUNE)
    limit, stop = EarlierEnd.lasting(read_clock(clock), 60), LaterEnd.lasting(read_clock(clock), 60)
    clock.advance(10)
    assert limit.expected_end(read_clock(clock)) == stop.expected_end(read_clock(clock)) == JUNE + timedelta(seconds=60)

    clock.set_wall(JUNE - timedelta(hours=1))
    assert limit.expected_end(read_clock(clock)) == JUNE - timedelta(hours=1) + timedelta(seconds=50)
    assert stop.expected_end(read_clock(clock)) == JUNE + timedelta(seconds=60)
