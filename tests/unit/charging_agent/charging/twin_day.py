"""Days of the site twin with the agent's own logic, on a clock that is moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from tests.unit.charging_agent.charging.sharing_loop import SharingLoop, Wiring, charger, chargers_reading

from charging_agent.charging.planning import ChargingPlan
from charging_agent.charging.sharing import CarKey
from charging_agent.decision.policy import DecisionInputs
from ev_service.charging import Charger, Chargers, EvseState, MeterValues, Session
from ev_service.clock import SteppedClock
from ev_service.settings import SiteSettings
from site_model.parameters import Building, Panels, SiteParameters, Storage, Weather
from site_model.yield_table import create_tabled_sun
from site_twin.charging import DRAWS_MORE, DRAWS_MORE_MEANS, ParkedState
from site_twin.faults import FaultBoard
from site_twin.fleet import FEEDER_LIMIT_A
from site_twin.ports import Cars, EvseKey, EvsePlace, Offer
from site_twin.readings import Powers, Readings
from site_twin.site import TwinSite

MIDNIGHT = datetime(2026, 6, 25, 4, tzinfo=UTC)
WIRINGS = (
    *(Wiring(f"CP-{number}") for number in range(1, 5)),
    Wiring("CP-5", max_current_a=16.0),
    Wiring("CP-6", (2,)),
)
SAMPLES_EVERY_S = (10, 20, 30, 40, 50, 60)
"""How often the chargers report [s], one after the other."""
TICK_S = 5
FALLBACK_A = 6.0


class Limits:
    """Charge points that offer what the agent set."""

    fault_kinds: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.places = tuple(EvsePlace(EvseKey(*one.key), one.phases, one.max_current_a) for one in WIRINGS)
        self.limit_a: dict[CarKey, float] = {one.key: FALLBACK_A for one in WIRINGS}

    def compute_offer(self, charger_id: str, evse_id: int, moment: datetime) -> Offer:
        del moment
        return Offer(self.limit_a[charger_id, evse_id])

    def next_change(self, charger_id: str, evse_id: int, after: datetime) -> datetime | None:
        del charger_id, evse_id, after
        return None

    def state(self, charger_id: str) -> Mapping[str, Any]:
        del charger_id
        return {}

    def running(self, cars: Cars) -> AbstractAsyncContextManager[None]:
        del cars
        return nullcontext()


class TwinDay:
    """The twin's site, with the agent's loop.

    Args:
        loop: the agent.
        period_s: of its rounds [s].
        seed: of building and cars.
        start: when it begins, UTC.
        panels_kwp: rated power of the panels [kWp].
        samples_every_s: how often each charger reports [s].
        observe: is told of the site's powers and the parked cars, every five seconds.
    """

    def __init__(
        self,
        loop: SharingLoop,
        period_s: int,
        seed: int,
        *,
        start: datetime = MIDNIGHT,
        panels_kwp: float = 100.0,
        samples_every_s: Sequence[int] = SAMPLES_EVERY_S,
        observe: Callable[[Powers, Sequence[ParkedState]], None] | None = None,
    ) -> None:
        self._loop, self._period_s = loop, period_s
        self._samples_every_s, self._observe = samples_every_s, observe
        self._clock, self._limits = SteppedClock(start), Limits()
        site = SiteSettings()
        parameters = SiteParameters(site, Weather(), Panels(capacity_kwp=panels_kwp), Storage(), Building(), seed=seed)
        self._twin = TwinSite(
            parameters,
            create_tabled_sun(parameters),
            site=site,
            clock=self._clock,
            cars_per_day=24.0,
            building_shares=(0.45, 0.33, 0.22),
            charge_points=self._limits,
            faults=FaultBoard({one.charger_id: {DRAWS_MORE: DRAWS_MORE_MEANS} for one in WIRINGS}),
        )
        self._readings, self._limit_kw = Readings(parameters, site), site.limit_kw
        self._measured: dict[CarKey, MeterValues] = {}
        self.contradicted = set[CarKey]()
        self.highest_kw = 0.0

    def live(self, hours: int = 24) -> float:
        """Live for some hours; the energy of all cars [kWh]."""
        for second in range(0, hours * 3600, TICK_S):
            self._sample(second)
            if second % self._period_s == 0:
                self._obey(self._round())
            if self._observe is not None:
                self._observe(self._twin.powers(), self._twin.standing())
            self._clock.advance(TICK_S)
        self._twin.settle()
        return sum(self._twin.meter(*one.key).register_kwh for one in WIRINGS)

    def _sample(self, second: int) -> None:
        for wiring, every_s in zip(WIRINGS, self._samples_every_s, strict=True):
            # After a jump of the clock the devices speak before the agent looks.
            if second % every_s == 0 or (self._period_s > every_s * 2 and second % self._period_s == 0):
                metered = self._twin.meter(*wiring.key)
                self._measured[wiring.key] = MeterValues(
                    measured_at=metered.measured_at, power_kw=metered.power_kw, current_a=metered.current_a
                )

    def _round(self) -> ChargingPlan:
        powers, now = self._twin.powers(), self._clock.now()
        inputs = DecisionInputs.from_readings(
            now,
            self._readings.solar_status(powers),
            self._readings.battery_status(powers),
            self._readings.grid_load(powers),
        )
        plan = self._loop.plan(inputs, self._chargers(now), now)
        self.contradicted |= self._loop.evidence.contradicted
        return plan

    def _chargers(self, now: datetime) -> Chargers:
        standing = {tuple(one.key): one for one in self._twin.standing()}
        chargers = [self._charger(wiring, standing.get(wiring.key)) for wiring in WIRINGS]
        return chargers_reading(chargers, now, self._limit_kw, FEEDER_LIMIT_A)

    def _charger(self, wiring: Wiring, standing: ParkedState | None) -> Charger:
        limit_a, measured = self._limits.limit_a[wiring.key], self._measured.get(wiring.key)
        if standing is None:
            return charger(wiring, limit_a=limit_a, session=None, measured=measured, state=EvseState.AVAILABLE)
        car, is_offered = standing.car, standing.offer.limit_a >= FALLBACK_A
        idle = EvseState.SUSPENDED_EV if is_offered else EvseState.SUSPENDED_EVSE
        session = Session(
            session_id=car.car_id,
            charger_id=wiring.charger_id,
            evse_id=1,
            started_at=car.plugged_in_at,
            # Meters count in watt hours.
            energy_kwh=round(car.energy_got_kwh, 3),
            energy_wanted_kwh=car.energy_wanted_kwh,
            departure=car.departure,
        )
        state = EvseState.CHARGING if standing.draw.power_kw > 0 else idle
        return charger(wiring, limit_a=limit_a, session=session, measured=measured, state=state)

    def _obey(self, plan: ChargingPlan) -> None:
        self._twin.settle()
        # Who comes meanwhile is compute_offer the fallback, and nothing while all is paused.
        self._limits.limit_a = dict.fromkeys(self._limits.limit_a, 0.0 if plan.room.pauses else FALLBACK_A)
        self._limits.limit_a |= {one.key: one.limit_a for one in plan.limits}
        powers = self._twin.powers()
        if powers.charging_kw > 0:
            self.highest_kw = max(self.highest_kw, powers.load_kw)
