"""What a charger has to tell, in order, one message at a time, also over a lost connection; and how often it may."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_LETTERS = 1000
"""So many are held; what must not be lost is two messages a transaction, so that this is weeks without a connection."""


@dataclass(slots=True, eq=False)
class OutgoingMessage:
    """One message to the central system.

    make: makes the payload when it is sent; None: it has become pointless.
    answered: is told the answer, or None where none came. is_kept: it waits for the next connection.
    key: a newer letter with the same key makes this one pointless while it waits.
    """

    make: Callable[[], Any]
    answered: Callable[[Any], None] | None = None
    is_kept: bool = False
    key: str | None = None
    payload: Any = None


class Outbox:
    """Letters in the order in which they are to be sent."""

    def __init__(self) -> None:
        self._letters: deque[OutgoingMessage] = deque()
        self._arrived = asyncio.Event()

    @property
    def waiting(self) -> tuple[OutgoingMessage, ...]:
        """All that is to be sent, in order."""
        return tuple(self._letters)

    def add(self, letter: OutgoingMessage) -> None:
        """Put a letter at the end, and take away the one that it makes pointless."""
        if letter.key is not None:
            # What has been sent already may only be sent again as it was.
            pointless = [one for one in self._letters if one.key == letter.key and one.payload is None]
            for waiting in pointless:
                self._letters.remove(waiting)
        if len(self._letters) < MOST_LETTERS:
            self._letters.append(letter)
            self._arrived.set()

    async def first(self) -> OutgoingMessage:
        """The next letter, once there is one; it stays there until it is done."""
        while not self._letters:
            self._arrived.clear()
            await self._arrived.wait()
        return self._letters[0]

    def confirm(self, letter: OutgoingMessage, answer: Any) -> None:
        """Take a letter away and tell the answer."""
        if self._letters and self._letters[0] is letter:
            self._letters.popleft()
        if letter.answered is not None:
            letter.answered(answer)

    def drop_volatile(self) -> None:
        """Drop what is not worth keeping, telling that no answer came."""
        dropped = [letter for letter in self._letters if not letter.is_kept]
        self._letters = deque(letter for letter in self._letters if letter.is_kept)
        for letter in dropped:
            if letter.answered is not None:
                letter.answered(None)


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
