"""Observes: brings the three readings as fresh as the gateway's government allows.

A reading within its maximum age is served without a call; decisions asked for at the same time share one
observation; whatever happens, an observation ends within its deadline.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic

from charging_agent.apis import BATTERY, GRID, SOLAR, Api
from charging_agent.decision import Known
from charging_agent.gateway import CallFailed, GatewayClient
from charging_agent.readings import AgeLimits, Judged, R, Trouble, age_s, is_young, judge
from charging_agent.single_flight import SingleFlight
from ev_service.clock import Clock
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

_logger = logging.getLogger(__name__)

_NONE = 0
"""Number of no observation: nothing was fetched for it."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The three readings as judged at one moment."""

    at: datetime
    solar: Judged[SolarStatus]
    battery: Judged[BatteryStatus]
    grid: Judged[GridLoad]

    @property
    def is_degraded(self) -> bool:
        return self.solar.is_degraded or self.battery.is_degraded or self.grid.is_degraded

    def known(self) -> Known:
        """What a decision may use: everything that is not missing."""
        return Known(self.solar.reading, self.battery.reading, self.grid.reading)


class _Sensor(Generic[R]):
    """The newest reading of one API and what last stood in the way of a newer one."""

    def __init__(self, api: Api[R], clock: Clock, limits: AgeLimits) -> None:
        self._api = api
        self._clock = clock
        self._limits = limits
        self.newest: R | None = None
        self.trouble: Trouble | None = None
        self.fetched_for = -1

    async def refresh(self, gateway: GatewayClient, deadline_s: float, observation: int) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                fetched = await gateway.fetch(self._api)
        except TimeoutError:
            self.trouble = Trouble.TIMEOUT
        except CallFailed as failure:
            self.trouble = failure.trouble
        except Exception:
            # A decision is always answered, also where this code met something that nobody thought of.
            _logger.exception("reading not understood")
            self.trouble = Trouble.INVALID_READING
        else:
            self._keep(fetched, observation)

    def _keep(self, fetched: R, observation: int) -> None:
        # A reading from the future must not push out the one held, which may still count.
        if age_s(fetched, self._clock.now()) < -self._limits.future_s:
            self.trouble = Trouble.INVALID_READING
            return
        self.newest, self.trouble, self.fetched_for = fetched, None, observation

    def is_young(self, now: datetime) -> bool:
        return is_young(self.newest, now, self._limits)

    def judged(self, now: datetime, observation: int) -> Judged[R]:
        return judge(self.newest, now, self._limits, is_new=self.fetched_for == observation, trouble=self.trouble)


class Observer:
    """Keeps the newest readings and renews those that are too old.

    Args:
        gateway: fetches readings.
        clock: the run's clock.
        limits: ages of readings.
        deadline_s: real time [s] in which an observation ends.
    """

    def __init__(self, gateway: GatewayClient, clock: Clock, limits: AgeLimits, deadline_s: float) -> None:
        self._gateway = gateway
        self._clock = clock
        self._deadline_s = deadline_s
        self._solar = _Sensor(SOLAR, clock, limits)
        self._battery = _Sensor(BATTERY, clock, limits)
        self._grid = _Sensor(GRID, clock, limits)
        self._sensors: tuple[_Sensor[Any], ...] = (self._solar, self._battery, self._grid)
        self._number = 0
        self._flight = SingleFlight(self._renewed)

    async def observe(self) -> Observation:
        """The readings for one decision, renewed through the gateway where they are too old."""
        now = self._clock.now()
        if not self._flight.is_flying and all(sensor.is_young(now) for sensor in self._sensors):
            return self._judged(now, _NONE)
        return await self._flight.join()

    def held(self) -> Observation:
        """The readings as they are held now, without any call."""
        return self._judged(self._clock.now(), _NONE)

    async def stop(self) -> None:
        """Give up an observation in flight."""
        await self._flight.stop()

    async def _renewed(self) -> Observation:
        self._number += 1
        ends_at_s = time.monotonic() + self._deadline_s
        tried: set[_Sensor[Any]] = set()
        while True:
            now, left_s = self._clock.now(), ends_at_s - time.monotonic()
            old = [sensor for sensor in self._sensors if sensor not in tried and not sensor.is_young(now)]
            if not old or left_s <= 0:
                return self._judged(now, self._number)
            await asyncio.gather(*(sensor.refresh(self._gateway, left_s, self._number) for sensor in old))
            # While one was slow, another may have grown too old: it gets its turn within the same deadline.
            tried.update(old)

    def _judged(self, now: datetime, observation: int) -> Observation:
        return Observation(
            now,
            self._solar.judged(now, observation),
            self._battery.judged(now, observation),
            self._grid.judged(now, observation),
        )
