"""What waits while messages come faster than they are judged."""

import asyncio

import pytest
from aiomqtt import Message

from ev_sensors.mqtt import create_latest_per_topic_queue

pytestmark = pytest.mark.anyio


def _message(topic: str, number: int) -> Message:
    return Message(topic, str(number).encode(), qos=1, retain=False, mid=number, properties=None)


class Shed:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def _take_all(queue: asyncio.Queue[Message]) -> list[tuple[str, bytes]]:
    return [(message.topic.value, message.payload) for message in (queue.get_nowait() for _ in range(queue.qsize()))]


async def test_the_newest_of_each_topic_waits_and_the_others_are_counted() -> None:
    shed = Shed()
    queue = create_latest_per_topic_queue(1, shed)()

    for number in range(10):
        queue.put_nowait(_message("a", number))
    queue.put_nowait(_message("b", 10))

    assert _take_all(queue) == [("a", b"9"), ("b", b"10")]
    assert (shed.count, queue.empty()) == (9, True)


async def test_a_device_that_tells_of_several_things_on_one_topic_keeps_some_of_them_in_their_order() -> None:
    shed = Shed()
    queue = create_latest_per_topic_queue(3, shed)()

    for number in range(5):
        queue.put_nowait(_message("a", number))

    assert [payload for _, payload in _take_all(queue)] == [b"2", b"3", b"4"]
    assert shed.count == 2


async def test_a_flooded_topic_does_not_keep_others_waiting() -> None:
    queue = create_latest_per_topic_queue(8, Shed())()
    for number in range(8):
        queue.put_nowait(_message("flooded", number))
    queue.put_nowait(_message("quiet", 8))

    assert [topic for topic, _ in _take_all(queue)][:2] == ["flooded", "quiet"]


async def test_who_waits_is_given_the_next_message() -> None:
    queue = create_latest_per_topic_queue(1, Shed())()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put_nowait(_message("a", 1))

    assert (await waiting).payload == b"1"
    assert queue.qsize() == 0
