"""Where the solar service's readings come from."""

from pydantic_settings import SettingsConfigDict

from ev_sensors.settings import DeviceId, ModbusInverterSettings, MqttDeviceSettings
from ev_service.sources import SourceSettings


class SolarSourceSettings(SourceSettings):
    """`SOLAR_SOURCE` and what belongs to it."""

    model_config = SettingsConfigDict(env_prefix="SOLAR_")


class SolarMqttSettings(MqttDeviceSettings):
    """`SOLAR_MQTT_…`: the device that speaks MQTT."""

    model_config = SettingsConfigDict(env_prefix="SOLAR_MQTT_")

    device_id: DeviceId = "pv-1"


class SolarModbusSettings(ModbusInverterSettings):
    """`SOLAR_MODBUS_…`: the device that speaks Modbus."""

    model_config = SettingsConfigDict(env_prefix="SOLAR_MODBUS_")
