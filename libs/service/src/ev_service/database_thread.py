"""A thread for calls to a database, so that a slow disk or server delays neither the event loop nor a caller."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class DatabaseLateError(Exception):
    """A call takes longer than it may, or an earlier one still does; whether it will succeed is not known."""


class DatabaseThread:
    """Executes calls one after the other.

    Args:
        name: name of the thread.
        longest_s: how long a caller waits for its call [s, real time].
    """

    def __init__(self, name: str, longest_s: float) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._longest_s = longest_s
        self._late: asyncio.Future[Any] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an earlier call took too long and still runs."""
        return self._late is not None and not self._late.done()

    async def run(self, work: Callable[[], T]) -> T:
        """Execute a call and return its result.

        Raises:
            DatabaseLateError: it takes too long and goes on alone, or an earlier one does and it was not begun.
        """
        if self.is_busy:
            raise DatabaseLateError
        call = asyncio.get_running_loop().run_in_executor(self._executor, work)
        await asyncio.wait({call}, timeout=self._longest_s)
        if not call.done():
            self._late = call
            call.add_done_callback(_retrieve_error)
            raise DatabaseLateError
        return call.result()

    def close(self) -> None:
        """Finish the calls that were begun."""
        self._executor.shutdown()


def _retrieve_error(call: asyncio.Future[Any]) -> None:
    # asyncio would report that nobody asked for it.
    if not call.cancelled():
        call.exception()
