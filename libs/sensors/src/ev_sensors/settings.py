"""What is set for sensors: the broker, and which device a service listens to."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from ev_service.settings import MqttUrl, Settings, secret_from

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
    ca_file: Path | None = Field(default=None, description="PEM to trust in addition to the system's.")

    def secret(self) -> SecretStr | None:
        """The password, from wherever it is set.

        Raises:
            ConfigurationError: its file cannot be read, or it is a placeholder.
        """
        return secret_from(self.password, self.password_file, "MQTT_PASSWORD")


class MqttDevice(BaseModel):
    """One device that speaks MQTT, however it is set."""

    device_id: DeviceId
    shape: Literal["own", "tasmota", "shelly", "shelly_gen1", "sunspec", "json"] = Field(
        default="own", description="How it writes its messages, see docs/sensors.md."
    )
    topic: str | None = Field(
        default=None,
        pattern=r"^[^+#\x00]{1,200}$",
        description="Its topics without their last word; unset: what is usual for its shape.",
    )
    values: str | None = Field(
        default=None,
        min_length=1,
        max_length=4000,
        description="Of shape json: where each value stands, NAME=TOPIC#/POINTER UNIT with ; between them; "
        "docs/sensors.md has the names.",
    )
    channels: str | None = Field(
        default=None,
        pattern=r"^[0-5](,[0-5]){0,5}$",
        description="Of a Shelly that measures phases apart: which channels count, in the order of the phases, such as "
        "0,1,2; unset: all that it tells.",
    )
    factor: float = Field(
        default=1.0,
        allow_inf_nan=False,
        description="A meter's power is multiplied by it; -1 turns the sign. Shape own has no use for it.",
    )
    silent_after_s: float = Field(
        default=30.0, ge=1, le=60, description="Unhealthy once the newest value is older than this [s]."
    )


class DeviceListEntry(BaseModel):
    """One of several devices, as it stands in the file of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device_id: DeviceId
    capacity: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Its share of the capacity that is set: kWp or kWh."
    )


class ListedMqttDevice(DeviceListEntry, MqttDevice):
    """One of several devices that speak MQTT."""


class MqttDeviceSettings(MqttDevice, Settings):
    """The device that a service listens to; each service reads this with a prefix and a device of its own."""

    device_id: DeviceId = "device-1"
    devices_file: Path | None = Field(
        default=None,
        description="JSON list of several devices whose values make up one, see docs/sensors.md; the settings of the "
        "single device do not count then.",
    )


class ModbusDevice(BaseModel):
    """One SunSpec device that is asked over Modbus, however it is set."""

    host: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_.:-]{1,253}$", description="The device, or its gateway."
    )
    port: int | None = Field(default=None, ge=1, le=65_535, description="Unset: 502, with TLS 802.")
    unit_id: int = Field(default=1, ge=0, le=255, description="Modbus unit identifier.")
    base_address: int | None = Field(
        default=None, ge=0, le=65_000, description="Where its SunSpec map begins; unset: looked for at 40000, 50000, 0."
    )
    period_s: float = Field(default=1.0, ge=0.1, le=30, description="From one question to the next [s].")
    timeout_s: float = Field(default=2.0, ge=0.1, le=30, description="How long it has for one answer [s].")
    silent_after_s: float = Field(
        default=30.0, ge=1, le=60, description="Unhealthy once the newest value is older than this [s]."
    )
    factor: float = Field(
        default=1.0, allow_inf_nan=False, description="Its power is multiplied by it; -1 turns the sign."
    )
    keeps_connection: bool = Field(
        default=True,
        description="false: each round connects anew, so that others can ask a device that serves one client too.",
    )
    tls: bool = Field(default=False, description="Modbus/TCP Security instead of plain Modbus TCP, which knows nobody.")
    ca_file: Path | None = Field(default=None, description="PEM to trust in addition to the system's.")
    cert_file: Path | None = Field(default=None, description="PEM of this service's certificate, with TLS.")
    key_file: Path | None = Field(default=None, description="PEM of its private key.")


class ModbusInverter(ModbusDevice):
    """An inverter, which may be connected to a battery too."""

    power: Literal["auto", "ac", "dc", "strings"] = Field(
        default="auto",
        description="Where the sun's power is taken from: W, DCW or model 160. auto: W; with a battery in the map model"
        " 160, else DCW.",
    )
    strings: str | None = Field(
        default=None,
        pattern=r"^[1-9][0-9]?(,[1-9][0-9]?)*$",
        description="The strings of model 160 that are panels, such as 1,2; unset: all whose label names no battery.",
    )


class ModbusMeter(ModbusDevice):
    """A device that holds the meter of the connection."""

    meter: int | None = Field(
        default=None,
        ge=1,
        le=20,
        description="Which of its meters stands at the connection, from 1 in the order of its map; unset: it has one.",
    )


class ListedModbusDevice(DeviceListEntry, ModbusDevice):
    """One of several devices that are asked over Modbus."""


class ListedModbusInverter(DeviceListEntry, ModbusInverter):
    """One of several inverters."""


class ListedModbusMeter(DeviceListEntry, ModbusMeter):
    """One of several devices that hold a meter."""


class ModbusDeviceSettings(ModbusDevice, Settings):
    """The device that a service asks over Modbus; each service reads this with a prefix of its own."""

    devices_file: Path | None = Field(
        default=None,
        description="JSON list of several devices whose values make up one, see docs/sensors.md; the settings of the "
        "single device do not count then.",
    )


class ModbusInverterSettings(ModbusInverter, ModbusDeviceSettings):
    """The inverter that a service asks over Modbus."""


class ModbusMeterSettings(ModbusMeter, ModbusDeviceSettings):
    """The meter that a service asks over Modbus."""
