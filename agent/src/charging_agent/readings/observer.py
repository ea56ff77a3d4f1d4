"""Observes: brings the readings as fresh as the gateway's government allows.

A reading within its maximum age is served without a call; decisions asked for at the same time share one
observation; whatever happens, an observation ends within its deadline. Who is cut off goes on with nothing of what it
was told before.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from charging_agent.decision.policy import DecisionInputs
from charging_agent.gateway.calls import FailureReason
from charging_agent.gateway.client import GatewayClient
from charging_agent.readings.apis import GRID, SOURCES, build_decision_inputs
from charging_agent.readings.assessment import AgeLimits, AssessedReading
from charging_agent.readings.fetch_priority import CallPlan, Wish
from charging_agent.readings.forecasts import LOAD_FORECAST, LoadForecastOutlook
from charging_agent.readings.outlook_cache import OutlookCache
from charging_agent.readings.prices import PRICES, PriceOutlook
from charging_agent.readings.reading_cache import ReadingCache
from ev_service.clock import Clock
from ev_service.tasks import SingleFlight
from ev_service.telemetry import Reading

_NONE = 0
"""Number of no observation: nothing was fetched for it."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The readings of all sources as assessed at one moment."""

    at: datetime
    """Time of the assessment, UTC."""

    readings: Mapping[str, AssessedReading[Reading]]
    """Readings by the name of their source."""

    prices: PriceOutlook | None = None
    """Prices from then on; None: not known, which degrades nothing."""

    load_forecast: LoadForecastOutlook | None = None
    """Forecast of the load from then on; None: not known, which degrades nothing."""

    @property
    def grid(self) -> AssessedReading[Reading]:
        """The reading of the grid connection, without which charging pauses."""
        return self.readings[GRID.subject]

    @property
    def is_degraded(self) -> bool:
        """Whether at least one of them is stale or missing."""
        return any(reading.is_degraded for reading in self.readings.values())

    @property
    def is_blocked(self) -> bool:
        """Whether the gateway denies the agent at least one of them."""
        return any(reading.error is FailureReason.BLOCKED for reading in self.readings.values())

    def decision_inputs(self) -> DecisionInputs:
        """Return what a decision may use: everything that is not missing."""
        inputs = build_decision_inputs(self.at, {name: one.reading for name, one in self.readings.items()})
        prices = {} if self.prices is None else {PRICES: self.prices}
        forecasts = {} if self.load_forecast is None else {LOAD_FORECAST: self.load_forecast}
        if not prices and not forecasts:
            return inputs
        return replace(inputs, prices={**inputs.prices, **prices}, forecasts={**inputs.forecasts, **forecasts})


