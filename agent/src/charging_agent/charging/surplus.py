"""Measures the surplus: what cars in the surplus modes may draw together without taking it from grid or battery."""

from dataclasses import dataclass

from charging_agent.charging.fleet import Fleet, MeterHistory, iter_evses, limit_in_force_a, power_kw
from charging_agent.decision.policy import DecisionInputs
from ev_service.charging import Chargers
from ev_service.charging_evidence import ConfirmedCharging


@dataclass(frozen=True, slots=True)
class Surplus:
    """Surplus by the meter of the grid connection, and how it is reckoned."""

    export_kw: float
    """Measured power given to the grid [kW]."""
    import_kw: float
    """Measured power drawn from the grid [kW]."""
    charging_kw: float
    """Part of the load that is known to be charging of cars on surplus [kW]; the real value may be higher."""
    other_charging_kw: float = 0.0
    """What other cars may draw that the measured load does not hold [kW]; 0 where it holds charging."""
    battery_kw: float = 0.0
    """Positive: charging of the stationary battery, where cars go before it; negative: its discharging [kW]."""
    bound_kw: float | None = None
    """No more than this is surplus, because the battery's power is not known [kW]; None: it is."""

    @property
    def power_kw(self) -> float:
        """What cars on surplus may draw together [kW]."""
        surplus_kw = self.export_kw - self.import_kw + self.charging_kw - self.other_charging_kw + self.battery_kw
        return max(0.0, surplus_kw if self.bound_kw is None else min(surplus_kw, self.bound_kw))


def measure_surplus(
    inputs: DecisionInputs,
    reading: Chargers,
    fleet: Fleet,
    meter_history: MeterHistory,
    confirmed: ConfirmedCharging,
    *,
    is_before_battery: bool = False,
) -> Surplus | None:
    """Measure the surplus; None without a grid reading, which leaves none.

    Args:
        inputs: readings of the decision.
        reading: the chargers.
        fleet: what was found in that reading.
        meter_history: what the cars are reported to draw.
        confirmed: what of that the connection's meter confirms.
        is_before_battery: whether what the stationary battery is charged with is surplus as well.
    """
    grid = inputs.grid
    if grid is None:
        return None
    on_surplus = {car.key for car in fleet.cars if car.is_on_surplus}
    charging_kw, other_kw = 0.0, 0.0
    for key, _, evse in iter_evses(reading):
        limit_kw = power_kw(limit_in_force_a(evse), len(evse.phases), reading.voltage_v)
        if grid.includes_charging and key in on_surplus:
            reported_kw = meter_history.min_power_kw(key, grid.timestamp, inputs.at)
            by_change_kw = 0.0 if key in confirmed.contradicted else confirmed.by_change_kw.get(key, 0.0)
            confirmed_kw = max(confirmed.power_kw.get(key, 0.0), by_change_kw)
            charging_kw += min(limit_kw, reported_kw, confirmed_kw)
        elif not grid.includes_charging and key not in on_surplus and evse.session is not None:
            measured_kw = 0.0 if evse.measured is None else evse.measured.power_kw
            other_kw += max(limit_kw, measured_kw)
    battery_kw = None if inputs.battery is None else inputs.battery.active_power_kw
    solar_kw = grid.export_kw if inputs.solar is None else inputs.solar.generation_kw
    return Surplus(
        export_kw=grid.export_kw,
        import_kw=grid.load_kw,
        charging_kw=charging_kw,
        other_charging_kw=other_kw,
        battery_kw=0.0 if battery_kw is None or (battery_kw > 0 and not is_before_battery) else battery_kw,
        # What the battery gives is no surplus. Where that is not known, no more than the sun gives is.
        bound_kw=solar_kw if battery_kw is None else None,
    )
