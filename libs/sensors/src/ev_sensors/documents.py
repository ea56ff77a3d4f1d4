"""Documents on one MQTT topic: the newest message is handed over as it is, at a bounded rate."""

import asyncio
import logging
from collections.abc import Callable
from uuid import uuid4

import aiomqtt

from ev_sensors.broker import Broker, demand_granted, describe_error
from ev_sensors.mqtt import ReconnectTiming, create_latest_per_topic_queue
from ev_service.tasks import Backoff

_logger = logging.getLogger(__name__)


class DocumentListener:
    """Listens to one topic, and comes back to the broker when the connection is lost.

    A retained message is handed over as any other. While messages arrive faster than one in each pause, the newest
    takes the place of those that wait.

    Args:
        broker: where to listen.
        topic: the topic, without wildcards.
        name: begins this client's identifier at the broker.
        on_message: called with the payload of each message.
        rest_s: pause after each message [s, real time].
        timing: delays between attempts to connect.
    """

    def __init__(
        self,
        broker: Broker,
        topic: str,
        name: str,
        on_message: Callable[[bytes], None],
        rest_s: float = 1.0,
        timing: ReconnectTiming | None = None,
    ) -> None:
        self._broker, self._topic, self._on_message, self._rest_s = broker, topic, on_message, rest_s
        self._timing = timing or ReconnectTiming()
        self._identifier = f"ev-{name}-{uuid4().hex[:12]}"
        self.error: str | None = "the broker has not answered yet"
        """Why nothing can arrive now, in one sentence; None: it can."""
        self.dropped = 0
        """Number of messages whose place a newer one took before they were handed over."""

    async def run(self) -> None:
        """Listen until cancelled."""
        backoff, loop = Backoff(self._timing.first_pause_s, self._timing.longest_pause_s), asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                await self._listen()
            except aiomqtt.MqttError as error:
                self._on_loss(describe_error(error))
            except Exception:
                # Whatever breaks a session must not end the listening for good.
                _logger.exception("session with the broker failed")
                self._on_loss("the session with the broker failed; the service's log has the reason")
            if (task := asyncio.current_task()) is not None and task.cancelling():
                # aiomqtt raised an error of its own in place of the cancellation.
                return
            if loop.time() - began_s >= self._timing.held_s:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    def _on_loss(self, reason: str) -> None:
        if self.error != reason:
            _logger.warning("broker not connected", extra={"reason": reason, "topic": self._topic})
        self.error = reason

    async def _listen(self) -> None:
        """Connect, and hand messages over until the connection is lost.

        Raises:
            MqttError: no connection, or none any more.
        """
        async with self._broker.client(self._identifier, None, create_latest_per_topic_queue(1, self._drop)) as client:
            demand_granted(await client.subscribe([(self._topic, 1)]))
            self.error = None
            async for message in client.messages:
                self._on_message(message.payload)
                await asyncio.sleep(self._rest_s)

    def _drop(self) -> None:
        self.dropped += 1
