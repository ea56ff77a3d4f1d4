"""A charger service behind the fake gateway: it keeps limits, lets them lapse and holds a lease, like the real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from charging_agent import agent
from charging_agent.charging.charger_api import CHARGERS, LIMITS
from charging_agent.charging.fleet import power_kw
from ev_service.charging import Charger, Chargers, Evse, EvseState, Feeder, MeterValues, Session
from ev_service.clock import Clock, SteppedClock, sleep_until_s
from ev_service.units import utc_text

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication, FakeGateway

SITE_LIMIT_KW = 100.0
VOLTAGE_V = 230.0


@dataclass
class Place:
    """One EVSE of a charger of its own, and the car there, which draws what it may up to its own most."""

    charger_id: str
    clock: SteppedClock
    takes_a: float = 32.0
    phases: tuple[int, ...] = (1, 2, 3)
    has_car: bool = True
    has_session: bool = True
    is_connected: bool = True
    priority: int = 0
    departure: datetime | None = None
    energy_wanted_kwh: float | None = None
    obeys: bool = True
    fallback_a: float = 6.0
    limit_a: float | None = None
    valid_until: datetime | None = None
    measured_at: datetime | None = None
    is_metered: bool = True
    history: list[float] = field(default_factory=lambda: list[float]())

    @property
    def in_force_a(self) -> float:
        if self.limit_a is None or self.valid_until is None or self.valid_until <= self.clock.now():
            return self.fallback_a
        return self.limit_a

    @property
    def drawn_a(self) -> float:
        if not self.has_car:
            return 0.0
        return min(self.takes_a, self.in_force_a) if self.obeys else self.takes_a

    @property
    def drawn_kw(self) -> float:
        return power_kw(self.drawn_a, len(self.phases), VOLTAGE_V)

    def charger(self) -> Charger:
        now = self.clock.now()
        if self.is_metered or self.measured_at is None:
            self.measured_at = now
        current_a = tuple(self.drawn_a if phase in self.phases else 0.0 for phase in (1, 2, 3))
        is_limited = self.in_force_a != self.fallback_a or (self.valid_until or now) > now
        evse = Evse(
            evse_id=1,
            state=self._state(),
            phases=self.phases,
            max_current_a=32.0,
            fallback_a=self.fallback_a,
            limit_a=self.in_force_a if is_limited else None,
            valid_until=self.valid_until if is_limited else None,
            measured=MeterValues(measured_at=self.measured_at, power_kw=self.drawn_kw, current_a=current_a),
            draws_without_session=self.drawn_a > 0 and not self.has_session,
            session=self._session(now) if self.has_car and self.has_session else None,
        )
        return Charger(charger_id=self.charger_id, is_connected=self.is_connected, feeder_id="main", evses=(evse,))

    def _state(self) -> EvseState:
        if not self.has_car:
            return EvseState.AVAILABLE
        return EvseState.CHARGING if self.drawn_a > 0 else EvseState.SUSPENDED_EVSE

    def _session(self, now: datetime) -> Session:
        return Session(
            session_id=f"{self.charger_id}-1",
            charger_id=self.charger_id,
            evse_id=1,
            started_at=now - timedelta(minutes=5),
            energy_kwh=1.0,
            priority=self.priority,
            departure=self.departure,
            energy_wanted_kwh=self.energy_wanted_kwh,
        )


class FakeChargers:
    """The charger service of a site with a building that takes what it takes."""

    def __init__(self, gateway: FakeGateway, clock: SteppedClock, count: int = 2) -> None:
        self.gateway = gateway
        self.clock = clock
        self.places = {f"CP-{number}": Place(f"CP-{number}", clock) for number in range(1, count + 1)}
        self.building_kw = 20.0
        self.site_limit_kw = SITE_LIMIT_KW
        self.leased_by: str | None = None
        self.override: dict[str, Any] | None = None
        self.commands: list[dict[str, Any]] = []
        self.rests = 0
        gateway.does(CHARGERS.path, self.answer)
        gateway.does(LIMITS.path, self.take)
        gateway.does("/grid/1.0.0/grid-load", self.grid)

    @property
    def drawn_kw(self) -> float:
        return sum(place.drawn_kw for place in self.places.values())

    @property
    def in_force(self) -> dict[str, float]:
        return {name: place.in_force_a for name, place in self.places.items()}

    async def first_round(self) -> None:
        """Wait for the end of the loop's first round."""
        await self._until(1)

    async def rounds(self, count: int) -> None:
        """Let the loop go round, to the end each time."""
        await self.first_round()
        for _ in range(count):
            before = self.rests
            self.clock.advance(15)
            await self._until(before + 1)

    async def _until(self, rests: int) -> None:
        async with asyncio.timeout(30):
            while self.rests < rests:
                await asyncio.sleep(0.001)

    async def grid(self, _: httpx.Request) -> httpx.Response:
        load_kw = self.building_kw + self.drawn_kw
        path = "/grid/1.0.0/grid-load"
        said = self.gateway.reading(path, load_kw=load_kw, load_percent=load_kw, limit_kw=SITE_LIMIT_KW)
        return httpx.Response(200, content=json.dumps(said))

    async def answer(self, _: httpx.Request) -> httpx.Response:
        told = Chargers(
            site_id="greensboro",
            timestamp=self.clock.now(),
            source="ocpp",
            site_limit_kw=self.site_limit_kw,
            voltage_v=VOLTAGE_V,
            phases=3,
            feeders=(Feeder(feeder_id="main", limit_a=200.0),),
            chargers=tuple(place.charger() for place in self.places.values()),
        ).model_dump(mode="json", exclude_none=True)
        if self.override is not None:
            told["override"] = self.override
        return httpx.Response(200, content=json.dumps(told))

    async def take(self, request: httpx.Request) -> httpx.Response:
        limits, query = json.loads(request.content), dict(request.url.params)
        self.commands.append({"limits": limits, **query})
        if self.leased_by is not None:
            problem = {"code": "leased", "status": 409, "detail": f"{self.leased_by} commands until 12:05"}
            return httpx.Response(409, json=problem)
        return httpx.Response(200, content=json.dumps(self._done(limits, query["commander"])))

    def _done(self, limits: list[dict[str, Any]], commander: str) -> dict[str, Any]:
        results = [self._set(limit) for limit in limits]
        now = self.clock.now()
        lease = {"commander": commander, "until": utc_text(now + timedelta(seconds=60))}
        return {"site_id": "greensboro", "timestamp": utc_text(now), "lease": lease, "results": results}

    def _set(self, limit: Mapping[str, Any]) -> dict[str, Any]:
        place = self.places[limit["charger_id"]]
        told = {"charger_id": place.charger_id, "evse_id": 1}
        if not place.is_connected:
            return told | {"outcome": "rejected", "limited_by": "not_connected"}
        place.limit_a, place.valid_until = limit["limit_a"], datetime.fromisoformat(limit["valid_until"])
        return told | {"outcome": "applied", "limit_a": place.limit_a, "valid_until": limit["valid_until"]}


@pytest.fixture
def chargers(served: AgentApplication, monkeypatch: pytest.MonkeyPatch) -> FakeChargers:
    """The chargers of an agent that commands them."""
    served.settings["chargers"] = True
    made = FakeChargers(served.gateway, served.clock)

    async def resting(clock: Clock, due_s: float) -> None:
        made.rests += 1
        await sleep_until_s(clock, due_s)

    monkeypatch.setattr(agent, "sleep_until_s", resting)
    return made
