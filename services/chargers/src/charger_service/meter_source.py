"""Source of the connection's meter, which this service reads itself for protection."""

from pydantic_settings import SettingsConfigDict

from charger_service.settings import MeterSettings
from ev_sensors.connection_meter import connection_meter
from ev_sensors.modbus_source_factory import modbus_source
from ev_sensors.settings import DeviceId, ModbusMeterSettings, MqttDeviceSettings, MqttSettings
from ev_sensors.source_factory import mqtt_source
from ev_sensors.twin import TwinSource
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.settings import SiteSettings, load
from ev_service.sources import Source
from ev_service.telemetry import GridLoad

_SERVICE = "chargers"


class MeterMqttSettings(MqttDeviceSettings):
    """`CHARGERS_METER_MQTT_…`: a meter that is read by MQTT."""

    model_config = SettingsConfigDict(env_prefix="CHARGERS_METER_MQTT_")

    device_id: DeviceId = "meter-1"


class MeterModbusSettings(ModbusMeterSettings):
    """`CHARGERS_METER_MODBUS_…`: a meter that is read by Modbus."""

    model_config = SettingsConfigDict(env_prefix="CHARGERS_METER_MODBUS_")


def make_meter_source(settings: MeterSettings, site: SiteSettings, clock: Clock) -> Source[GridLoad] | None:
    """Build the source of the meter in the settings; None: there is none.

    Args:
        settings: how it is read.
        site: the site, for its name, its connection and its twin.
        clock: the run's clock.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings.source == "mqtt":
        meter = connection_meter(site)
        return mqtt_source(meter, load(MeterMqttSettings), load(MqttSettings), site, clock, service=_SERVICE)
    if settings.source == "modbus":
        return modbus_source(connection_meter(site), load(MeterModbusSettings), clock)
    if settings.source == "simulated":
        if site.twin_url is None:
            raise ConfigurationError("CHARGERS_METER_SOURCE simulated needs SITE_TWIN_URL")
        return TwinSource(GridLoad, f"{site.twin_url}/grid-load")
    return None
