"""The charging plan on the virtual site, with a peak target learned from sessions that are over."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from charging_agent.charging.sharing import CarKey
from charging_agent.scheduling import (
    ChargingRequest,
    Circuit,
    SchedulingProblem,
    hand_out_first_powers,
    plan_charging,
)
from charging_agent.simulation.information import Estimate, Information
from charging_agent.simulation.peak_target import PeakTarget
from charging_agent.simulation.schedulers import SharingScheduler
from charging_agent.simulation.tariff import FloatArray, Tariff
from charging_agent.simulation.virtual_site import ConnectedCar, SiteLimits, Situation
from ev_service.charging import LEAST_CURRENT_A

_STEP_S = 300
_MAX_STEPS = 24 * 3600 // _STEP_S
_UNSERVED_PER_KWH = 2.4
"""Value of energy that a car does not get [currency/kWh]: some ten times its price, and little enough that a single
busy hour does not raise the month's peak for energy that drivers ask for and do not take."""


@dataclass(slots=True)
class PlanScheduler:
    """Plans at each decision and sets what the plan says for now, in a form that charging points can do."""

    limits: SiteLimits
    """Of feeder and charging points."""

    information: Information
    """What is known of departures and energies."""

    tariff: Tariff
    """Tariff of the site."""

    zone: ZoneInfo
    """Time zone of the tariff."""

    target: PeakTarget
    """Learns the peak that a month will reach."""

    guard: SharingScheduler | None = None
    """Decides the ceiling of all cars where the rules are on."""

    _month: tuple[int, int] | None = field(default=None, init=False)
    _target_kw: float = field(default=0.0, init=False)
    _peak_kw: float = field(default=0.0, init=False)
    _prices: dict[datetime, float] = field(default_factory=dict[datetime, float], init=False)

    def set_limits(self, situation: Situation) -> Mapping[CarKey, float]:
        """Plan until the last departure and return the currents of the first step."""
        self._begin_month(situation.at)
        cars = [car for car in situation.cars if not car.is_full]
        feeder_kw, max_kw = self.limits.feeder_kw, self.limits.max_power_kw
        if self.guard is not None:
            feeder_kw = 0.85 * feeder_kw
            max_kw = min(max_kw, self.guard.decide(situation).charging_power_kw)
        if not cars or max_kw <= 0:
            return {}
        estimates = [self.information.estimate(car, situation.at) for car in cars]
        problem = self._build_problem(situation, cars, estimates, (feeder_kw, max_kw))
        schedule = plan_charging(problem, is_calm=False)
        laxity_h = [
            (one.departure - situation.at).total_seconds() / 3600 - one.energy_left_kwh / max_kw for one in estimates
        ]
        powers_kw = hand_out_first_powers(problem, schedule, laxity_h)
        currents_a = {
            car.key: self.limits.current_a(float(power_kw))
            for car, power_kw in zip(cars, powers_kw, strict=True)
            if power_kw > 0
        }
        drawn_kw = sum(self.limits.power_kw(current_a) for current_a in currents_a.values())
        self._peak_kw = max(self._peak_kw, drawn_kw + situation.other_kw)
        return currents_a

    def end_session(self, car: ConnectedCar, at: datetime) -> None:
        """Let information and peak target learn from it."""
        self.information.end_session(car, at)
        self.target.learn(car.session, car.energy_kwh)

    def _begin_month(self, at: datetime) -> None:
        local = at.astimezone(self.zone)
        if (local.year, local.month) != self._month:
            self._month, self._peak_kw = (local.year, local.month), 0.0
            self._target_kw = self.target.target_kw(at)

    def _build_problem(
        self,
        situation: Situation,
        cars: Sequence[ConnectedCar],
        estimates: Sequence[Estimate],
        bounds_kw: tuple[float, float],
    ) -> SchedulingProblem:
        feeder_kw, max_kw = bounds_kw
        stays_h = [(estimate.departure - situation.at).total_seconds() / 3600 for estimate in estimates]
        ends = [min(_MAX_STEPS, max(1, math.floor(stay_h * 3600 / _STEP_S + 1e-9))) for stay_h in stays_h]
        steps = max(ends)
        requests = tuple(
            ChargingRequest(
                key=f"{car.key[0]}/{car.key[1]}",
                first_step=0,
                end_step=end,
                energy_kwh=estimate.energy_left_kwh,
                max_power_kw=max_kw,
                min_power_kw=self.limits.power_kw(LEAST_CURRENT_A),
                step_power_kw=self.limits.power_kw(1.0) if self.limits.whole_amperes else 0.0,
                power_now_kw=self.limits.power_kw(car.limit_a),
                unserved_value_per_kwh=_UNSERVED_PER_KWH,
                phases=(1,),
            )
            for car, estimate, end in zip(cars, estimates, ends, strict=True)
        )
        schedule = self.tariff.schedule_of(situation.at.astimezone(self.zone).date())
        # At equal prices sooner is better.
        wait_cost = self.information.wait_cost_per_kwh_h * _STEP_S / 3600 * np.arange(steps)
        return SchedulingProblem(
            step_s=_STEP_S,
            steps=steps,
            requests=requests,
            import_price_per_kwh=self._prices_from(situation.at, steps) + wait_cost,
            circuits=(Circuit("feeder", limit_kw=feeder_kw),),
            load_kw=np.full(steps, situation.load_kw),
            pv_kw=np.full(steps, situation.pv_kw),
            demand_charge_per_kw=schedule.demand_charge_per_kw,
            peak_so_far_kw=self._peak_kw,
            peak_target_kw=self._target_kw,
        )

    def _prices_from(self, at: datetime, steps: int) -> FloatArray:
        moments = [at + timedelta(seconds=_STEP_S * step) for step in range(steps)]
        for moment in moments:
            if moment not in self._prices:
                self._prices[moment] = self.tariff.price_per_kwh(moment.astimezone(self.zone))
        return np.array([self._prices[moment] for moment in moments])
