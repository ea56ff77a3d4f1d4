"""Background tasks: run one for the duration of a block, and cancel tasks reliably."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

# Must exceed the longest graceful shutdown, which starts at the first cancel().
_AGAIN_S = 2.0


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever their result; finished tasks are left as they are.

    A task that keeps running is cancelled again: Python before 3.12 loses a cancellation that coincides with a result
    (`asyncio.wait_for`, by which pymodbus, aiomqtt and ocpp wait), and a service would then never stop.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_AGAIN_S)
    for task in tasks:
        # asyncio logs an exception that is never retrieved.
        _ = task.cancelled() or task.exception()


@asynccontextmanager
async def run_in_background(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run work as a task for as long as the block lasts, and wait for its end.

    An error with which it ended is raised when the block is left.
    """
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await cancel_and_wait(task)
        if not task.cancelled():
            task.result()
