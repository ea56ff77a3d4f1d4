"""Reference schedulers, and the agent's own sharing and rules on the virtual site."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from charging_agent.charging.fleet import Fleet
from charging_agent.charging.planning import Headroom, compute_room, make_plan
from charging_agent.charging.sharing import Car, CarKey, Memory, SharingPolicy
from charging_agent.decision.pipeline import Decision, DecisionPipeline
from charging_agent.decision.policy import Action, DecisionInputs
from charging_agent.decision.rules import RulePolicy, RuleThresholds
from charging_agent.simulation.information import Information
from charging_agent.simulation.virtual_site import ConnectedCar, SiteLimits, Situation
from ev_service.charging import Chargers, Feeder
from ev_service.telemetry import GridLoad, SolarStatus

_SITE, _SOURCE = "simulation", "simulated"
_STEP_A, _RAMP_PERCENT_PER_S = 0.1, 10_000.0


class UncontrolledScheduler:
    """Every car charges at full power from its arrival on, whatever the feeder carries."""

    def __init__(self, limits: SiteLimits) -> None:
        self._limits = limits

    def set_limits(self, situation: Situation) -> Mapping[CarKey, float]:
        """The highest current for every car."""
        return {car.key: self._limits.max_current_a for car in situation.cars}

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Nothing is remembered."""


class LeastLaxityScheduler:
    """Full power for the cars that can wait least, as far as the feeder carries.

    Laxity is the time until departure minus the time that the missing energy takes at full power.
    Source: Nakahira et al., "Smoothed Least-Laxity-First Algorithm for EV Charging", 2017.
    """

    def __init__(self, limits: SiteLimits, information: Information) -> None:
        self._limits, self._information = limits, information

    def set_limits(self, situation: Situation) -> Mapping[CarKey, float]:
        """Serve the cars one after another by laxity."""
        left_kw = self._limits.feeder_kw - situation.other_kw
        currents_a: dict[CarKey, float] = {}
        for car in sorted(situation.cars, key=lambda car: (self._laxity_h(car, situation.at), car.key)):
            wanted_kw = 0.0 if car.is_full else self._limits.max_power_kw
            currents_a[car.key] = self._limits.current_a(max(0.0, min(wanted_kw, left_kw)))
            left_kw -= self._limits.power_kw(currents_a[car.key])
        return currents_a

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Let the information learn from it."""
        self._information.end_session(car, at)

    def _laxity_h(self, car: ConnectedCar, at: datetime) -> float:
        estimate = self._information.estimate(car, at)
        return (estimate.departure - at).total_seconds() / 3600 - estimate.energy_left_kwh / self._limits.max_power_kw


@dataclass(slots=True)
class SharingScheduler:
    """The agent's decision pipeline and its sharing, as in the running agent."""

    limits: SiteLimits
    """Of feeder and charging points."""

    information: Information
    """What is known of departures and energies; sharing uses it where power is scarce."""

    follows_rules: bool
    """Whether rules and guard bound the cars: ceilings of 5, 11 and 22 kW, pause above 85 %, headroom of 85 %."""

    capacity_kwp: float = 0.0
    """Rated power of the panels [kWp]; 0: there are none."""

    _memory: Memory | None = field(default=None, init=False)

    def set_limits(self, situation: Situation) -> Mapping[CarKey, float]:
        """Decide by readings and share what the decision and the feeder leave."""
        drawn_kw, decision = self._drawn_kw(situation), self.decide(situation)
        percent = 85.0 if self.follows_rules else 100.0
        headroom = Headroom(percent, self.limits.feeder_kw, situation.other_kw + drawn_kw, drawn_kw, 0.0)
        fleet = Fleet(tuple(self._car(car, situation.at) for car in situation.cars), (), ())
        room = compute_room(headroom, self._chargers(situation.at), fleet, decision)
        # Ramps of half a minute are over within a step.
        step_a = 1.0 if self.limits.whole_amperes else _STEP_A
        policy = SharingPolicy(step_a=step_a, ramp_percent_per_s=_RAMP_PERCENT_PER_S)
        memory = self._memory or Memory(at=situation.at - timedelta(hours=1))
        plan = make_plan(fleet, room, headroom, memory, situation.at, policy)
        self._memory = plan.after
        return {one.key: one.limit_a for one in plan.limits}

    def decide(self, situation: Situation) -> Decision:
        """Decide by the readings of a moment, as the agent's pipeline does."""
        load_kw = max(0.0, situation.other_kw + self._drawn_kw(situation))
        inputs = DecisionInputs.from_readings(
            situation.at, self._solar(situation), None, self._grid(situation, load_kw)
        )
        return self._pipeline().decide(inputs).decision

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Let the information learn from it."""
        self.information.end_session(car, at)

    def _drawn_kw(self, situation: Situation) -> float:
        # Measured a moment before: a car that has left draws nothing any more.
        return sum(self.limits.power_kw(car.drawn_a) for car in situation.cars)

    def _pipeline(self) -> DecisionPipeline:
        if self.follows_rules:
            return DecisionPipeline()
        powers = dict.fromkeys(Action, self.limits.max_power_kw)
        return DecisionPipeline(rules=RulePolicy(RuleThresholds(grid_overload_percent=float("inf"), power_kw=powers)))

    def _car(self, car: ConnectedCar, at: datetime) -> Car:
        estimate = self.information.estimate(car, at)
        return Car(
            key=car.key,
            phases=(1,),
            max_a=self.limits.max_current_a,
            energy_left_kwh=estimate.energy_left_kwh,
            departure=estimate.departure,
            drawn_a=(car.drawn_a,),
            limit_a=car.limit_a,
            is_charging=car.drawn_a > 0,
            # A charger reports a car that has ended charging by itself as suspended by the car.
            wants=not car.is_full,
        )

    def _grid(self, situation: Situation, load_kw: float) -> GridLoad:
        return GridLoad(
            site_id=_SITE,
            timestamp=situation.at,
            source=_SOURCE,
            load_percent=load_kw / self.limits.feeder_kw * 100,
            load_kw=load_kw,
            limit_kw=self.limits.feeder_kw,
        )

    def _solar(self, situation: Situation) -> SolarStatus | None:
        if self.capacity_kwp <= 0:
            return None
        generation_kw = max(0.0, situation.pv_kw)
        return SolarStatus(
            site_id=_SITE,
            timestamp=situation.at,
            source=_SOURCE,
            generation_kw=generation_kw,
            capacity_kwp=self.capacity_kwp,
        )

    def _chargers(self, at: datetime) -> Chargers:
        feeder = Feeder(feeder_id="main", limit_a=self.limits.feeder_kw * 1000 / self.limits.voltage_v)
        return Chargers(
            site_id=_SITE,
            timestamp=at,
            source=_SOURCE,
            site_limit_kw=self.limits.feeder_kw,
            voltage_v=self.limits.voltage_v,
            phases=1,
            feeders=(feeder,),
            chargers=(),
        )
