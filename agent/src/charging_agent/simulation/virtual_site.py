"""The virtual site: cars come and leave as recorded, a scheduler sets their limits, and the schedule is kept."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from time import perf_counter
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from charging_agent.charging.sharing import CarKey
from charging_agent.simulation.sessions import ChargingSession
from charging_agent.simulation.tariff import FloatArray
from ev_service.charging import LEAST_CURRENT_A

_TINY_KWH = 1e-9


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """What the site may draw and what each charging point can."""

    feeder_kw: float
    """Limit of the feeder, cars and building together [kW]."""

    voltage_v: float
    """Voltage of the single phase [V]."""

    max_current_a: float
    """Highest current of each charging point [A]."""

    whole_amperes: bool = False
    """Whether charging points take 0 A or whole amperes from 6 A on, instead of any current."""

    @property
    def max_power_kw(self) -> float:
        """Highest power of each charging point [kW]."""
        return self.power_kw(self.max_current_a)

    @property
    def least_a(self) -> float:
        """Lowest current above 0 [A]."""
        return LEAST_CURRENT_A if self.whole_amperes else 0.0

    def power_kw(self, current_a: float) -> float:
        """Power of a current [kW]."""
        return current_a * self.voltage_v / 1000

    def current_a(self, power_kw: float) -> float:
        """Current that a charging point can set for a power, rounded down [A]."""
        current_a = min(power_kw * 1000 / self.voltage_v, self.max_current_a)
        if not self.whole_amperes:
            return max(current_a, 0.0)
        # Rounding errors of the conversion take no ampere away.
        whole_a = math.floor(current_a + 1e-6)
        return float(whole_a) if whole_a >= LEAST_CURRENT_A else 0.0


@dataclass(frozen=True, slots=True)
class StepGrid:
    """The steps of a simulation, aligned to the full hours of UTC."""

    start: datetime
    """Start of the first step, UTC."""

    step_s: int
    """Length of a step [s]."""

    steps: int
    """Number of steps."""

    @classmethod
    def covering(cls, sessions: Sequence[ChargingSession], step_s: int) -> "StepGrid":
        """The steps from the first arrival to the last departure; one step if there are no sessions."""
        first = min((s.arrival.timestamp() for s in sessions), default=0.0) // step_s
        end = math.ceil(max((s.departure.timestamp() for s in sessions), default=float(step_s)) / step_s)
        return cls(datetime.fromtimestamp(first * step_s, UTC), step_s, max(1, int(end - first)))

    @property
    def step_h(self) -> float:
        """Length of a step [h]."""
        return self.step_s / 3600

    def offset_s(self, moment: datetime) -> float:
        """Time since the start of the first step [s]."""
        return (moment - self.start).total_seconds()

    def start_of(self, step: int) -> datetime:
        """Start of a step, UTC."""
        return datetime.fromtimestamp(self.start.timestamp() + step * self.step_s, UTC)

    def local_starts(self, zone: ZoneInfo) -> list[datetime]:
        """Start of each step in local time."""
        return [self.start_of(step).astimezone(zone) for step in range(self.steps)]


@dataclass(slots=True)
class ConnectedCar:
    """A car that is plugged in: what a scheduler may know of it beside what the information adds."""

    session: ChargingSession
    """The recorded session. Schedulers take from it what its driver entered; the rest is for `Information`."""

    energy_kwh: float = 0.0
    """Energy it has taken [kWh]."""

    limit_a: float = 0.0
    """Limit in force [A]."""

    drawn_a: float = 0.0
    """Current that it drew when last measured [A]."""

    is_full: bool = False
    """Whether it took less than it was offered and has stopped charging."""

    @property
    def key(self) -> CarKey:
        """Its charging point."""
        return self.session.key


@dataclass(frozen=True, slots=True)
class Situation:
    """What a scheduler knows at a moment."""

    at: datetime
    """Moment of the decision, UTC."""

    step: int
    """Number of the step that the moment is in."""

    cars: tuple[ConnectedCar, ...]
    """Cars that are plugged in, ordered by arrival."""

    load_kw: float
    """Power of the building [kW]."""

    pv_kw: float
    """Power of the panels [kW]."""

    @property
    def other_kw(self) -> float:
        """What the feeder carries beside the cars [kW]; negative while the sun gives more than the building takes."""
        return self.load_kw - self.pv_kw


class Scheduler(Protocol):
    """Sets the limits of all cars."""

    def set_limits(self, situation: Situation) -> Mapping[CarKey, float]:
        """Current of each car from now on [A]; a car that is not named gets 0."""
        ...

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Take note of a session that has ended."""
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """Mean power of each session in each step: all figures follow from it."""

    grid: StepGrid
    """The steps."""

    sessions: tuple[ChargingSession, ...]
    """Sessions by arrival."""

    first_steps: tuple[int, ...]
    """Step in which each session begins."""

    power_kw: tuple[FloatArray, ...]
    """Mean power of each session from its first step to the one of its departure [kW]."""

    decision_ms: FloatArray
    """Time that each decision took [ms]."""

    def total_kw(self) -> FloatArray:
        """Power of all cars together in each step [kW]."""
        total = np.zeros(self.grid.steps)
        for first, powers in zip(self.first_steps, self.power_kw, strict=True):
            total[first : first + len(powers)] += powers
        return total

    def energy_kwh(self) -> FloatArray:
        """Energy of each session [kWh]."""
        return np.array([float(powers.sum()) for powers in self.power_kw]) * self.grid.step_h


