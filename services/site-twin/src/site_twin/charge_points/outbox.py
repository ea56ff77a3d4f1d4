"""A charger's outgoing messages: sent in order, one at a time, kept over a lost connection, and limited in rate."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_MESSAGES = 1000
"""Longest outbox; what must not be lost is two messages a transaction, so that this is weeks without a connection."""


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """One message to the central system."""

    make: Callable[[], Any]
    """Makes the payload when it is sent; None: it has become pointless."""

    answered: Callable[[Any], None] | None = None
    """Called with the answer, or with None where none came."""

    is_kept: bool = False
    """It waits for the next connection."""

    key: str | None = None
    """A newer message with the same key makes this one pointless while it waits."""

    payload: Any = None


class Outbox:
    """Messages in the order in which they are to be sent."""

    def __init__(self) -> None:
        self._messages: deque[OutgoingMessage] = deque()
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> tuple[OutgoingMessage, ...]:
        """All that is to be sent, in order."""
        return tuple(self._messages)

    def add(self, message: OutgoingMessage) -> None:
        """Append a message, and remove the waiting one that it replaces."""
        if message.key is not None:
            # What has been sent already may only be sent again as it was.
            pointless = [one for one in self._messages if one.key == message.key and one.payload is None]
            for waiting in pointless:
                self._messages.remove(waiting)
        if len(self._messages) < MAX_MESSAGES:
            self._messages.append(message)
            self._arrived.set()

    async def first(self) -> OutgoingMessage:
        """The next message, once there is one; it stays there until it is done."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        return self._messages[0]

    def confirm(self, message: OutgoingMessage, answer: Any) -> None:
        """Remove a message and pass its answer on."""
        if self._messages and self._messages[0] is message:
            self._messages.popleft()
        if message.answered is not None:
            message.answered(answer)

    def drop_volatile(self) -> None:
        """Drop the messages that are not kept; their `answered` is called with None."""
        dropped = [message for message in self._messages if not message.is_kept]
        self._messages = deque(message for message in self._messages if message.is_kept)
        for message in dropped:
            if message.answered is not None:
                message.answered(None)


class MeterValuePacer:
    """How often something may be done: `per_s` times a real second, and as often at once after a rest."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left, self._at = max(1.0, per_s), time.monotonic()

    def allows(self) -> bool:
        """Whether it may be done now; counted if so."""
        now = time.monotonic()
        self._left = min(max(1.0, self._per_s), self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
