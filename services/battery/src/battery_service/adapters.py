"""The sources of battery readings."""

from datetime import datetime

from battery_service.devices import battery_device
from battery_service.settings import BatteryModbusSettings, BatteryMqttSettings
from ev_sensors.choice import mqtt_source
from ev_sensors.modbus_choice import modbus_source
from ev_sensors.settings import MqttSettings
from ev_sensors.twin import TwinSource
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.replay import replay_from_settings
from ev_service.settings import load
from ev_service.sources import ServiceSettings, Source
from ev_service.telemetry import BatteryStatus
from site_model.parameters import Storage, read_parameters
from site_model.story import Site
from site_model.sun_choice import create_tabled_sun


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


def make_source(settings: ServiceSettings, clock: Clock) -> Source[BatteryStatus]:
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
