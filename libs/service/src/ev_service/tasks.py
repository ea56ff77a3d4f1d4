"""Tasks that live beside something else, and end with it."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

# Longer than any goodbye, which the first cancellation is the beginning of.
_AGAIN_S = 2.0


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are over, however they end; those that are over already are left as they are.

    One that goes on is cancelled again: Python before 3.12 loses a cancellation that comes together with an answer
    (`asyncio.wait_for`, by which pymodbus, aiomqtt and ocpp wait), and a service would then never stop.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_AGAIN_S)
    for task in tasks:
        # An error that nobody looks at would be reported as forgotten.
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
