"""How much of what the chargers report the connection's meter confirms, by the agent's readings or the charger service.

The comparison itself is `ev_service.charging_evidence`, which the charger service uses too.
"""

from dataclasses import replace

from charging_agent.charging.fleet import iter_evses, limit_in_force_a
from charging_agent.charging.meter_history import certain_currents_a
from charging_agent.charging.sharing import CarKey
from charging_agent.decision.policy import DecisionInputs
from ev_service.charging import Chargers
from ev_service.charging_evidence import ChargingEvidence, ConfirmedCharging, ConnectionLoad, ReportedCharging
from ev_service.telemetry import GridLoad

_BATTERY, _SUN = "battery", "sun"


class MeterEvidence:
    """Reports and loads, compared since the start.

    Args:
        meter_lost_s: a change of a report and of the load belong together up to this time apart [s].
    """

    def __init__(self, meter_lost_s: float) -> None:
        self._evidence = ChargingEvidence(meter_lost_s)

    def observe(self, inputs: DecisionInputs, chargers: Chargers, *, is_new: bool) -> None:
        """Compare the newest readings; a load that holds no charging confirms nothing.

        Args:
            inputs: the readings of load, sun and battery.
            chargers: the newest reading of the chargers.
            is_new: whether it was read together with the others.
        """
        grid = inputs.grid
        if grid is None or not grid.includes_charging:
            return
        reports = {
            key: ReportedCharging(
                evse.measured.power_kw, certain_currents_a(evse.measured, chargers.voltage_v), limit_in_force_a(evse)
            )
            for key, _, evse in iter_evses(chargers)
            if evse.measured is not None
        }
        by_phase = grid.current_a if grid.current_a is not None and len(grid.current_a) == chargers.phases else None
        load = ConnectionLoad(
            grid.timestamp, grid.load_kw - grid.export_kw, by_phase, chargers.voltage_v, _others_kw(inputs, grid)
        )
        self._evidence.observe(load, reports if is_new else None)

    def confirm(self, chargers: Chargers) -> ConfirmedCharging:
        """What is confirmed of the reports, by whoever knows more of it: the charger service, or the agent.

        The service reads the connection's meter more often and also before the agent began; the agent knows battery and
        sun. Neither confirms more than all cars draw.
        """
        ours, theirs = self._evidence.confirm(), _confirm_by_service(chargers)
        if sum(theirs.power_kw.values()) <= sum(ours.power_kw.values()):
            return ours
        return replace(theirs, contradicted=ours.contradicted)

    @property
    def contradicted(self) -> frozenset[CarKey]:
        """EVSEs whose reports rose without the load."""
        return self._evidence.confirm().contradicted


def _confirm_by_service(chargers: Chargers) -> ConfirmedCharging:
    measured = {key: evse.measured for key, _, evse in iter_evses(chargers) if evse.measured is not None}
    phases = tuple(
        {
            key: one.confirmed_current_a[phase]
            for key, one in measured.items()
            if one.confirmed_current_a is not None and phase < len(one.confirmed_current_a)
        }
        for phase in range(chargers.phases)
    )
    power_kw = {key: one.confirmed_power_kw for key, one in measured.items() if one.confirmed_power_kw is not None}
    return ConfirmedCharging(power_kw, phases)


def _others_kw(inputs: DecisionInputs, grid: GridLoad) -> dict[str, float]:
    """What battery and sun do, behind the same connection [kW]."""
    others_kw = dict[str, float]()
    if inputs.battery is not None and inputs.battery.active_power_kw is not None:
        others_kw[_BATTERY] = inputs.battery.active_power_kw
    if inputs.solar is not None:
        others_kw[_SUN] = -inputs.solar.generation_kw
    return others_kw
