"""Sources of the grid operator's signal: a topic of the broker, and a URL that is polled."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Protocol

import httpx
from pydantic import SecretStr

from charger_service.grid_signal import MOST_BYTES
from charger_service.settings import GridSignalSettings
from ev_sensors.broker import Broker
from ev_sensors.documents import DocumentListener
from ev_sensors.settings import MqttSettings
from ev_service.clock import Clock, sleep_until_s
from ev_service.settings import load
from ev_service.trust import Authorities

TIMEOUT_S = 10.0
"""How long one request may take in all [s, real time]."""

_OK = 200

_logger = logging.getLogger(__name__)


class SignalSource(Protocol):
    """Receives messages of the grid operator."""

    @property
    def name(self) -> str:
        """Name of the source in logs and answers."""
        ...

    @property
    def error(self) -> str | None:
        """Why no message can arrive now, in one sentence; None: it can."""
        ...

    async def run(self, on_message: Callable[[bytes], None]) -> None:
        """Receive messages until cancelled.

        Args:
            on_message: called with each message as it arrived; never fails.
        """
        ...


class MqttSignalSource:
    """Messages on a topic of the broker; at most one each second is handed over, the newest.

    Args:
        broker: where to listen.
        topic: the topic.
        rest_s: pause after each message [s, real time].
    """

    name = "mqtt"

    def __init__(self, broker: Broker, topic: str, rest_s: float = 1.0) -> None:
        self._broker, self._topic, self._rest_s = broker, topic, rest_s
        self._listener: DocumentListener | None = None

    @property
    def error(self) -> str | None:
        """Why no message can arrive now; None: it can."""
        return "it is not listened to yet" if self._listener is None else self._listener.error

    async def run(self, on_message: Callable[[bytes], None]) -> None:
        """Listen until cancelled."""
        self._listener = DocumentListener(self._broker, self._topic, "grid-signal", on_message, self._rest_s)
        await self._listener.run()


class HttpSignalSource:
    """Messages that a server answers, asked for at an interval over verified TLS, without redirects.

    Args:
        url: where to ask.
        poll_s: interval [s].
        authorities: trusted for TLS.
        token: bearer token; None: none is sent.
        clock: the run's clock.
        transport: else the network.
    """

    name = "http"

    def __init__(
        self,
        url: str,
        poll_s: float,
        authorities: Authorities,
        token: SecretStr | None,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url, self._poll_s, self._authorities, self._token = url, poll_s, authorities, token
        self._clock, self._transport = clock, transport
        self.error: str | None = "it has not answered yet"

    async def run(self, on_message: Callable[[bytes], None]) -> None:
        """Ask until cancelled."""
        while True:
            began_s = self._clock.monotonic_s()
            try:
                on_message(await self.fetch())
                self._note(None)
            except (httpx.HTTPError, ssl.SSLError, OSError, TimeoutError) as error:
                self._note(f"the server cannot be asked ({type(error).__name__})")
            except _UnusableAnswerError as error:
                self._note(str(error))
            except Exception:
                # An error of one request must not end the asking for good.
                _logger.exception("the grid operator's signal could not be asked for")
                self._note("asking failed; the service's log has the reason")
            await sleep_until_s(self._clock, began_s + self._poll_s)

    async def fetch(self) -> bytes:
        """Ask once.

        Raises:
            _UnusableAnswerError: the answer has another status than 200, or is too long.
            httpx.HTTPError: it cannot be asked, or takes too long.
        """
        headers = {"Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        # A client of its own for each request: a changed authority counts, and nothing is open in between.
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx.AsyncClient(
                timeout=TIMEOUT_S, verify=self._authorities.context(), trust_env=False, transport=self._transport
            ) as http,
            http.stream("GET", self._url, headers=headers) as answer,
        ):
            if answer.status_code != _OK:
                raise _UnusableAnswerError(f"the server answers {answer.status_code}")
            content = bytearray()
            async for part in answer.aiter_bytes(MOST_BYTES):
                content += part
                if len(content) > MOST_BYTES:
                    raise _UnusableAnswerError(f"the server answers more than {MOST_BYTES} bytes")
            return bytes(content)

    def _note(self, error: str | None) -> None:
        if error != self.error and error is not None:
            _logger.warning("grid operator's signal not received", extra={"source": self.name, "reason": error})
        self.error = error


class _UnusableAnswerError(Exception):
    """An answer that cannot be used."""


def make_signal_sources(settings: GridSignalSettings, clock: Clock) -> tuple[SignalSource, ...]:
    """Build the sources that are set.

    Args:
        settings: which there are.
        clock: the run's clock.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    sources: list[SignalSource] = []
    if settings.mqtt_topic is not None:
        sources.append(MqttSignalSource(Broker.of(_mqtt_settings(settings)), settings.mqtt_topic))
    if settings.url is not None:
        authorities = Authorities(settings.ca_file, "CHARGERS_GRID_SIGNAL_CA_FILE")
        sources.append(HttpSignalSource(settings.url, settings.poll_s, authorities, settings.bearer_token(), clock))
    return tuple(sources)


def _mqtt_settings(settings: GridSignalSettings) -> MqttSettings:
    """Return how the broker of the signal is reached: as set for it, else as for devices."""
    shared = load(MqttSettings)
    given = {"url": settings.mqtt_url or shared.url, "ca_file": settings.mqtt_ca_file or shared.ca_file}
    if settings.mqtt_username is None:
        return shared.model_copy(update=given)
    own = {
        "username": settings.mqtt_username,
        "password": settings.mqtt_password,
        "password_file": settings.mqtt_password_file,
    }
    return shared.model_copy(update=given | own)
