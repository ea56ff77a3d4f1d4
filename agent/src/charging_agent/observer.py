"""Observes: brings the three readings as fresh as the gateway's government allows.

A reading within its maximum age is served without a call; decisions asked for at the same time share one
observation; whatever happens, an observation ends within its deadline.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic

from charging_agent.apis import BATTERY, GRID, SOLAR, Api
from charging_agent.decision import Known
from charging_agent.gateway import CallFailed, GatewayClient
from charging_agent.readings import AgeLimits, Judged, R, Trouble, is_young, judge
from charging_agent.single_flight import SingleFlight
from ev_service.clock import Clock
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus


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

    def __init__(self, api: Api[R]) -> None:
        self.api = api
        self.newest: R | None = None
        self.trouble: Trouble | None = None
        self.fetched_for = -1

    async def refresh(self, gateway: GatewayClient, deadline_s: float, observation: int) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                self.newest = await gateway.fetch(self.api)
            self.trouble, self.fetched_for = None, observation
        except TimeoutError:
            self.trouble = Trouble.TIMEOUT
        except CallFailed as failure:
            self.trouble = failure.trouble

    def judged(self, now: datetime, limits: AgeLimits, observation: int) -> Judged[R]:
        return judge(self.newest, now, limits, is_new=self.fetched_for == observation, trouble=self.trouble)


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
        self._limits = limits
        self._deadline_s = deadline_s
        self._solar, self._battery, self._grid = _Sensor(SOLAR), _Sensor(BATTERY), _Sensor(GRID)
        self._number = 0
        self._flight = SingleFlight(self._refresh)

    async def observe(self) -> Observation:
        """The readings for one decision, renewed through the gateway where they are too old."""
        now = self._clock.now()
        if not self._flight.is_flying and all(self._is_young(sensor, now) for sensor in self._sensors()):
            return self._judged(now, observation=-2)
        number = await self._flight.join()
        return self._judged(self._clock.now(), number)

    def held(self) -> Observation:
        """The readings as they are held now, without any call."""
        return self._judged(self._clock.now(), observation=-2)

    async def stop(self) -> None:
        """Give up an observation in flight."""
        await self._flight.stop()

    async def _refresh(self) -> int:
        self._number += 1
        now = self._clock.now()
        old = [sensor for sensor in self._sensors() if not self._is_young(sensor, now)]
        await asyncio.gather(*(sensor.refresh(self._gateway, self._deadline_s, self._number) for sensor in old))
        return self._number

    def _sensors(self) -> tuple[_Sensor[Any], ...]:
        return self._solar, self._battery, self._grid

    def _is_young(self, sensor: _Sensor[Any], now: datetime) -> bool:
        return is_young(sensor.newest, now, self._limits)

    def _judged(self, now: datetime, observation: int) -> Observation:
        return Observation(
            now,
            self._solar.judged(now, self._limits, observation),
            self._battery.judged(now, self._limits, observation),
            self._grid.judged(now, self._limits, observation),
        )
