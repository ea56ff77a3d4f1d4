"""One device at the broker: it connects, announces itself, and sends what it measures until it is stopped.

MQTT 5, QoS 1; the last will reports that it is gone. A broker that is away is tried again, less and less often.
"""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
from pydantic import SecretStr

from ev_service.clock import Clock, sleep_until
from ev_service.errors import ConfigurationError
from ev_service.settings import mqtt_host_port
from ev_service.tasks import Backoff
from ev_service.trust import Authorities
from site_twin.devices.device_types import DEVICES, DeviceType
from site_twin.devices.failing import DeviceFault, Voice
from site_twin.settings import TwinSettings
from site_twin.site import TwinSite

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
"""Wait after the first failed connection and at most [s, real]: a broker that restarts is back within seconds."""

_ANSWER_S = 3.0
"""How long the broker has to answer [s, real]: who waits for an answer does not hear that the connection is gone."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where devices connect: host and port, whom to trust (None: no TLS), and the password of each device."""

    host: str
    port: int
    authorities: Authorities | None
    passwords: Mapping[str, SecretStr]


def broker_from_settings(settings: TwinSettings) -> Broker | None:
    """The broker that the settings name; None where they name none.

    Raises:
        ConfigurationError: a device's password or the CA file cannot be used.
    """
    if settings.mqtt_url is None:
        return None
    host, port = mqtt_host_port(settings.mqtt_url)
    is_secured = settings.mqtt_url.startswith("mqtts:")
    authorities = Authorities(settings.ca_file, "TWIN_CA_FILE") if is_secured else None
    folder = settings.mqtt_passwords_dir
    passwords = {} if folder is None else {device_id: _password(folder, device_id) for device_id in DEVICES}
    return Broker(host, port, authorities, passwords)


class MqttDevice:
    """One device of the site."""

    def __init__(self, kind: DeviceType, site: TwinSite, clock: Clock, broker: Broker, *, period_s: float) -> None:
        """Make the device; `run` lets it speak.

        Args:
            kind: what it measures and how it writes.
            site: what it measures.
            clock: the run's clock.
            broker: where it connects.
            period_s: how often it sends [s, by the run's clock].
        """
        self._kind, self._site, self._clock, self._broker = kind, site, clock, broker
        self._period = timedelta(seconds=period_s)
        # From the clock, so that a device that starts again goes on counting above its former numbers.
        self._voice = Voice(spike=kind.spike, lie=kind.lie, first_sequence=int(clock.now().timestamp()))

    async def run(self) -> None:
        """Speak until cancelled, through every loss of the connection."""
        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        while True:
            try:
                async with self._connect() as client:
                    backoff.reset()
                    await self._speak(client)
            except aiomqtt.MqttError as error:
                _stop_if_cancelled()
                _logger.warning("broker lost", extra={"device": self._kind.device_id, "reason": str(error)})
                await asyncio.sleep(backoff.next_s())
            while DeviceFault.OFFLINE in self._faults():
                await self._rest(self._clock.now())

    def _connect(self) -> aiomqtt.Client:
        device_id, shape = self._kind.device_id, self._kind.shape
        password, authorities = self._broker.passwords.get(device_id), self._broker.authorities
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            identifier=device_id,
            username=None if password is None else device_id,
            password=None if password is None else password.get_secret_value(),
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            timeout=_ANSWER_S,
            will=aiomqtt.Will(shape.status_topic, _text(shape.status(False, self._clock.now())), qos=1, retain=True),
            tls_context=None if authorities is None else authorities.context(),
            logger=_logger,
        )

    async def _speak(self, client: aiomqtt.Client) -> None:
        shape = self._kind.shape
        try:
            await self._tell_status(client, is_online=True)
            while DeviceFault.OFFLINE not in (faults := self._faults()):
                powers = self._site.powers()
                for sent in self._voice.say(self._kind.measure(powers), powers.moment, faults):
                    await client.publish(shape.telemetry_topic, _text(shape.telemetry(sent)), qos=1)
                await self._rest(powers.moment)
        except asyncio.CancelledError:
            # A broker that gets a goodbye keeps the last will to itself.
            with suppress(aiomqtt.MqttError):
                await self._tell_status(client, is_online=False)
            raise
        # The library can only say goodbye; a device that loses its power does not.
        connection = client._client.socket()  # pyright: ignore[reportPrivateUsage]
        if isinstance(connection, socket.socket):
            connection.shutdown(socket.SHUT_RDWR)

    async def _tell_status(self, client: aiomqtt.Client, *, is_online: bool) -> None:
        shape = self._kind.shape
        status = _text(shape.status(is_online, self._clock.now()))
        await client.publish(shape.status_topic, status, qos=1, retain=True)

    async def _rest(self, since: datetime) -> None:
        _stop_if_cancelled()
        await sleep_until(self._clock, since + self._period)

    def _faults(self) -> frozenset[str]:
        return self._site.faults(self._kind.device_id)


@asynccontextmanager
async def speaking(devices: Sequence[MqttDevice]) -> AsyncGenerator[None]:
    """Let devices speak for as long as this is entered."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(device.run()) for device in devices]
        yield
        for task in tasks:
            task.cancel()


def _stop_if_cancelled() -> None:
    """Be cancelled also where somebody kept that to himself.

    aiomqtt may raise its own error in the place of a cancellation, and `asyncio.wait_for`, by which it waits, loses
    one that comes together with the answer (Python 3.11).
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _text(message: Mapping[str, Any] | str) -> str:
    return message if isinstance(message, str) else json.dumps(message, separators=(",", ":"))


def _password(folder: Path, device_id: str) -> SecretStr:
    file = folder / f"{device_id}.password"
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"{file} in TWIN_MQTT_PASSWORDS_DIR cannot be read: {reason}") from error
    if not password:
        raise ConfigurationError(f"{file} in TWIN_MQTT_PASSWORDS_DIR is empty")
    return SecretStr(password)
