"""The broker: how it is reached, and what stands in the way when it is not.

Passwords and TLS live here alone. MQTT 5, verified TLS, a clean start: what a broker kept while we were away is old.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from pydantic import SecretStr

from ev_sensors.settings import MqttSettings
from ev_service.settings import mqtt_host_port
from ev_service.trust import Authorities

KEEPALIVE_S = 10
"""Keep-alive interval [s]; after one and a half intervals without a packet the broker counts as gone."""

TIMEOUT_S = 5.0

_REFUSED_FROM = 0x80

_REFUSED = {
    134: "the broker refuses user and password",
    135: "the broker refuses user and password",
    136: "the broker is not available",
    137: "the broker is busy",
    138: "the broker has banned this client",
}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it is and who we are there."""

    host: str
    port: int
    username: str | None
    password: SecretStr | None
    authorities: Authorities | None
    """Whom to trust; None: plain MQTT. Their file is read again when it changes, so that the next connection trusts
    what it holds then."""

    @classmethod
    def of(cls, settings: MqttSettings) -> "Broker":
        """The broker that the settings name.

        Raises:
            ConfigurationError: a file that they name cannot be used.
        """
        host, port = mqtt_host_port(settings.url)
        is_secured = settings.url.startswith("mqtts:")
        authorities = Authorities(settings.ca_file, "MQTT_CA_FILE") if is_secured else None
        return cls(host, port, settings.username, settings.secret(), authorities)

    def client(
        self, identifier: str, will: aiomqtt.Will | None, queue_type: type[asyncio.Queue[aiomqtt.Message]]
    ) -> aiomqtt.Client:
        """A client that is not connected yet; use it once, inside a running event loop."""
        return aiomqtt.Client(
            self.host,
            self.port,
            identifier=identifier,
            username=self.username,
            password=None if self.password is None else self.password.get_secret_value(),
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            tls_context=None if self.authorities is None else self.authorities.context(),
            will=will,
            queue_type=queue_type,
            keepalive=KEEPALIVE_S,
            timeout=TIMEOUT_S,
        )


class SubscriptionRefusedError(aiomqtt.MqttError):
    """The broker lets us in and not listen."""


def demand_granted(codes: Iterable[object]) -> None:
    """Check the broker's reason code of each subscription.

    Raises:
        SubscriptionRefusedError: the broker refuses one (MQTT 5.0, section 3.9.3: 128 and above).
    """
    # Whole numbers, or paho's own objects around them.
    for value in (getattr(code, "value", code) for code in codes):
        if not isinstance(value, int) or value >= _REFUSED_FROM:
            raise SubscriptionRefusedError(f"subscription refused with code {value}")


def describe_error(error: Exception) -> str:
    """What stands between us and the broker, in one sentence without names and passwords.

    Source of the codes: MQTT 5.0, section 3.2.2.2.
    """
    if isinstance(error, MqttConnectError):
        code = getattr(error.rc, "value", error.rc)
        known = _REFUSED.get(code) if isinstance(code, int) else None
        return known or f"the broker refuses the connection with code {code}"
    if isinstance(error, SubscriptionRefusedError):
        return "the broker does not let this service listen to its device"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "the broker's certificate cannot be verified"
    return "the broker does not answer"
