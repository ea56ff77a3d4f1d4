"""What `GET /site` and the faults' routes say."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from ev_service.settings import SiteSettings
from ev_service.units import UtcTimestamp
from site_twin.charging import ParkedState
from site_twin.faults import Fault
from site_twin.ports import EvseKey
from site_twin.site import TwinSite, highest_of


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class CarView(_View):
    """One car that is there."""

    charger_id: str = Field(description="The charger at which it stands.")
    evse_id: int = Field(description="Its EVSE.")
    car_id: str = Field(description="Differs for every visit.")
    power_kw: float = Field(description="What it draws [kW].")
    current_a: tuple[float, float, float] = Field(description="What it draws on L1, L2, L3 of the site [A].")
    limit_a: float = Field(description="What it is offered on each phase [A].")
    phases: int = Field(description="Phases of its own charger.")
    max_current_a: float = Field(description="Highest current of its own charger [A].")
    energy_wanted_kwh: float = Field(description="What it wants in all [kWh].")
    energy_got_kwh: float = Field(description="What it has got [kWh].")
    is_asking: bool = Field(description="Whether it would draw if enough were offered.")
    plugged_in_at: UtcTimestamp = Field(description="When it came, UTC.")
    departure: UtcTimestamp = Field(description="When it leaves, UTC.")


class EvseView(_View):
    """One EVSE."""

    evse_id: int = Field(description="Its number.")
    phases: tuple[int, ...] = Field(description="Phases of the site to which it is wired.")
    max_current_a: float = Field(description="What it can give at most per phase [A].")
    limit_a: float = Field(description="What it offers now per phase [A].")
    register_kwh: float = Field(description="What its meter has counted [kWh].")


class ChargerView(_View):
    """One charger as built, and its own report."""

    model_config = ConfigDict(extra="allow")

    charger_id: str = Field(description="Its identity.")
    evses: tuple[EvseView, ...] = Field(description="Its EVSEs.")


class FaultView(_View):
    """One fault in force."""

    device: str = Field(description="Who fails.")
    kind: str = Field(description="How.")
    until: UtcTimestamp = Field(description="Until when, UTC.")


class SiteView(_View):
    """The whole site at one moment; load - export = building + battery + charging - generation."""

    site_id: str = Field(description="The site.")
    timestamp: UtcTimestamp = Field(description="When this is so, UTC.")
    generation_kw: float = Field(description="What the panels give [kW].")
    building_kw: float = Field(description="What the building draws [kW].")
    battery_power_kw: float = Field(description="Positive charges the battery, negative discharges it [kW].")
    soc_percent: float = Field(description="Charge of the battery [%].")
    charging_kw: float = Field(description="What all cars draw [kW].")
    phase_current_a: tuple[float, float, float] = Field(description="What all cars draw on L1, L2, L3 [A].")
    connection_current_a: tuple[float, ...] = Field(
        description="What each phase of the connection carries [A], positive drawn from the grid, negative given to it."
    )
    load_kw: float = Field(description="Drawn from the grid [kW].")
    export_kw: float = Field(description="Given to the grid [kW].")
    limit_kw: float = Field(description="What the connection may carry [kW].")
    limit_a: float = Field(description="What each phase of the connection may carry [A].")
    load_percent: float = Field(description="`load_kw` over `limit_kw` [%].")
    highest_load_kw: float = Field(description="Highest load since the start, looked at every minute [kW].")
    highest_current_a: tuple[float, ...] = Field(
        description="Highest current of each phase of the connection since the start, looked at every minute [A]."
    )
    turned_away: int = Field(description="Cars that found no free place since the start.")
    cars: tuple[CarView, ...] = Field(description="The cars that are there, by place.")
    chargers: tuple[ChargerView, ...] = Field(description="The chargers, by identity.")
    faults: tuple[FaultView, ...] = Field(description="The faults in force.")


class FaultOrder(BaseModel):
    """A fault to order."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    kind: str = Field(min_length=1, max_length=64, description="How the device shall fail.", examples=["silent"])
    minutes: float = Field(default=5.0, gt=0, le=1440, description="For how long [min].", examples=[5.0])


class Faults(_View):
    """The faults in force, and those that can be ordered."""

    in_force: tuple[FaultView, ...] = Field(description="The faults in force now.")
    kinds: dict[str, dict[str, str]] = Field(description="For each device its kinds of fault, and what each does.")


def site_view(site: TwinSite, settings: SiteSettings) -> SiteView:
    """The whole site now."""
    powers, limit_kw = site.powers(), settings.limit_kw
    load_kw = round(powers.load_kw, 3)
    return SiteView(
        site_id=settings.id,
        timestamp=powers.moment,
        generation_kw=round(powers.generation_kw, 3),
        building_kw=round(powers.building_kw, 3),
        battery_power_kw=round(powers.battery_power_kw, 3),
        soc_percent=round(powers.soc_percent, 2),
        charging_kw=round(powers.charging_kw, 3),
        phase_current_a=_amperes(powers.phase_current_a),
        connection_current_a=_round(powers.connection_current_a),
        load_kw=load_kw,
        export_kw=round(powers.export_kw, 3),
        limit_kw=limit_kw,
        limit_a=round(limit_kw * 1000 / (settings.voltage_v * settings.phases), 2),
        load_percent=round(load_kw / limit_kw * 100, 3),
        highest_load_kw=round(max(site.highest_load_kw, powers.load_kw), 3),
        highest_current_a=_round(highest_of(site.highest_current_a, powers.connection_current_a)),
        turned_away=site.turned_away,
        cars=tuple(map(_car, site.standing())),
        chargers=_chargers(site),
        faults=tuple(map(fault_view, site.faults_ordered.in_force(powers.moment))),
    )


def fault_view(fault: Fault) -> FaultView:
    """One fault."""
    return FaultView(device=fault.device, kind=fault.kind, until=fault.until)


def _car(standing: ParkedState) -> CarView:
    car = standing.car
    return CarView(
        charger_id=standing.key.charger_id,
        evse_id=standing.key.evse_id,
        car_id=car.car_id,
        power_kw=round(standing.draw.power_kw, 3),
        current_a=_amperes(standing.draw.current_a),
        limit_a=standing.offer.limit_a,
        phases=car.phases,
        max_current_a=car.max_current_a,
        energy_wanted_kwh=car.energy_wanted_kwh,
        energy_got_kwh=round(car.energy_got_kwh, 3),
        is_asking=car.is_asking,
        plugged_in_at=car.plugged_in_at,
        departure=car.departure,
    )


def _chargers(site: TwinSite) -> tuple[ChargerView, ...]:
    offers = site.offers()
    evses: dict[str, list[EvseView]] = {}
    for key, place in sorted(site.places.items()):
        evse = EvseView(
            evse_id=key.evse_id,
            phases=place.phases,
            max_current_a=place.max_current_a,
            limit_a=offers[key].limit_a,
            register_kwh=round(_register_kwh(site, key), 3),
        )
        evses.setdefault(key.charger_id, []).append(evse)
    return tuple(_charger(site, charger_id, tuple(of_it)) for charger_id, of_it in evses.items())


def _charger(site: TwinSite, charger_id: str, evses: tuple[EvseView, ...]) -> ChargerView:
    return ChargerView.model_validate({**site.charger_state(charger_id), "charger_id": charger_id, "evses": evses})


def _register_kwh(site: TwinSite, key: EvseKey) -> float:
    return site.meter(*key).register_kwh


def _amperes(lines: tuple[float, float, float]) -> tuple[float, float, float]:
    first, second, third = _round(lines)
    return first, second, third


def _round(lines: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(line, 2) for line in lines)
