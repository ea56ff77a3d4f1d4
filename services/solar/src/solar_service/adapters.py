"""The sources of solar readings."""

from datetime import datetime

from ev_sensors.choice import mqtt_source
from ev_sensors.modbus_choice import modbus_source
from ev_sensors.settings import MqttSettings
from ev_sensors.twin import TwinSource
from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from ev_service.replay import replay_from_settings
from ev_service.settings import load
from ev_service.sources import ServiceSettings, Source
from ev_service.telemetry import SolarStatus
from site_model.parameters import Panels, read_parameters
from site_model.story import Site
from site_model.sun_choice import create_computed_sun
from solar_service.devices import solar_device
from solar_service.model import why_implausible
from solar_service.settings import SolarModbusSettings, SolarMqttSettings


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


def make_source(settings: ServiceSettings, clock: Clock) -> Source[SolarStatus]:
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
