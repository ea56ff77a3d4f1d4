"""Runs one piece of work at a time, however many callers wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ev_service.tasks import cancel_and_wait

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs `work` once for all who ask while it runs; everyone gets its result or its error.

    A caller that is cancelled leaves the work to the others.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._flight: asyncio.Task[T] | None = None

    @property
    def is_running(self) -> bool:
        return self._flight is not None and not self._flight.done()

    def start(self) -> "asyncio.Task[T]":
        """Start the work, or join the one that runs."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.ensure_future(self._run())
            # Nobody may be waiting for a background run; its error is then the next caller's to find anew.
            self._flight.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._flight

    async def join(self) -> T:
        """Start or join the work and wait for its result."""
        return await asyncio.shield(self.start())

    async def stop(self) -> None:
        """Cancel the work and wait until it is gone."""
        if self._flight is not None:
            await cancel_and_wait(self._flight)

    async def _run(self) -> T:
        return await self._work()
