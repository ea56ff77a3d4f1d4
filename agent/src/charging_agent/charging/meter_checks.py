"""Checks the meter values that chargers report: against their limits, and against the connection's meter.

The comparison with the connection's meter is `ev_service.charging_evidence`, which the charger service uses too.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from charging_agent.charging.fleet import certain_currents_a, iter_evses, limit_in_force_a
from charging_agent.charging.sharing import CarKey
from charging_agent.decision.policy import DecisionInputs
from ev_service.charging import Chargers, Evse, EvseState, MeterValues
from ev_service.charging_evidence import ChargingEvidence, ConfirmedCharging, ConnectionLoad, ReportedCharging
from ev_service.telemetry import GridLoad

_ACTS_WITHIN = timedelta(seconds=30)
"""Longest time until a limit acts (measured by others on OCPP chargers); until then the former one counts too."""

_BATTERY, _SUN = "battery", "sun"


@dataclass(frozen=True, slots=True)
class Alarms:
    """Deviations from what was commanded."""

    overdrawing: tuple[CarKey, ...] = ()
    """Cars above their limit for longer than allowed."""
    without_meter: tuple[CarKey, ...] = ()
    """Cars whose meter stopped reporting while they charged, in two consecutive rounds."""
    contradicted: tuple[CarKey, ...] = ()
    """EVSEs that report more than the connection's meter can confirm."""


@dataclass(slots=True)
class _CarState:
    """One car between two looks."""

    session_id: str
    limits: deque[tuple[datetime, float]] = field(default_factory=lambda: deque[tuple[datetime, float]](maxlen=16))
    above_since: datetime | None = None
    was_silent: bool = False


class OverdrawMonitor:
    """Compares what cars draw with what they may.

    Args:
        overdraw_s: a car may be above its limit this long [s].
        meter_lost_s: so long [s] a meter may say nothing.
        tolerance_a: a car may draw this much [A] more than its limit; cars draw 6.1 A at 6 A.
    """

    def __init__(self, overdraw_s: float, meter_lost_s: float, tolerance_a: float) -> None:
        self._overdraw = timedelta(seconds=overdraw_s)
        self._meter_lost = timedelta(seconds=meter_lost_s)
        self._tolerance_a = tolerance_a
        self._cars: dict[CarKey, _CarState] = {}

    def check(self, reading: Chargers, now: datetime) -> Alarms:
        """What a reading says about the limits of the rounds before."""
        there: dict[CarKey, _CarState] = {}
        overdrawing, without_meter = list[CarKey](), list[CarKey]()
        for key, _, evse in iter_evses(reading):
            if evse.session is None:
                continue
            car = self._cars.get(key)
            if car is None or car.session_id != evse.session.session_id:
                car = _CarState(evse.session.session_id)
            there[key] = car
            overdrawing += [key] if self._is_above_for_long(car, evse, reading.voltage_v, now) else []
            without_meter += [key] if self._is_silent_again(car, evse, now) else []
        self._cars = there
        return Alarms(tuple(overdrawing), tuple(without_meter))

    def _is_above_for_long(self, car: _CarState, evse: Evse, voltage_v: float, now: datetime) -> bool:
        car.limits.append((now, limit_in_force_a(evse)))
        if evse.measured is None:
            return False
        measured_at, drawn_a = evse.measured.measured_at, _certain_current_a(evse.measured, len(evse.phases), voltage_v)
        # The highest limit that may still have acted at the time of the measurement.
        former = [limit_a for at, limit_a in car.limits if at <= measured_at - _ACTS_WITHIN]
        since = [limit_a for at, limit_a in car.limits if at > measured_at - _ACTS_WITHIN]
        max_limit_a = max([*former[-1:], *since])
        if drawn_a <= max_limit_a + self._tolerance_a:
            car.above_since = None
            return False
        car.above_since = min(measured_at, car.above_since or measured_at)
        return measured_at - car.above_since >= self._overdraw

    def _is_silent_again(self, car: _CarState, evse: Evse, now: datetime) -> bool:
        measured = evse.measured
        if measured is not None and now - measured.measured_at <= self._meter_lost:
            car.was_silent = False
            return False
        # After a jump of the clock the chargers need a moment: one silent look is no alarm. A car that does not charge
        # need not say anything; one that fell silent and was stopped for it has still to speak.
        was_silent = car.was_silent
        car.was_silent = was_silent or evse.state is EvseState.CHARGING
        return was_silent


def _certain_current_a(measured: MeterValues, phases: int, voltage_v: float) -> float:
    """What a car certainly draws on the phase that carries most of it [A].

    Where the phases are not certain, or the rating stands in place of a report, that is the power even on all phases:
    a meter that sends power alone does not say more.
    """
    certain_a = () if measured.is_implausible else certain_currents_a(measured, voltage_v)
    return max(certain_a) if certain_a else measured.power_kw * 1000 / voltage_v / phases


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
        return replace(theirs, contradicted=ours.contradicted, by_change_kw=ours.by_change_kw)

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
