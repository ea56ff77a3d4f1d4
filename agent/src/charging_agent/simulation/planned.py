"""The charging plan on the virtual site, with a peak target learned from sessions that are over."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from charging_agent.charging.sharing import CarKey
from charging_agent.scheduling import ChargingRequest, ChargingSchedule, Circuit, SchedulingProblem, plan_charging
from charging_agent.simulation.information import Estimate, Information
from charging_agent.simulation.peak_target import PeakTarget
from charging_agent.simulation.schedulers import SharingScheduler
from charging_agent.simulation.tariff import FloatArray, Tariff
from charging_agent.simulation.virtual_site import ConnectedCar, SiteLimits, Situation
from ev_service.charging import LEAST_CURRENT_A

_STEP_S = 300
_MAX_STEPS = 24 * 3600 // _STEP_S
_HOLD_STEPS = 2 * 3600 // _STEP_S
"""A car that charges goes on if the plan lets it charge within two hours anyway: cars take turns less often."""

_URGENT_H = 0.5
"""Cars with less time to spare than this go first [h]."""

_UNSERVED_PER_KWH = 2.4
"""Value of energy that a car does not get [currency/kWh]: some ten times its price, and little enough that a single
busy hour does not raise the month's peak for energy that drivers ask for and do not take."""

_TINY_KW = 1e-6


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
        currents_a = self._hand_out(cars, schedule, laxity_h, max_kw)
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

    def _hand_out(
        self, cars: Sequence[ConnectedCar], schedule: ChargingSchedule, laxity_h: Sequence[float], max_kw: float
    ) -> dict[CarKey, float]:
        """Hand the planned power of now out to few cars: urgent ones, those that charge, then by time to spare.

        Each gets 0 or at least 6 A; a rest of less than that goes to the car before.
        """
        planned_kw = schedule.power_at(0)
        left_kw = float(planned_kw.sum())
        ranked: list[tuple[int, float, int]] = []
        for index, car in enumerate(cars):
            is_planned = planned_kw[index] > _TINY_KW
            is_going = car.limit_a > 0 and schedule.powers_of(index)[:_HOLD_STEPS].max(initial=0.0) > _TINY_KW
            if is_planned or is_going:
                is_urgent = is_planned and laxity_h[index] < _URGENT_H
                ranked.append((0 if is_urgent else 1 if is_going else 2, laxity_h[index], index))
        currents_a: dict[CarKey, float] = {}
        last: CarKey | None = None
        least_kw = self.limits.power_kw(LEAST_CURRENT_A)
        for _, _, index in sorted(ranked):
            key = cars[index].key
            power_kw = min(max_kw, left_kw)
            if power_kw < least_kw - _TINY_KW:
                # Rather than stop a car that charges, the one before gives it the least current.
                spare_kw = self.limits.power_kw(currents_a[last]) - least_kw if last is not None else 0.0
                lacking_kw = least_kw - power_kw
                if last is None or cars[index].limit_a <= 0 or power_kw <= _TINY_KW or spare_kw < lacking_kw:
                    continue
                currents_a[last] = self.limits.current_a(self.limits.power_kw(currents_a[last]) - lacking_kw)
                left_kw, power_kw = least_kw, least_kw
            # A rounding error in the sum of a plan's powers takes no ampere away.
            currents_a[key] = self.limits.current_a(power_kw + 1e-9)
            left_kw -= self.limits.power_kw(currents_a[key])
            last = key
        return currents_a
