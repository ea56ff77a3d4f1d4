"""Where the battery service's readings come from."""

from pydantic_settings import SettingsConfigDict

from ev_sensors.settings import DeviceId, ModbusDeviceSettings, MqttDeviceSettings
from ev_service.sources import SourceSettings


class BatterySourceSettings(SourceSettings):
    """`BATTERY_SOURCE` and what belongs to it."""

    model_config = SettingsConfigDict(env_prefix="BATTERY_")


class BatteryMqttSettings(MqttDeviceSettings):
    """`BATTERY_MQTT_…`: the device that speaks MQTT."""

    model_config = SettingsConfigDict(env_prefix="BATTERY_MQTT_")

    device_id: DeviceId = "bess-1"


class BatteryModbusSettings(ModbusDeviceSettings):
    """`BATTERY_MODBUS_…`: the device that speaks Modbus."""

    model_config = SettingsConfigDict(env_prefix="BATTERY_MODBUS_")