class Observer:
    """Keeps the newest readings and renews those that are too old.

    Args:
        gateway: fetches readings.
        clock: the run's clock.
        limits: ages of readings.
        deadline_s: real time [s] in which an observation ends.
        plan: chooses which of the readings that are too old are worth a call.
        prices: fetches and holds prices; None: decisions are made without them.
        load_forecast: the same for the forecast of the load.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        clock: Clock,
        limits: AgeLimits,
        deadline_s: float,
        plan: CallPlan,
        prices: OutlookCache[Any, PriceOutlook] | None = None,
        load_forecast: OutlookCache[Any, LoadForecastOutlook] | None = None,
    ) -> None:
        self._gateway = gateway
        self._prices, self._load_forecast = prices, load_forecast
        self._outlooks: list[OutlookCache[Any, Any]] = [one for one in (prices, load_forecast) if one is not None]
        self._outlook_flight = SingleFlight(self._refresh_outlooks)
        self._clock = clock
        self._deadline_s = deadline_s
        self._sensors = [ReadingCache(source, clock, source.ages or limits) for source in SOURCES]
        self._plan = plan
        self._number = 0
        self._flight = SingleFlight(self._renew)
        self._looks_at_all = False

    async def observe(self) -> Observation:
        """The readings for one decision, renewed through the gateway where they are too old."""
        now = self._clock.now()
        if not self._flight.is_running and all(sensor.is_young(now) for sensor in self._sensors):
            return self._assess(now, _NONE)
        return await self._flight.join()

    async def observe_anew(self) -> Observation:
        """All readings taken anew, also the young ones, by calls that are sent from now on."""
        # What flies already may have been sent before whatever the caller wants to know about.
        while self._flight.is_running:
            await self._flight.join()
        self._looks_at_all = True
        return await self._flight.join()

    def current_observation(self) -> Observation:
        """The readings as they are held now, without any call."""
        return self._assess(self._clock.now(), _NONE)

    def has_calls_to_spare(self) -> bool:
        """Whether more than half of each API's calls are left in this window."""
        return self._plan.has_calls_to_spare(self._clock.now())

    def start_outlook_refresh(self) -> None:
        """Fetch prices and forecasts in the background if due and no reading lacks the call; observing never does."""
        if any(one.is_due() for one in self._outlooks):
            self._outlook_flight.start()

    def outlook_errors(self) -> dict[str, str | None]:
        """Why prices and forecasts could not be fetched last, in one sentence; None: they could, or are not wanted."""
        named = {"prices": self._prices, "forecasts": self._load_forecast}
        return {
            name: None if one is None or one.error is None else f"{name} were not fetched ({one.error})"
            for name, one in named.items()
        }

    async def stop(self) -> None:
        """Give up what is in flight."""
        await self._outlook_flight.stop()
        await self._flight.stop()

    async def _refresh_outlooks(self) -> None:
        for one in self._outlooks:
            if one.is_due() and await one.refresh():
                self._revoke_access()
                return

    async def _renew(self) -> Observation:
        self._number += 1
        ends_at_s = time.monotonic() + self._deadline_s
        looks_at_all, self._looks_at_all = self._looks_at_all, False
        caches: set[ReadingCache[Any]] = set()
        while True:
            now, left_s = self._clock.now(), ends_at_s - time.monotonic()
            old = [s for s in self._sensors if s not in caches and (looks_at_all or not s.is_young(now))]
            if not old or left_s <= 0:
                return self._assess(now, self._number)
            # While one was slow, another may have grown too old: it gets its turn within the same deadline.
            caches.update(old)
            called = self._worth_a_call(old, now, is_told_to=looks_at_all)
            if any(await asyncio.gather(*(self._refresh(sensor, left_s) for sensor in called))):
                return self._assess(self._clock.now(), self._number)

    def _worth_a_call(
        self, old: list[ReadingCache[Any]], now: datetime, *, is_told_to: bool
    ) -> list[ReadingCache[Any]]:
        wishes = [Wish(sensor.api.name, sensor.age_s(now)) for sensor in old]
        chosen = self._plan.take_all(wishes, now) if is_told_to else self._plan.choose(wishes, now)
        for sensor in old:
            if sensor.api.name not in chosen:
                sensor.skip(is_spent=self._plan.is_spent(sensor.api.name, now))
        return [sensor for sensor in old if sensor.api.name in chosen]

    async def _refresh(self, sensor: ReadingCache[Any], left_s: float) -> bool:
        is_denied = await sensor.refresh(self._gateway, left_s, self._number)
        if is_denied:
            self._revoke_access()
        elif sensor.newest is not None:
            self._plan.note_read(sensor.api.name, sensor.newest)
        return is_denied

    def _assess(self, now: datetime, observation: int) -> Observation:
        readings = {cache.api.subject: cache.assess(now, observation) for cache in self._sensors}
        prices = None if self._prices is None else self._prices.current(now)
        load_forecast = None if self._load_forecast is None else self._load_forecast.current(now)
        return Observation(now, readings, prices, load_forecast)

    def _revoke_access(self) -> None:
        for each in self._sensors:
            each.revoke_access()
        for outlook in self._outlooks:
            outlook.revoke_access()
