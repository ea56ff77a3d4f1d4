"""What waits while messages come faster than they are judged: the newest of each topic, the others are shed."""

import asyncio
from collections import deque
from collections.abc import Callable

from aiomqtt import Message


class NewestPerTopic(asyncio.Queue[Message]):
    """A queue that never grows: a message takes the place of the oldest one of its topic.

    mixed: how many of a topic are kept, one unless a device tells of different things on one topic.
    """

    mixed: int = 1

    # asyncio.Queue names these as the ones to override, and calls the first before its own __init__ ends.
    def _init(self, maxsize: int) -> None:
        self._waiting: dict[str, deque[Message]] = {}
        self._length = 0

    def _put(self, item: Message) -> None:
        of_topic = self._waiting.setdefault(item.topic.value, deque())
        of_topic.append(item)
        if len(of_topic) > self.mixed:
            of_topic.popleft()
            self.shed()
        else:
            self._length += 1

    def _get(self) -> Message:
        topic, of_topic = next(iter(self._waiting.items()))
        message = of_topic.popleft()
        # A topic that has more to give goes behind the others.
        del self._waiting[topic]
        if of_topic:
            self._waiting[topic] = of_topic
        self._length -= 1
        return message

    def qsize(self) -> int:
        """How many messages wait."""
        return self._length

    def empty(self) -> bool:
        """Whether nothing waits."""
        return self._length == 0

    def shed(self) -> None:
        """Count one that is never judged."""


def create_latest_per_topic_queue(mixed: int, on_shed: Callable[[], None]) -> type[NewestPerTopic]:
    """A queue type of one client, as aiomqtt makes the queue itself."""

    class Counted(NewestPerTopic):
        def shed(self) -> None:
            on_shed()

    Counted.mixed = mixed
    return Counted
