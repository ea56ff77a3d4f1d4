"""The site's powers at one moment, and the readings that the three services return of them."""

from dataclasses import dataclass
from datetime import datetime

from ev_service.settings import SiteSettings
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus
from site_model.parameters import SiteParameters


@dataclass(frozen=True, slots=True)
class Powers:
    """Where the site's power comes from and goes to; units and signs as in `site_model.scenario.SiteState`."""

    moment: datetime
    generation_kw: float
    poa_global_w_m2: float | None
    building_kw: float
    battery_power_kw: float
    soc_percent: float
    charging_kw: float
    """What all cars draw [kW]."""

    phase_current_a: tuple[float, float, float]
    """What they draw on L1 [A], L2, L3."""

    load_kw: float
    export_kw: float
    connection_current_a: tuple[float, ...]
    """What each phase of the connection carries [A], positive is drawn from the grid."""


SOURCE = "simulated"


class Readings:
    """Writes readings of one site."""

    def __init__(self, parameters: SiteParameters, site: SiteSettings) -> None:
        """Write readings of the site that these describe."""
        self._parameters, self._site = parameters, site

    def solar_status(self, powers: Powers) -> SolarStatus:
        """What the panels give."""
        irradiance_w_m2 = powers.poa_global_w_m2
        return SolarStatus(
            site_id=self._site.id,
            timestamp=powers.moment,
            source=SOURCE,
            generation_kw=round(powers.generation_kw, 3),
            capacity_kwp=self._parameters.panels.capacity_kwp,
            poa_global_w_m2=None if irradiance_w_m2 is None else round(irradiance_w_m2, 1),
        )

    def battery_status(self, powers: Powers) -> BatteryStatus:
        """How full the battery is, and what it does."""
        return BatteryStatus(
            site_id=self._site.id,
            timestamp=powers.moment,
            source=SOURCE,
            soc_percent=round(powers.soc_percent, 2),
            capacity_kwh=self._parameters.storage.capacity_kwh,
            active_power_kw=round(powers.battery_power_kw, 3),
        )

    def grid_load(self, powers: Powers) -> GridLoad:
        """What the connection carries, the cars' charging included."""
        load_kw = round(powers.load_kw, 3)
        return GridLoad(
            site_id=self._site.id,
            timestamp=powers.moment,
            source=SOURCE,
            load_percent=round(load_kw / self._site.limit_kw * 100, 3),
            load_kw=load_kw,
            limit_kw=self._site.limit_kw,
            export_kw=round(powers.export_kw, 3),
            includes_charging=True,
            current_a=tuple(round(current_a, 2) for current_a in powers.connection_current_a),
        )
