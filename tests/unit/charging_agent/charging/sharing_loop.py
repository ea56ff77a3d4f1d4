"""The agent's way from readings to limits, round after round, without calls, ledger and real time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from charging_agent.charging.fleet import Fleet, MeterHistory, build_fleet, certain_currents_a, iter_evses
from charging_agent.charging.meter_checks import MeterEvidence
from charging_agent.charging.planning import (
    ChargingPlan,
    compute_headroom,
    compute_room,
    create_empty_room,
    is_pause,
    make_plan,
)
from charging_agent.charging.sharing import CarKey, Memory, SharingPolicy
from charging_agent.charging.surplus import measure_surplus
from charging_agent.decision.pipeline import Decision, DecisionPipeline
from charging_agent.decision.policy import DecisionInputs
from ev_service.charging import Charger, Chargers, ChargingMode, Evse, EvseState, Feeder, MeterValues, Session
from ev_service.charging_evidence import ConfirmedCharging
from ev_service.telemetry import GridLoad

VOLTAGE_V = 230.0
HEADROOM_PERCENT = 85.0


class SharingLoop:
    """Decides, plans and remembers.

    Args:
        believes_reports: take what the chargers report for what the cars draw, without asking the connection's meter.
        decision: always this one; None: by the rules.
        policy: how calmly limits change.
        mode: of all cars.
        is_before_battery: cars on surplus go before the stationary battery.
    """

    def __init__(
        self,
        *,
        believes_reports: bool = False,
        decision: Decision | None = None,
        policy: SharingPolicy | None = None,
        mode: ChargingMode = ChargingMode.SMART,
        is_before_battery: bool = False,
    ) -> None:
        self._believes_reports = believes_reports
        self._decision, self._mode, self._is_before_battery = decision, mode, is_before_battery
        self._policy = policy or SharingPolicy()
        self._draws, self._memory = MeterHistory(90), Memory.initial()
        self.evidence = MeterEvidence(90)

    def plan(self, inputs: DecisionInputs, chargers: Chargers, at: datetime) -> ChargingPlan:
        """One round."""
        assert inputs.grid is not None
        self._draws.add_reading(chargers)
        self.evidence.observe(inputs, chargers, is_new=True)
        decision = self._decision or DecisionPipeline().decide(inputs).decision
        fleet = set_mode(build_fleet(chargers, self._draws, at), self._mode)
        if is_pause(decision):
            plan = make_plan(fleet, create_empty_room(chargers), None, self._memory, at, self._policy)
        else:
            confirmed = report_chargers(chargers) if self._believes_reports else self.evidence.confirm(chargers)
            surplus = measure_surplus(
                inputs, chargers, fleet, self._draws, confirmed, is_before_battery=self._is_before_battery
            )
            headroom = compute_headroom(
                inputs.grid, chargers, fleet, self._draws, confirmed, at, HEADROOM_PERCENT, surplus
            )
            room = compute_room(headroom, chargers, fleet, decision)
            plan = make_plan(fleet, room, headroom, self._memory, at, self._policy)
        self._memory = plan.after
        return plan


def set_mode(fleet: Fleet, mode: ChargingMode) -> Fleet:
    """The same cars, all in one mode."""
    return replace(fleet, cars=tuple(replace(car, mode=mode) for car in fleet.cars))


def report_chargers(chargers: Chargers) -> ConfirmedCharging:
    """Everything that is reported."""
    reports = {key: evse.measured for key, _, evse in iter_evses(chargers) if evse.measured is not None}
    phases = tuple(
        {key: (certain_currents_a(one, VOLTAGE_V) or (0.0,) * 3)[phase] for key, one in reports.items()}
        for phase in range(chargers.phases)
    )
    return ConfirmedCharging({key: one.power_kw for key, one in reports.items()}, phases)


@dataclass(frozen=True)
class Wiring:
    """How an EVSE is built."""

    charger_id: str
    phases: tuple[int, ...] = (1, 2, 3)
    max_current_a: float = 32.0

    @property
    def key(self) -> CarKey:
        return self.charger_id, 1


def charger(
    wiring: Wiring, *, limit_a: float, session: Session | None, measured: MeterValues | None, state: EvseState
) -> Charger:
    """A charger with one EVSE."""
    evse = Evse(
        evse_id=1,
        state=state,
        phases=wiring.phases,
        max_current_a=wiring.max_current_a,
        fallback_a=6.0,
        limit_a=limit_a,
        measured=measured,
        session=session,
    )
    return Charger(charger_id=wiring.charger_id, is_connected=True, feeder_id="main", evses=(evse,))


def chargers_reading(chargers: Sequence[Charger], at: datetime, site_limit_kw: float, feeder_a: float) -> Chargers:
    """What ChargerAPI answers."""
    return Chargers(
        site_id="greensboro",
        timestamp=at,
        source="ocpp",
        site_limit_kw=site_limit_kw,
        voltage_v=VOLTAGE_V,
        phases=3,
        feeders=(Feeder(feeder_id="main", limit_a=feeder_a),),
        chargers=tuple(chargers),
    )


def grid_reading(
    at: datetime, net_kw: float, limit_kw: float, current_a: tuple[float, ...] | None, *, has_cars: bool = True
) -> GridLoad:
    """What the connection carries; net_kw [kW]: drawn from the grid minus given to it."""
    load_kw = max(0.0, net_kw)
    return GridLoad(
        site_id="greensboro",
        timestamp=at,
        source="simulated",
        load_kw=load_kw,
        export_kw=max(0.0, -net_kw),
        limit_kw=limit_kw,
        load_percent=100 * load_kw / limit_kw,
        current_a=current_a,
        includes_charging=has_cars,
    )


def on_phases(current_a: Mapping[CarKey, float], wirings: Sequence[Wiring]) -> tuple[float, ...]:
    """Sum of currents on L1, L2, L3 [A]."""
    return tuple(sum(current_a[one.key] for one in wirings if phase in one.phases) for phase in (1, 2, 3))
