"""Where the market's prices come from: a file or the broker; the web is in `http_feed`.

A feed keeps the newest prices that could be used: what was published for an hour still holds when its source fails.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import aiomqtt

from ev_sensors.broker import Broker, demand_granted, describe_error
from ev_service.clock import Clock
from ev_service.files import WatchedFile
from ev_service.tasks import Backoff, run_in_background
from grid_service.prices.table import PriceFormatError, PriceTable

MAX_BYTES = 2 << 20
"""Longest answer or message [bytes]; a year of quarter hours in our JSON has as much."""

KEPT = timedelta(days=1)
"""How long past prices are kept."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0

Parse = Callable[[bytes], PriceTable]
"""Parses the content of a file, message or answer; raises PriceFormatError."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeedState:
    """What a feed gives now."""

    table: PriceTable | None = None
    """The newest prices that could be used; None: there are none yet."""

    fetched_at: datetime | None = None
    """When they came, UTC."""

    error: str | None = None
    """What keeps newer ones from coming, in one sentence; None: nothing."""


class PriceFeed(Protocol):
    """One source of the market's prices."""

    def read(self) -> FeedState:
        """Return what is known now; never waits."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keep what the feed needs, from start-up to shutdown; never fails and never waits for the other side."""
        ...


class FileFeed:
    """Prices in a file that is read again when it is replaced; what it holds then counts alone.

    Args:
        path: the file; it may come later.
        parse: of its content.
        name: the variable that names it, for messages.
        clock: the run's clock.
    """

    def __init__(self, path: Path, parse: Parse, name: str, clock: Clock) -> None:
        self._path, self._parse, self._name, self._clock = path, parse, name, clock
        self._file: WatchedFile[FeedState] | None = None
        # A long file is read before the service answers.
        self.read()

    def read(self) -> FeedState:
        """Return what the file holds now, or held last."""
        try:
            self._file = self._file or WatchedFile(self._path, self._load, self._name)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return FeedState(error=f"{self._name} cannot be used: {reason}")
        state, error = self._file.read(), self._file.read_error()
        return state if error is None else FeedState(state.table, state.fetched_at, error)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Nothing has to be kept."""
        return nullcontext()

    def _load(self, content: bytes) -> FeedState:
        return FeedState(self._parse(content), self._clock.now())


class PriceStore:
    """The newest prices of a feed that gets them piece by piece, day by day."""

    def __init__(self, parse: Parse, clock: Clock, waits_for: str) -> None:
        """Start without prices.

        Args:
            parse: of each piece.
            clock: the run's clock.
            waits_for: why there are none yet, in one sentence.
        """
        self._parse, self._clock = parse, clock
        self.state = FeedState(error=waits_for)

    def accept(self, content: bytes) -> None:
        """Put a piece in the place of what it overlaps; one that cannot be used changes nothing but the error."""
        now, table = self._clock.now(), self.state.table
        try:
            newer = self._parse(content)
            self.state = FeedState(newer if table is None else table.updated_by(newer, now - KEPT), now)
        except PriceFormatError as error:
            self.report(f"the prices that came cannot be used: {error}")

    def report(self, error: str | None) -> None:
        """Note what keeps newer prices from coming; None: nothing."""
        if error is not None and error != self.state.error:
            _logger.warning("no new prices", extra={"reason": error})
        self.state = FeedState(self.state.table, self.state.fetched_at, error)


class MqttFeed:
    """Prices on a topic of the broker; the publisher retains its message, so that a start finds it.

    Args:
        broker: where.
        topic: the topic.
        parse: of each message.
        clock: the run's clock.
        first_pause_s: longest pause after the first lost connection [s]; it doubles.
    """

    def __init__(
        self, broker: Broker, topic: str, parse: Parse, clock: Clock, *, first_pause_s: float = _FIRST_PAUSE_S
    ) -> None:
        self._broker, self._topic, self._first_pause_s = broker, topic, first_pause_s
        self._store = PriceStore(parse, clock, f"no message on {topic} yet")
        self._identifier = f"ev-grid-prices-{uuid4().hex[:12]}"
        self._is_stopping = False

    def read(self) -> FeedState:
        """Return the newest prices that came."""
        return self._store.state

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Listen, and come back to the broker when it is lost."""
        async with run_in_background(self._run()):
            try:
                yield
            finally:
                self._is_stopping = True

    async def _run(self) -> None:
        backoff = Backoff(self._first_pause_s, _LONGEST_PAUSE_S)
        while True:
            try:
                await self._listen(backoff)
            except aiomqtt.MqttError as error:
                self._store.report(describe_error(error))
            except Exception:
                # Whatever breaks a session must not end the listening for good.
                _logger.exception("session with the broker failed")
                self._store.report("the session with the broker failed; the service's log has the reason")
            if self._is_stopping:
                # aiomqtt raised an error of its own in place of the cancellation.
                return
            await asyncio.sleep(backoff.next_s())

    async def _listen(self, backoff: Backoff) -> None:
        async with self._broker.client(self._identifier, None, asyncio.Queue) as client:
            demand_granted(await client.subscribe(self._topic, 1))
            backoff.reset()
            self._store.report(None if self._store.state.table is not None else f"no message on {self._topic} yet")
            async for message in client.messages:
                payload = message.payload
                if len(payload) > MAX_BYTES:
                    self._store.report(f"a message is longer than {MAX_BYTES} bytes")
                else:
                    self._store.accept(payload)
