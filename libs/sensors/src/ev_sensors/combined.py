"""Several sources of one role as one, each with an age of its own."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import TypeVar

from prometheus_client.registry import Collector

from ev_service.sources import Source
from ev_service.tasks import cancel_and_wait
from ev_service.telemetry import Reading

R = TypeVar("R", bound=Reading)


class CombinedSource(Source[R]):
    """What several sources make up; one that has nothing to give makes the whole unknown."""

    def __init__(
        self, sources: Sequence[Source[R]], combine: Callable[[Sequence[R]], R], counted: Iterable[Collector]
    ) -> None:
        """Combine sources.

        Args:
            sources: at least one.
            combine: their readings as one.
            counted: what they count together.
        """
        self._sources, self._combine, self._counted = sources, combine, counted

    def metrics(self) -> Iterable[Collector]:
        """What the sources count together."""
        return self._counted

    async def read(self, now: datetime) -> R:
        """The newest values that count, as one.

        Raises:
            SourceUnavailableError: a source has none.
        """
        return self._combine([await source.read(now) for source in self._sources])

    async def health_error(self, now: datetime) -> str | None:
        """What is wrong with each source that has trouble."""
        reasons = [await source.health_error(now) for source in self._sources]
        return "; ".join(reason for reason in reasons if reason is not None) or None

    async def wait_for_update(self) -> None:
        """Wait for the next value of any source."""
        waiting = [asyncio.ensure_future(source.wait_for_update()) for source in self._sources]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(*waiting)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep what each source needs."""
        async with AsyncExitStack() as stack:
            for source in self._sources:
                await stack.enter_async_context(source.running())
            yield
