"""Solar readings: settings, what is plausible for panels, and the sources."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from pydantic_settings import SettingsConfigDict

from ev_sensors.checks import Nominal, Range, Rules, Slope
from ev_sensors.measurement import Measurement
from ev_sensors.message_validator import Device
from ev_sensors.modbus_source_factory import modbus_source
from ev_sensors.settings import DeviceId, ModbusInverterSettings, MqttDeviceSettings, MqttSettings
from ev_sensors.source_factory import mqtt_source
from ev_sensors.twin import TwinSource
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.replay import replay_from_settings
from ev_service.settings import load
from ev_service.sources import ServiceSettings, Source, SourceSettings
from ev_service.telemetry import SolarStatus
from site_model.parameters import Panels, read_parameters
from site_model.scenario import Site
from site_model.yield_table import create_computed_sun


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


HIGHEST_YIELD = 1.5
"""AC power over rated DC power that no plant passes: bright cloud edges on cold panels reach about 1.3."""


def why_implausible(reading: SolarStatus) -> str | None:
    """Why panels cannot have given this, or None."""
    highest_kw = HIGHEST_YIELD * reading.capacity_kwp
    if reading.generation_kw > highest_kw:
        return f"generation_kw {reading.generation_kw:g} is more than panels of {reading.capacity_kwp:g} kWp can give"
    return None


_STANDBY = -0.01
"""What an inverter may draw at night, as a share of the panels' capacity."""

_BRIGHTEST_W_M2 = 2000.0
"""More than any sun: a cloud's edge adds about half to the 1,000 W/m² of a clear noon."""


def solar_device(site_id: str, capacity_kwp: float) -> Device[SolarStatus]:
    """The panels of the site.

    Args:
        site_id: the site.
        capacity_kwp: rated DC power of the panels as it is set [kWp].
    """
    generation = Range(
        _STANDBY * capacity_kwp,
        HIGHEST_YIELD * capacity_kwp,
        # A cloud that leaves; one that comes, or an inverter that trips, may be as quick as it likes.
        rise=Slope(at_once=0.2 * capacity_kwp, per_s=0.1 * capacity_kwp),
    )

    def reading(measured: Measurement, source: str) -> SolarStatus:
        return SolarStatus(
            site_id=site_id,
            timestamp=measured.timestamp,
            source=source,
            generation_kw=max(measured.values["generation_kw"], 0.0),
            capacity_kwp=capacity_kwp,
            poa_global_w_m2=measured.values.get("poa_global_w_m2"),
        )

    def combine(readings: Sequence[SolarStatus]) -> SolarStatus:
        return SolarStatus(
            site_id=site_id,
            timestamp=min(reading.timestamp for reading in readings),
            source=readings[0].source,
            generation_kw=sum(reading.generation_kw for reading in readings),
            capacity_kwp=sum(reading.capacity_kwp for reading in readings),
        )

    ranges = {"generation_kw": generation, "poa_global_w_m2": Range(0.0, _BRIGHTEST_W_M2)}
    rules = Rules(ranges, {"capacity_kwp": Nominal(capacity_kwp)})
    return Device("solar", rules, reading, combine, capacity_kwp, partial(solar_device, site_id))


class SimulatedSolar(Source[SolarStatus]):
    """The panels of the simulated site, under a sun computed with pvlib."""

    def __init__(self, site: Site, *, site_id: str, capacity_kwp: float) -> None:
        self._site, self._site_id, self._capacity_kwp = site, site_id, capacity_kwp

    async def read(self, now: datetime) -> SolarStatus:
        """What the panels give at `now`."""
        panels = self._site.panels_at(now)
        return SolarStatus(
            site_id=self._site_id,
            timestamp=now,
            source="simulated",
            generation_kw=round(panels.generation_kw, 3),
            capacity_kwp=self._capacity_kwp,
            poa_global_w_m2=None if panels.poa_global_w_m2 is None else round(panels.poa_global_w_m2, 1),
        )


def create_source(settings: ServiceSettings, clock: Clock) -> Source[SolarStatus]:
    """The source that the settings name.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings.source.source == "replay":
        return replay_from_settings(SolarStatus, settings, why_implausible)
    if settings.source.source == "mqtt":
        device = solar_device(settings.site.id, load(Panels).capacity_kwp)
        return mqtt_source(device, load(SolarMqttSettings), load(MqttSettings), settings.site, clock)
    if settings.source.source == "modbus":
        device = solar_device(settings.site.id, load(Panels).capacity_kwp)
        return modbus_source(device, load(SolarModbusSettings), clock)
    if settings.site.twin_url is not None:
        return TwinSource(SolarStatus, f"{settings.site.twin_url}/solar-status")
    parameters = read_parameters(load, place=settings.site, seed=settings.run.sim_seed)
    try:
        site = Site(parameters, create_computed_sun(parameters))
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return SimulatedSolar(site, site_id=settings.site.id, capacity_kwp=parameters.panels.capacity_kwp)
