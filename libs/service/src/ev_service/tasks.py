"""Background tasks: run one for a block or for all who wait, cancel tasks reliably, wait between attempts."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")

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


class SingleFlight(Generic[T]):
    """Runs `work` once for all who ask while it runs; everyone gets its result or its error.

    A caller that is cancelled leaves the work to the others.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._flight: asyncio.Task[T] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the work runs now."""
        return self._flight is not None and not self._flight.done()

    def start(self) -> "asyncio.Task[T]":
        """Start the work, or join the one that runs."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._work())
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


@dataclass
class Backoff:
    """Delays that double after each failure and are spread at random.

    The spread keeps clients that lost one server at the same moment from coming back at the same moment
    (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
    """

    first_s: float
    """Longest delay after the first failure [s]."""

    longest_s: float
    """Upper bound of all delays [s]."""

    spread: tuple[float, float] = (0.5, 1.0)
    """Each delay is multiplied by a random number between these two."""

    _next_s: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._next_s = self.first_s

    def next_s(self) -> float:
        """Return the delay after one more failure [s].

        >>> backoff = Backoff(first_s=1.0, longest_s=5.0, spread=(1.0, 1.0))
        >>> [backoff.next_s() for _ in range(4)]
        [1.0, 2.0, 4.0, 5.0]
        """
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, self.longest_s)
        return delay_s * random.uniform(*self.spread)  # noqa: S311 - spreads load, hides nothing

    def reset(self) -> None:
        """Begin with the first delay again, after a success."""
        self._next_s = self.first_s
