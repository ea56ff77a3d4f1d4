"""Readings over MQTT: a connection that is restored after each loss, and a message validator for each device."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Generic, Literal, TypeVar
from uuid import uuid4

import aiomqtt
from aiomqtt import Message
from prometheus_client.registry import Collector

from ev_sensors.broker import Broker, demand_granted, describe_error
from ev_sensors.measurement import Refusal, build_quarantine_message
from ev_sensors.message_validator import Device, MessageValidator
from ev_sensors.metrics import MessageOutcome, MqttMetrics
from ev_sensors.shapes import Shape
from ev_sensors.shapes.native import DeviceStatus
from ev_service.clock import Clock
from ev_service.errors import SourceUnavailableError
from ev_service.sources import STUCK_AFTER_S, Source, UpdateSignal
from ev_service.tasks import Backoff, cancel_and_wait, run_in_background
from ev_service.telemetry import Reading


class NewestPerTopic(asyncio.Queue[Message]):
    """A queue that never grows: a message takes the place of the oldest one of its topic.

    mixed: how many of a topic are kept, one unless a device sends different kinds of message on one topic.
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

    class CountingQueue(NewestPerTopic):
        def shed(self) -> None:
            on_shed()

    CountingQueue.mixed = mixed
    return CountingQueue


R = TypeVar("R", bound=Reading)

_TELLING = 100
"""Longest queue of refusals to publish; further ones are counted only."""

_TOPICS_TOLD = 3

_GOODBYE_S = 1.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReconnectTiming:
    """How quickly things are done, in real time.

    first_pause_s, longest_pause_s: between attempts to connect [s], doubling, a random part of it taken off.
    """

    rest_s: float = 0.01
    """Pause after what waited was judged [s]; under a flood the newest message per topic wins, and about one in each
    such pause is judged. 0 judges every message."""

    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    held_s: float = 10.0
    """A connection that lasted so long began a new count [s]."""


@dataclass(frozen=True, slots=True)
class Member(Generic[R]):
    """One device that is listened to."""

    device_id: str
    device: Device[R]
    """What kind of device it is."""

    shape: Shape
    """How it speaks, and on which topics."""

    silent_after_s: float
    """How long it may be silent [s]."""


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """Where the service stands among others: names that make up topics."""

    site_id: str
    service: str
    """The service that listens, by the name under which it announces itself at the broker."""


