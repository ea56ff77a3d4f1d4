"""What can be told of the site at one moment; knows nothing of how it came to be."""

from dataclasses import dataclass
from datetime import datetime

from site_twin.charging import Draw
from site_twin.ports import EvseKey, Offer, PluggedCar


@dataclass(frozen=True, slots=True)
class Powers:
    """Where the site's power comes from and goes to; units and signs as in `site_model.scenario.SiteState`.

    charging_kw [kW]: what all cars draw. phase_current_a [A]: what they draw on L1, L2, L3.
    connection_current_a [A]: what each phase of the connection carries, positive is drawn from the grid.
    """

    moment: datetime
    generation_kw: float
    poa_global_w_m2: float | None
    building_kw: float
    battery_power_kw: float
    soc_percent: float
    charging_kw: float
    phase_current_a: tuple[float, float, float]
    load_kw: float
    export_kw: float
    connection_current_a: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ParkedState:
    """A car at its place: what it is offered and what it draws now."""

    key: EvseKey
    car: PluggedCar
    offer: Offer
    draw: Draw
