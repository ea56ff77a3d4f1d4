"""Tasks that live beside something else, and end with it."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it is over; one that is over already is left as it is."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run work as a task for as long as the block lasts, and wait for its end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await ended(task)