class MqttSource(Source[R]):
    """The newest value that counts, of one device or of several as one, each with an age of its own."""

    def __init__(
        self,
        broker: Broker,
        device: Device[R],
        members: Sequence[Member[R]],
        place: TopicIdentity,
        clock: Clock,
        pace: ReconnectTiming | None = None,
    ) -> None:
        """Listen to devices once it runs.

        Args:
            broker: where.
            device: what kind of device they make up.
            members: each device, by a name of its own; several are combined by `device.combine`.
            place: its names.
            clock: the run's clock.
            pace: how quickly things are done.
        """
        self._broker, self._device, self._members, self._clock = broker, device, members, clock
        self._pace = pace or ReconnectTiming()
        self._counts = MqttMetrics()
        base = f"site/{place.site_id}"
        self._inboxes = [
            MessageValidator(
                member.device,
                member.shape,
                self._counts,
                partial(self._quarantine, f"{base}/quarantine/{device.role}/{member.device_id}"),
            )
            for member in members
        ]
        # One message may speak of several devices.
        self._listeners: dict[str, list[MessageValidator[R]]] = {}
        for member, inbox in zip(members, self._inboxes, strict=True):
            for topic in member.shape.topics:
                self._listeners.setdefault(topic, []).append(inbox)
        self._updates = UpdateSignal()
        self._telling: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_TELLING)
        self._is_stopping = False
        self._obstacle: str | None = "the broker has not answered yet"
        self._identifier = f"ev-{place.service}-{uuid4().hex[:12]}"
        self._presence = f"{base}/service/{place.service}/status"

    def metrics(self) -> Iterable[Collector]:
        """Messages by outcome, refusals by reason, the connection."""
        return self._counts.collectors()

    async def read(self, now: datetime) -> R:
        """The newest value that counts, with the timestamp of the device that spoke longest ago.

        Raises:
            SourceUnavailableError: a device has none, or one that is older than any reader takes.
        """
        readings = list[R]()
        for inbox in self._inboxes:
            reading = inbox.reading
            if reading is None or self._age_s(reading, now) > STUCK_AFTER_S:
                raise SourceUnavailableError(await self.health_error(now) or "no reading")
            readings.append(reading)
        if self._device.combine is None or len(readings) == 1:
            return readings[0]
        return self._device.combine(readings)

    async def health_error(self, now: datetime) -> str | None:
        """Why a device cannot be counted on: offline by its own word, or silent for too long."""
        pairs = zip(self._members, self._inboxes, strict=True)
        reasons = (self._trouble_of(member, inbox, now) for member, inbox in pairs)
        return "; ".join(reason for reason in reasons if reason is not None) or None

    def _trouble_of(self, member: Member[R], inbox: MessageValidator[R], now: datetime) -> str | None:
        name, reading = member.device_id, inbox.reading
        if inbox.is_offline:
            return f"{name} is offline by its birth message or last will"
        if reading is None:
            return f"no reading of {name} yet{self._why(inbox, member.shape)}"
        age_s = self._age_s(reading, now)
        if age_s > member.silent_after_s:
            return f"{name} has been silent for {age_s:.0f} s{self._why(inbox, member.shape)}"
        return None

    async def wait_for_update(self) -> None:
        """Wait for the next message of the device; whether it counted, `read` and `trouble` say."""
        await self._updates.wait()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep a connection to the broker, and come back to it when it is lost."""
        async with run_in_background(self._run()):
            try:
                yield
            finally:
                self._is_stopping = True

    def _why(self, inbox: MessageValidator[R], shape: Shape) -> str:
        if self._obstacle is not None:
            return f": {self._obstacle}"
        refusal, count = inbox.last_refusal, inbox.refused_since
        told = None if refusal is None else f"{count} messages refused, the last for {refusal.reason}: {refusal.detail}"
        reasons = [reason for reason in (told, inbox.describe_ignored()) if reason is not None]
        if not reasons and inbox.reading is None:
            reasons = [f"no message on {' or '.join(shape.measurements[:_TOPICS_TOLD])}"]
        return f": {', and '.join(reasons)}" if reasons else ""

    @staticmethod
    def _age_s(reading: Reading, now: datetime) -> float:
        return (now - reading.timestamp).total_seconds()

    async def _run(self) -> None:
        backoff = Backoff(self._pace.first_pause_s, self._pace.longest_pause_s)
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                await self._session()
            except aiomqtt.MqttError as error:
                self._on_loss(describe_error(error))
            except Exception:
                # Whatever breaks a session must not end the listening for good.
                _logger.exception("session with the broker failed")
                self._on_loss("the session with the broker failed; the service's log has the reason")
            if self._is_stopping:
                # aiomqtt raised an error of its own in place of the cancellation.
                return
            if loop.time() - began_s >= self._pace.held_s:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    def _on_loss(self, reason: str) -> None:
        if self._obstacle != reason:
            _logger.warning("broker not connected", extra={"reason": reason})
        self._obstacle = reason
        self._counts.connected.set(0)
        self._counts.failures.inc()

    async def _session(self) -> None:
        """Connect, listen until the connection is lost.

        Raises:
            MqttError: no connection, or none any more.
        """
        will = aiomqtt.Will(self._presence, self._status("offline"), qos=1, retain=True)
        rest_s = self._pace.rest_s
        shedding = create_latest_per_topic_queue(
            max(member.shape.mixed for member in self._members), lambda: self._counts.message(MessageOutcome.SHED)
        )
        async with self._broker.client(self._identifier, will, shedding if rest_s else asyncio.Queue) as client:
            telling = asyncio.create_task(self._publish_quarantine(client))
            try:
                demand_granted(await client.subscribe([(topic, 1) for topic in self._topics()]))
                await client.publish(self._presence, self._status("online"), qos=1, retain=True)
                self._obstacle = None
                self._counts.connected.set(1)
                await self._listen(client)
            finally:
                await cancel_and_wait(telling)
                # A goodbye that is not heard is said by the last will.
                with suppress(aiomqtt.MqttError, TimeoutError):
                    async with asyncio.timeout(_GOODBYE_S):
                        await client.publish(self._presence, self._status("offline"), qos=1, retain=True)

    async def _listen(self, client: aiomqtt.Client) -> None:
        messages, rest_s, now, listeners = client.messages, self._pace.rest_s, self._clock.now, self._listeners
        async for message in messages:
            topic = message.topic.value
            for inbox in listeners.get(topic, ()):
                inbox.take(topic, message.payload, now(), is_retained=message.retain)
            self._updates.send()
            if rest_s and len(messages) == 0:
                await asyncio.sleep(rest_s)

    def _topics(self) -> list[str]:
        """Births and last wills first, so that what the broker kept of them is known before a value is."""
        births = dict.fromkeys(member.shape.status for member in self._members if member.shape.status is not None)
        return list(births | dict.fromkeys(self._listeners))

    def _quarantine(self, quarantine: str, topic: str, payload: bytes, refusal: Refusal, is_retained: bool) -> None:
        message = build_quarantine_message(topic, payload, refusal, self._clock.now(), is_retained=is_retained)
        try:
            self._telling.put_nowait((quarantine, message))
        except asyncio.QueueFull:
            self._counts.unsent.inc()

    async def _publish_quarantine(self, client: aiomqtt.Client) -> None:
        while True:
            quarantine, message = await self._telling.get()
            try:
                await client.publish(quarantine, message, qos=1)
            except aiomqtt.MqttError:
                self._counts.unsent.inc()

    def _status(self, status: Literal["online", "offline"]) -> bytes:
        return DeviceStatus(status=status, timestamp=self._clock.now()).model_dump_json().encode()
