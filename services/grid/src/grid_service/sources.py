"""Grid readings: settings and the sources."""

from datetime import datetime
from functools import partial

from pydantic_settings import SettingsConfigDict

from ev_sensors.connection_meter import connection_meter, load_percent, why_implausible
from ev_sensors.modbus_source_factory import modbus_source
from ev_sensors.settings import DeviceId, ModbusMeterSettings, MqttDeviceSettings, MqttSettings
from ev_sensors.source_factory import mqtt_source
from ev_sensors.twin import TwinSource
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.replay import replay_from_settings
from ev_service.settings import load
from ev_service.sources import ServiceSettings, Source, SourceSettings
from ev_service.telemetry import GridLoad
from site_model.parameters import read_parameters
from site_model.scenario import Site
from site_model.yield_table import create_tabled_sun


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


class SimulatedGrid(Source[GridLoad]):
    """The grid connection of the simulated site; it does not know what the cars draw."""

    def __init__(self, site: Site, *, site_id: str, limit_kw: float) -> None:
        self._site, self._site_id, self._limit_kw = site, site_id, limit_kw

    async def read(self, now: datetime) -> GridLoad:
        """What the connection carries at `now`."""
        state = self._site.at(now)
        load_kw = round(state.load_kw, 3)
        return GridLoad(
            site_id=self._site_id,
            timestamp=now,
            source="simulated",
            load_percent=round(load_percent(load_kw, self._limit_kw), 3),
            load_kw=load_kw,
            limit_kw=self._limit_kw,
            export_kw=round(state.export_kw, 3),
            # What the cars draw comes on top: simulated readings do not react to charging.
            includes_charging=False,
        )


def create_source(settings: ServiceSettings, clock: Clock) -> Source[GridLoad]:
    """The source that the settings name.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings.source.source == "replay":
        return replay_from_settings(GridLoad, settings, partial(why_implausible, voltage_v=settings.site.voltage_v))
    if settings.source.source == "mqtt":
        device = connection_meter(settings.site)
        return mqtt_source(device, load(GridMqttSettings), load(MqttSettings), settings.site, clock)
    if settings.source.source == "modbus":
        device = connection_meter(settings.site)
        return modbus_source(device, load(GridModbusSettings), clock)
    if settings.site.twin_url is not None:
        return TwinSource(GridLoad, f"{settings.site.twin_url}/grid-load")
    parameters = read_parameters(load, place=settings.site, seed=settings.run.sim_seed)
    try:
        site = Site(parameters, create_tabled_sun(parameters))
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return SimulatedGrid(site, site_id=settings.site.id, limit_kw=settings.site.limit_kw)
