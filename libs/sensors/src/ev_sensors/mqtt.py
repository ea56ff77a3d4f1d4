"""Readings of one device over MQTT: a connection that comes back by itself, and an inbox behind it."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar
from uuid import uuid4

import aiomqtt
from prometheus_client.registry import Collector

from ev_sensors.broker import Broker, demand_granted, obstacle
from ev_sensors.counts import Counts, Outcome
from ev_sensors.inbox import Device, Inbox
from ev_sensors.measurement import Refusal
from ev_sensors.newest import newest_per_topic
from ev_sensors.quarantine import quarantined
from ev_sensors.shapes import Shape
from ev_sensors.shapes.own import DeviceStatus
from ev_service.clock import Clock
from ev_service.errors import SourceUnavailable
from ev_service.sources import STUCK_AFTER_S, Source, UpdateSignal
from ev_service.tasks import beside, ended
from ev_service.telemetry import Reading

R = TypeVar("R", bound=Reading)

_TELLING = 100
"""Refusals that wait to be told at most; what comes on top is counted and not told."""

_GOODBYE_S = 1.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly things are done, in real time.

    rest_s: pause after what waited was judged [s]; under a flood the newest message per topic wins, and about one in
    each such pause is judged. 0 judges every message. first_pause_s, longest_pause_s: between attempts to connect [s],
    doubling, a random part of it taken off. held_s: a connection that lasted so long began a new count [s].
    """

    rest_s: float = 0.01
    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    held_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where the device stands among others: names that make up topics, and how long it may be silent [s].

    service: the service that listens, by the name under which it says at the broker that it is there.
    """

    site_id: str
    device_id: str
    silent_after_s: float
    service: str


class MqttSource(Source[R]):
    """The newest value of one device that counts."""

    def __init__(
        self, broker: Broker, device: Device[R], shape: Shape, place: Place, clock: Clock, pace: Pace | None = None
    ) -> None:
        """Listen to a device once it runs.

        Args:
            broker: where.
            device: what kind of device it is.
            shape: how it speaks, and on which topics.
            place: its names.
            clock: the run's clock.
            pace: how quickly things are done.
        """
        self._broker, self._shape, self._place, self._clock = broker, shape, place, clock
        self._pace = pace or Pace()
        self._counts = Counts()
        self._inbox = Inbox(device, shape, self._counts, self._refused)
        self._updates = UpdateSignal()
        self._telling: asyncio.Queue[bytes] = asyncio.Queue(_TELLING)
        self._is_stopping = False
        self._obstacle: str | None = "the broker has not answered yet"
        base = f"site/{place.site_id}"
        self._quarantine = f"{base}/quarantine/{device.role}/{place.device_id}"
        self._identifier = f"ev-{place.service}-{uuid4().hex[:12]}"
        self._presence = f"{base}/service/{place.service}/status"

    def metrics(self) -> Iterable[Collector]:
        """Messages by outcome, refusals by reason, the connection."""
        return self._counts.collectors()

    async def read(self, now: datetime) -> R:
        """The newest value that counts, with the device's own timestamp.

        Raises:
            SourceUnavailable: there is none, or it is older than any reader takes.
        """
        reading = self._inbox.reading
        if reading is None or self._age_s(reading, now) > STUCK_AFTER_S:
            raise SourceUnavailable(await self.trouble(now) or "no reading")
        return reading

    async def trouble(self, now: datetime) -> str | None:
        """Why the device cannot be counted on: offline by its own word, or silent for too long."""
        name, reading = self._place.device_id, self._inbox.reading
        if self._inbox.is_offline:
            return f"{name} is offline by its birth message or last will"
        if reading is None:
            return f"no reading of {name} yet{self._why()}"
        age_s = self._age_s(reading, now)
        if age_s > self._place.silent_after_s:
            return f"{name} has been silent for {age_s:.0f} s{self._why()}"
        return None

    async def wait_for_update(self) -> None:
        """Wait for the next message of the device; whether it counted, `read` and `trouble` say."""
        await self._updates.wait()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Keep a connection to the broker, and come back to it when it is lost."""
        async with beside(self._live()):
            try:
                yield
            finally:
                self._is_stopping = True

    def _why(self) -> str:
        refusal, count = self._inbox.last_refusal, self._inbox.refused_since
        if self._obstacle is not None:
            return f": {self._obstacle}"
        return "" if refusal is None else f": {count} messages refused, the last for {refusal.reason}: {refusal.detail}"

    @staticmethod
    def _age_s(reading: Reading, now: datetime) -> float:
        return (now - reading.timestamp).total_seconds()

    async def _live(self) -> None:
        pause_s = self._pace.first_pause_s
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                await self._session()
            except aiomqtt.MqttError as error:
                self._lost(obstacle(error))
            except Exception:
                # Whatever breaks a session must not end the listening for good.
                _logger.exception("session with the broker failed")
                self._lost("the session with the broker failed; the service's log has the reason")
            if self._is_stopping:
                # aiomqtt raised an error of its own in place of the cancellation.
                return
            if loop.time() - began_s >= self._pace.held_s:
                pause_s = self._pace.first_pause_s
            # Devices and services that lost one broker must not all come back at once.
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            pause_s = min(2 * pause_s, self._pace.longest_pause_s)

    def _lost(self, reason: str) -> None:
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
        shedding = newest_per_topic(self._shape.mixed, lambda: self._counts.message(Outcome.SHED))
        async with self._broker.client(self._identifier, will, shedding if rest_s else asyncio.Queue) as client:
            telling = asyncio.create_task(self._tell(client))
            try:
                demand_granted(await client.subscribe([(self._shape.status, 1), (self._shape.telemetry, 1)]))
                await client.publish(self._presence, self._status("online"), qos=1, retain=True)
                self._obstacle = None
                self._counts.connected.set(1)
                await self._listen(client)
            finally:
                await ended(telling)
                # A goodbye that is not heard is said by the last will.
                with suppress(aiomqtt.MqttError, TimeoutError):
                    async with asyncio.timeout(_GOODBYE_S):
                        await client.publish(self._presence, self._status("offline"), qos=1, retain=True)

    async def _listen(self, client: aiomqtt.Client) -> None:
        messages, rest_s, now, take = client.messages, self._pace.rest_s, self._clock.now, self._inbox.take
        async for message in messages:
            take(message.topic.value, message.payload, now(), is_retained=message.retain)
            self._updates.send()
            if rest_s and len(messages) == 0:
                await asyncio.sleep(rest_s)

    def _refused(self, topic: str, payload: bytes, refusal: Refusal, is_retained: bool) -> None:
        message = quarantined(topic, payload, refusal, self._clock.now(), is_retained=is_retained)
        try:
            self._telling.put_nowait(message)
        except asyncio.QueueFull:
            self._counts.unsent.inc()

    async def _tell(self, client: aiomqtt.Client) -> None:
        while True:
            message = await self._telling.get()
            try:
                await client.publish(self._quarantine, message, qos=1)
            except aiomqtt.MqttError:
                self._counts.unsent.inc()

    def _status(self, status: Literal["online", "offline"]) -> bytes:
        return DeviceStatus(status=status, timestamp=self._clock.now()).model_dump_json().encode()
