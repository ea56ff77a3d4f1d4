"""What is set for sensors: the broker, and which device a service listens to."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from ev_service.addresses import MqttUrl
from ev_service.settings import Settings, secret_from

DeviceId = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="The device; also its user at the broker.")
]


class MqttSettings(Settings):
    """The broker, for every service that listens to devices."""

    model_config = SettingsConfigDict(env_prefix="MQTT_")

    url: MqttUrl = Field(
        default="mqtt://127.0.0.1:1883",
        description="The broker; mqtts:// unless it is a loopback address. Without a port: 1883, with TLS 8883.",
    )
    username: str | None = Field(default=None, description="User of this service at the broker.")
    password: SecretStr | None = Field(default=None, description="Its password.")
    password_file: Path | None = Field(default=None, description="File that holds it.")
    ca_file: Path | None = Field(default=None, description="PEM to trust beside the system's.")

    def secret(self) -> SecretStr | None:
        """The password, from wherever it is set.

        Raises:
            ConfigurationError: its file cannot be read, or it is a placeholder.
        """
        return secret_from(self.password, self.password_file, "MQTT_PASSWORD")


class MqttDeviceSettings(Settings):
    """The device that a service listens to; each service reads this with a prefix and a device of its own."""

    device_id: DeviceId = "device-1"
    shape: Literal["own", "tasmota", "shelly", "sunspec"] = Field(
        default="own", description="How it writes its messages, see docs/sensors.md."
    )
    topic: str | None = Field(
        default=None,
        pattern=r"^[^+#\x00/][^+#\x00]{0,199}$",
        description="Its topics without their last word; unset: what is usual for its shape.",
    )
    factor: float = Field(
        default=1.0,
        allow_inf_nan=False,
        description="A meter's power is multiplied by it; -1 turns the sign. Shape own has no use for it.",
    )
    silent_after_s: float = Field(
        default=30.0, ge=1, le=60, description="Unhealthy once the newest value is older than this [s]."
    )
