"""The charging plan on the virtual site."""
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
import numpy as np
from charging_agent.charging.sharing import CarKey
from charging_agent.scheduling import ChargingRequest, Circuit, SchedulingProblem, plan_charging
from charging_agent.simulation.virtual_site import ConnectedCar, SiteLimits, Situation

P = {k: float(v) for k, v in (p.split("=") for p in os.environ.get("SIMP", "").split(",") if p)}
STEP_S = int(P.get("plan", 900))

class PlanScheduler:
    def __init__(self, limits, information, tariff, zone, step_s):
        self.limits, self.information, self.tariff, self.zone, self.step_s = limits, information, tariff, zone, step_s
        self.peak = 0.0
        self.month = None
        self.step = -1
        self.acc = 0.0
        self.last = None
        self.prices = {}
        self.energy_at_last = {}

    def price(self, at):
        k = int(at.timestamp())
        if k not in self.prices:
            self.prices[k] = self.tariff.price_per_kwh(at.astimezone(self.zone))
        return self.prices[k]

    def set_limits(self, s: Situation) -> Mapping[CarKey, float]:
        month = s.at.astimezone(self.zone).month
        if month != self.month:
            self.month, self.peak = month, 0.0
        # peak so far by plan
        n = 1
        reqs = []
        est = {}
        for car in s.cars:
            if car.is_full:
                continue
            e = self.information.estimate(car, s.at)
            left = max(e.energy_left_kwh, P.get("minleft", 1.0))
            h = max((e.departure - s.at).total_seconds() / 3600 + P.get("late", 0.0), P.get("minstay", 0.5))
            steps = int(max(1, min(86400 // STEP_S, h * 3600 // STEP_S)))
            n = max(n, steps)
            est[car.key] = (left, steps)
        if not est:
            return {}
        for car in s.cars:
            if car.key in est:
                left, steps = est[car.key]
                reqs.append(ChargingRequest(key=f"{car.key}", first_step=0, end_step=steps, energy_kwh=left, max_power_kw=self.limits.max_power_kw,
                    power_now_kw=self.limits.power_kw(car.limit_a), unserved_value_per_kwh=P.get("value", 5.0) or None, phases=(1,)))
        eps = P.get("eps", 1e-4)
        prices = np.array([self.price(s.at + timedelta(seconds=STEP_S * k)) + eps * k for k in range(n)])
        problem = SchedulingProblem(step_s=STEP_S, steps=n, requests=tuple(reqs), import_price_per_kwh=prices,
            circuits=(Circuit("site", limit_kw=self.limits.feeder_kw),),
            demand_charge_per_kw=P.get("dc", 15.51), peak_so_far_kw=self.peak, peak_target_kw=P.get("target", 40.0))
        schedule = plan_charging(problem)
        now = dict(zip(est, (float(x) for x in schedule.power_at(0))))
        if P.get("raw"):
            out = {k: self.limits.current_a(kw + 1e-9) for k, kw in now.items()}
        else:
            out = self.repair(s, now, est)
        self.peak = max(self.peak, sum(self.limits.power_kw(a) for a in out.values()))
        return out

    def repair(self, s, now, est):
        mx = self.limits.max_power_kw
        total = sum(now.values())
        least = 6 * self.limits.voltage_v / 1000
        def lax(k): return est[k][1] * STEP_S / 3600 - est[k][0] / mx
        cars = {c.key: c for c in s.cars if c.key in now}
        urgent = [k for k in now if now[k] > 1e-6 and lax(k) < P.get("urgent", .5)]
        going = [k for k in now if cars[k].limit_a > 0 and k not in urgent]
        new = [k for k in now if now[k] > 1e-6 and k not in urgent and k not in going]
        going.sort(key=lambda k: (now[k] <= 1e-6) * P.get("lp", 0) or 0)
        going.sort(key=lambda k: est[k][1])
        new.sort(key=lambda k: (est[k][1]))
        out, rest, prev = {}, total, None
        for k in urgent + going + new:
            want = now[k] if (k in urgent and not cars[k].limit_a) else mx
            g = min(want, rest)
            if g < least - 1e-9:
                if prev is not None and rest > 1e-3 and self.limits.power_kw(out[prev]) - (least - g) >= least and cars[k].limit_a:
                    out[prev] = self.limits.current_a(self.limits.power_kw(out[prev]) - (least - g))
                    g = least
                else:
                    continue
            a = self.limits.current_a(g + 1e-9)
            out[k] = a
            rest -= self.limits.power_kw(a)
            if a: prev = k
        return out

    def end_session(self, car, at):
        self.information.end_session(car, at)
