"""What lives beside something else ends with it, also where its cancellation was lost on the way."""

import asyncio

import pytest

from ev_service import tasks
from ev_service.tasks import cancel_and_wait, run_in_background

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_AGAIN_S", 0.01)


async def keeps_to_itself(times: int) -> None:
    """Goes on after so many cancellations, as one that comes together with an answer may be lost."""
    for _ in range(times):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue
    await asyncio.sleep(60)


async def fails() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("lost", [0, 1, 3])
async def test_a_task_that_loses_its_cancellation_is_cancelled_again(lost: int) -> None:
    lost_by_some = [asyncio.create_task(keeps_to_itself(lost)), asyncio.create_task(asyncio.sleep(60))]
    await asyncio.sleep(0)

    await cancel_and_wait(*lost_by_some)

    assert [task.cancelled() for task in lost_by_some] == [True, True]


async def test_what_is_over_already_stays_as_it_ended() -> None:
    done = asyncio.create_task(asyncio.sleep(0, "an answer"))
    await done

    await cancel_and_wait(done)

    assert done.result() == "an answer"


async def test_an_error_is_left_to_whoever_asks_for_it() -> None:
    failed = asyncio.create_task(fails())
    await asyncio.sleep(0)

    await cancel_and_wait(failed)

    with pytest.raises(ZeroDivisionError):
        failed.result()


async def test_whoever_waits_for_an_end_can_be_cancelled() -> None:
    stubborn = asyncio.create_task(keeps_to_itself(20))
    waiting = asyncio.create_task(cancel_and_wait(stubborn))
    await asyncio.sleep(0.02)

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not stubborn.done()
    await cancel_and_wait(stubborn)


async def test_work_beside_a_block_ends_with_it_and_its_error_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        async with run_in_background(fails()):
            await asyncio.sleep(0.01)


async def test_a_modbus_like_wait_that_loses_its_cancellation_does_not_hold_up_the_end() -> None:
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def asks_on_and_on() -> None:
        while True:
            await asyncio.wait_for(asyncio.shield(answer), 60)
            await asyncio.sleep(0)

    async with run_in_background(asks_on_and_on()):
        await asyncio.sleep(0.01)
        # The answer comes in the very turn in which the block is left.
        answer.set_result(None)
