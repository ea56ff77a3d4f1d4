"""One piece of work for all who ask at the same time."""

import asyncio

import pytest

from ev_service.tasks import SingleFlight

pytestmark = pytest.mark.anyio


class Work:
    """Counts its runs; each ends when the test lets it."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.runs += 1
        number = self.runs
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return number


async def test_everyone_who_asks_meanwhile_gets_the_same_result() -> None:
    work = Work()
    flight = SingleFlight(work)
    waiting = [asyncio.create_task(flight.join()) for _ in range(100)]
    await asyncio.sleep(0)

    work.may_end.set()

    assert await asyncio.gather(*waiting) == [1] * 100
    assert work.runs == 1


async def test_everyone_who_asks_meanwhile_gets_the_same_error() -> None:
    work = Work()
    work.error = RuntimeError("no")
    flight = SingleFlight(work)
    waiting = [asyncio.create_task(flight.join()) for _ in range(3)]
    await asyncio.sleep(0)

    work.may_end.set()

    assert [str(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == ["no"] * 3
    assert work.runs == 1


async def test_who_asks_afterwards_gets_a_run_of_its_own() -> None:
    work = Work()
    work.may_end.set()
    flight = SingleFlight(work)

    assert [await flight.join(), await flight.join()] == [1, 2]


async def test_a_caller_that_gives_up_leaves_the_work_to_the_others() -> None:
    work = Work()
    flight = SingleFlight(work)
    impatient, patient = asyncio.create_task(flight.join()), asyncio.create_task(flight.join())
    await asyncio.sleep(0)

    impatient.cancel()
    await asyncio.sleep(0)
    work.may_end.set()

    assert await patient == 1
    assert impatient.cancelled()


async def test_the_error_of_a_background_run_that_nobody_waited_for_is_no_warning() -> None:
    work = Work()
    work.error = RuntimeError("no")
    work.may_end.set()
    flight = SingleFlight(work)

    await asyncio.wait([flight.start()])

    assert not flight.is_running


async def test_stopping_ends_the_work() -> None:
    flight = SingleFlight(Work())
    flight.start()

    await flight.stop()

    assert not flight.is_running


async def test_stopping_what_never_started_does_nothing() -> None:
    flight = SingleFlight(Work())

    await flight.stop()

    assert not flight.is_running
