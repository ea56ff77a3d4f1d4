"""Where the grid service's readings come from."""

from pydantic_settings import SettingsConfigDict

from ev_sensors.settings import DeviceId, ModbusMeterSettings, MqttDeviceSettings
from ev_service.sources import SourceSettings


class GridSourceSettings(SourceSettings):
    """`GRID_SOURCE` and what belongs to it."""

    model_config = SettingsConfigDict(env_prefix="GRID_")


class GridMqttSettings(MqttDeviceSettings):
    """`GRID_MQTT_…`: the device that speaks MQTT."""

    model_config = SettingsConfigDict(env_prefix="GRID_MQTT_")

    device_id: DeviceId = "meter-1"


class GridModbusSettings(ModbusMeterSettings):
    """`GRID_MODBUS_…`: the device that speaks Modbus."""

    model_config = SettingsConfigDict(env_prefix="GRID_MODBUS_")
