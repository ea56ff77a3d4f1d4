"""Battery readings: settings, what is plausible for a battery, and the sources."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from pydantic_settings import SettingsConfigDict

from ev_sensors.checks import Range, Rules, Slope
from ev_sensors.measurement import Measurement
from ev_sensors.message_validator import Device
from ev_sensors.modbus_source_factory import modbus_source
from ev_sensors.settings import DeviceId, ModbusDeviceSettings, MqttDeviceSettings, MqttSettings
from ev_sensors.source_factory import mqtt_source
from ev_sensors.twin import TwinSource
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.replay import replay_from_settings
from ev_service.settings import load
from ev_service.sources import ServiceSettings, Source, SourceSettings
from ev_service.telemetry import BatteryStatus
from site_model.parameters import Storage, read_parameters
from site_model.scenario import Site
from site_model.yield_table import create_tabled_sun


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


_QUICKEST = Slope(at_once=3.0, per_s=0.2)
"""How the charge may move [%]: no stationary battery is full within 8 minutes, and 3 % is a meter's step."""

_FULL_PERCENT = 100.0
_ABOVE_FULL_PERCENT = 1.0
"""What a device may say above full [%]: balancing and rounding end there, and it counts as full."""

_HIGHEST_C_RATE = 4.0
"""Power over capacity that no stationary battery passes [1/h]."""


def battery_device(site_id: str, capacity_kwh: float) -> Device[BatteryStatus]:
    """The battery of the site.

    Args:
        site_id: the site.
        capacity_kwh: usable capacity as it is set [kWh]; the device may say that less of it is left.
    """
    highest_kw = _HIGHEST_C_RATE * capacity_kwh

    def reading(measured: Measurement, source: str) -> BatteryStatus:
        return BatteryStatus(
            site_id=site_id,
            timestamp=measured.timestamp,
            source=source,
            soc_percent=min(measured.values["soc_percent"], _FULL_PERCENT),
            capacity_kwh=measured.values.get("capacity_kwh", capacity_kwh),
            active_power_kw=measured.values.get("active_power_kw"),
        )

    def combine(readings: Sequence[BatteryStatus]) -> BatteryStatus:
        kwh = sum(reading.capacity_kwh for reading in readings)
        powers = [reading.active_power_kw for reading in readings]
        known = [power for power in powers if power is not None]
        return BatteryStatus(
            site_id=site_id,
            timestamp=min(reading.timestamp for reading in readings),
            source=readings[0].source,
            soc_percent=sum(reading.soc_percent * reading.capacity_kwh for reading in readings) / kwh,
            capacity_kwh=kwh,
            active_power_kw=sum(known) if len(known) == len(powers) else None,
        )

    ranges = {
        "soc_percent": Range(0.0, _FULL_PERCENT + _ABOVE_FULL_PERCENT, rise=_QUICKEST, fall=_QUICKEST),
        "active_power_kw": Range(-highest_kw, highest_kw),
        "capacity_kwh": Range(0.5 * capacity_kwh, 1.05 * capacity_kwh),
    }
    return Device("battery", Rules(ranges), reading, combine, capacity_kwh, partial(battery_device, site_id))


class SimulatedBattery(Source[BatteryStatus]):
    """The stationary battery of the simulated site."""

    def __init__(self, site: Site, *, site_id: str, capacity_kwh: float) -> None:
        self._site, self._site_id, self._capacity_kwh = site, site_id, capacity_kwh

    async def read(self, now: datetime) -> BatteryStatus:
        """How full the battery is at `now`, and what it does."""
        state = self._site.at(now)
        return BatteryStatus(
            site_id=self._site_id,
            timestamp=now,
            source="simulated",
            soc_percent=round(state.soc_percent, 2),
            capacity_kwh=self._capacity_kwh,
            active_power_kw=round(state.battery_power_kw, 3),
        )


def create_source(settings: ServiceSettings, clock: Clock) -> Source[BatteryStatus]:
    """The source that the settings name.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings.source.source == "replay":
        # The model's own bounds say all there is to say about one row of a battery.
        return replay_from_settings(BatteryStatus, settings, check=lambda _: None)
    if settings.source.source == "mqtt":
        device = battery_device(settings.site.id, load(Storage).capacity_kwh)
        return mqtt_source(device, load(BatteryMqttSettings), load(MqttSettings), settings.site, clock)
    if settings.source.source == "modbus":
        device = battery_device(settings.site.id, load(Storage).capacity_kwh)
        return modbus_source(device, load(BatteryModbusSettings), clock)
    if settings.site.twin_url is not None:
        return TwinSource(BatteryStatus, f"{settings.site.twin_url}/battery-status")
    parameters = read_parameters(load, place=settings.site, seed=settings.run.sim_seed)
    try:
        site = Site(parameters, create_tabled_sun(parameters))
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return SimulatedBattery(site, site_id=settings.site.id, capacity_kwh=parameters.storage.capacity_kwh)