def stay_steps(grid: StepGrid, session: ChargingSession) -> tuple[int, FloatArray]:
    """The first step of a stay, and the part of each of its steps in which the car is there, 0 to 1."""
    begin, end = (grid.offset_s(moment) / grid.step_s for moment in (session.arrival, session.departure))
    first = min(int(begin), grid.steps - 1)
    steps = np.arange(first, max(first + 1, math.ceil(end - 1e-9)))
    return first, np.clip(np.minimum(steps + 1, end) - np.maximum(steps, begin), 0.0, 1.0)


Progress = Callable[[datetime], None]


@dataclass(slots=True)
class VirtualSite:
    """Replays sessions under a scheduler.

    A decision is made at the start of each step and whenever a car arrives, as the agent does within seconds.
    """

    sessions: tuple[ChargingSession, ...]
    """Sessions by arrival."""

    grid: StepGrid
    """Steps of the schedule."""

    limits: SiteLimits
    """Of feeder and charging points."""

    load_kw: FloatArray
    """Power of the building, one per step [kW]."""

    pv_kw: FloatArray
    """Power of the panels, one per step [kW]."""

    taper_share: float = 0.0
    """Last part of a session's energy in which the car takes less and less, 0 to 1."""

    _powers: list[FloatArray] = field(default_factory=list[FloatArray], init=False)
    _first: list[int] = field(default_factory=list[int], init=False)
    _index: dict[str, int] = field(default_factory=dict[str, int], init=False)

    def run(self, scheduler: Scheduler, progress: Progress | None = None) -> Schedule:
        """Play all sessions.

        Args:
            scheduler: sets the limits.
            progress: is told the time of each decision.
        """
        stays = [stay_steps(self.grid, session) for session in self.sessions]
        self._first = [first for first, _ in stays]
        self._powers = [np.zeros(len(parts)) for _, parts in stays]
        self._index = {session.session_id: index for index, session in enumerate(self.sessions)}
        arrivals = [self.grid.offset_s(session.arrival) for session in self.sessions]
        moments = sorted({*arrivals, *(float(step * self.grid.step_s) for step in range(self.grid.steps))})
        moments.append(float(self.grid.steps * self.grid.step_s))
        cars: list[ConnectedCar] = []
        decisions: list[float] = []
        arrived = 0
        for begin_s, end_s in pairwise(moments):
            at = datetime.fromtimestamp(self.grid.start.timestamp() + begin_s, UTC)
            for car in [car for car in cars if car.session.departure <= at]:
                cars.remove(car)
                scheduler.end_session(car, at)
            come = bisect_right(arrivals, begin_s)
            cars += [ConnectedCar(session) for session in self.sessions[arrived:come]]
            arrived = come
            if not cars:
                continue
            step = int(begin_s // self.grid.step_s)
            situation = Situation(at, step, tuple(cars), float(self.load_kw[step]), float(self.pv_kw[step]))
            started = perf_counter()
            limits_a = scheduler.set_limits(situation)
            decisions.append((perf_counter() - started) * 1000)
            for car in cars:
                self._charge(car, limits_a.get(car.key, 0.0), step, begin_s, end_s)
            if progress is not None:
                progress(at)
        return Schedule(
            self.grid, self.sessions, tuple(self._first), tuple(self._powers), np.array(decisions, dtype=np.float64)
        )

    def _charge(self, car: ConnectedCar, limit_a: float, step: int, begin_s: float, end_s: float) -> None:
        car.limit_a = limit_a
        until_s = min(end_s, self.grid.offset_s(car.session.departure))
        hours = max(0.0, until_s - begin_s) / 3600
        offered_kw = self.limits.power_kw(limit_a)
        taken_kwh = self._accepted_kwh(car, offered_kw, hours)
        # A car that leaves is not full; one that takes nothing of what it is offered has enough.
        car.is_full = car.is_full or (offered_kw > 0 and self._left_kwh(car) - taken_kwh <= _TINY_KWH)
        car.drawn_a = 0.0 if car.is_full else limit_a
        if taken_kwh <= 0:
            return
        if hours > 0 and not car.is_full:
            car.drawn_a = taken_kwh / hours * 1000 / self.limits.voltage_v
        car.energy_kwh += taken_kwh
        index = self._index[car.session.session_id]
        self._powers[index][step - self._first[index]] += taken_kwh / self.grid.step_h

    def _left_kwh(self, car: ConnectedCar) -> float:
        return max(0.0, car.session.delivered_kwh - car.energy_kwh)

    def _accepted_kwh(self, car: ConnectedCar, offered_kw: float, hours: float) -> float:
        """Energy that a car takes of what it is offered [kWh]."""
        left_kwh, tapering_kwh = self._left_kwh(car), self.taper_share * car.session.delivered_kwh
        if tapering_kwh <= 0:
            return min(left_kwh, offered_kw * hours)
        # From here on its own charger takes power in proportion to what is missing: left falls exponentially.
        knee_kwh = min(tapering_kwh, offered_kw / self.limits.max_power_kw * tapering_kwh)
        linear_h = min(hours, max(0.0, left_kwh - knee_kwh) / offered_kw) if offered_kw > 0 else hours
        taken_kwh = min(left_kwh, offered_kw * linear_h)
        rate_per_h = self.limits.max_power_kw / tapering_kwh
        return taken_kwh + (left_kwh - taken_kwh) * -math.expm1(-rate_per_h * (hours - linear_h)) * (offered_kw > 0)
