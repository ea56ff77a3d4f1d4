"""The agent's charging over a site of its own, in one process: what chargers report need not be what cars draw."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import TypeAdapter

from charging_agent.charging.charger_api import CHARGERS, LimitSetter
from charging_agent.charging.controller import ChargingController
from charging_agent.charging.planning import ChargingParameters
from charging_agent.decision.pipeline import Decision
from charging_agent.decision.policy import Action, DecisionInputs
from charging_agent.decision.rules import Rule
from charging_agent.gateway.calls import ApiRequest
from charging_agent.gateway.client import GatewayClient
from charging_agent.readings.assessment import AgeLimits
from ev_service.charging import (
    Charger,
    Chargers,
    Evse,
    EvseState,
    Feeder,
    Lease,
    Limit,
    LimitOutcome,
    LimitResult,
    LimitResults,
    MeterValues,
    Session,
)
from ev_service.clock import SteppedClock
from ev_service.telemetry import GridLoad

LIMIT_KW, BUILDING_KW, VOLTAGE_V = 100.0, 30.0, 230.0
_NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
_FAST = Decision(Rule.SOLAR_AND_BATTERY_HIGH, Action.FAST, 22.0)
_LIMITS = TypeAdapter(tuple[Limit, ...])
_MOST_A, _FALLBACK_A, _PERIOD_S = 32.0, 6.0, 15.0


@dataclass
class Car:
    """A car on three phases; it draws what its limit lets it, unless it does not want any.

    claims_a [A]: what its charger reports at the least.
    """

    charger_id: str
    wants: bool = True
    claims_a: float = 0.0
    limit_a: float = _FALLBACK_A

    @property
    def drawn_a(self) -> float:
        return self.limit_a if self.wants else 0.0


@dataclass
class OwnSite:
    """A building that takes the same all the time, and cars; the gateway of the agent that commands them."""

    cars: list[Car]
    clock: SteppedClock = field(default_factory=lambda: SteppedClock(_NOON))

    @property
    def load_kw(self) -> float:
        """What the connection carries."""
        return BUILDING_KW + sum(_power_kw(car.drawn_a) for car in self.cars)

    async def send(self, request: ApiRequest[Any]) -> Chargers | LimitResults:
        """Answer as ChargerAPI and ChargerControlAPI do."""
        return (
            self._chargers()
            if request.name == CHARGERS.name
            else self._obey(_LIMITS.validate_json(request.content or b"[]"))
        )

    def _obey(self, limits: Sequence[Limit]) -> LimitResults:
        given = {one.charger_id: one.limit_a for one in limits}
        for car in self.cars:
            car.limit_a = given.get(car.charger_id, car.limit_a)
        now = self.clock.now()
        return LimitResults(
            site_id="attacked",
            timestamp=now,
            lease=Lease(commander="agent", until=now),
            results=tuple(
                LimitResult(
                    charger_id=one.charger_id,
                    evse_id=one.evse_id,
                    outcome=LimitOutcome.APPLIED,
                    limit_a=one.limit_a,
                    valid_until=one.valid_until,
                )
                for one in limits
            ),
        )

    def _chargers(self) -> Chargers:
        return Chargers(
            site_id="attacked",
            timestamp=self.clock.now(),
            source="ocpp",
            site_limit_kw=LIMIT_KW,
            voltage_v=VOLTAGE_V,
            phases=3,
            feeders=(Feeder(feeder_id="main", limit_a=500.0),),
            chargers=tuple(map(self._charger, self.cars)),
        )

    async def rounds(self, charging: ChargingController, count: int) -> None:
        """Let the agent look, plan and command."""
        for _ in range(count):
            self.clock.advance(_PERIOD_S)
            await charging.poll()
            inputs = DecisionInputs.from_readings(self.clock.now(), grid=self._grid())
            plan = charging.make_plan(_FAST, inputs, charging.assess_situation(inputs))
            await charging.apply_plan(plan, "decided")

    def charging(self) -> ChargingController:
        """The agent's part that limits cars."""
        gateway = cast("GatewayClient", self)
        commander = LimitSetter(gateway, self.clock, "agent")
        return ChargingController(gateway, commander, self.clock, AgeLimits(), ChargingParameters(), deadline_s=5.0)

    def _charger(self, car: Car) -> Charger:
        now, reported_a = self.clock.now(), max(car.claims_a, car.drawn_a)
        evse = Evse(
            evse_id=1,
            state=EvseState.CHARGING,
            phases=(1, 2, 3),
            max_current_a=_MOST_A,
            fallback_a=_FALLBACK_A,
            limit_a=car.limit_a,
            measured=MeterValues(measured_at=now, power_kw=_power_kw(reported_a), current_a=(reported_a,) * 3),
            session=Session(
                session_id=car.charger_id, charger_id=car.charger_id, evse_id=1, started_at=_NOON, energy_kwh=1.0
            ),
        )
        return Charger(charger_id=car.charger_id, is_connected=True, feeder_id="main", evses=(evse,))

    def _grid(self) -> GridLoad:
        load_kw = self.load_kw
        return GridLoad(
            site_id="attacked",
            timestamp=self.clock.now(),
            source="simulated",
            load_kw=load_kw,
            limit_kw=LIMIT_KW,
            load_percent=load_kw / LIMIT_KW * 100,
        )


def liars_draw_later(liars: int, honest: int, rounds: int) -> float:
    """Some chargers report all they can give while their cars draw nothing, and then these draw; the load then [kW]."""

    async def run() -> float:
        lying = [Car(f"LIAR-{number}", wants=False, claims_a=_MOST_A) for number in range(liars)]
        site = OwnSite([*lying, *(Car(f"CP-{number}") for number in range(honest))])
        charging = site.charging()
        await site.rounds(charging, rounds)
        for car in lying:
            car.wants = True
        return site.load_kw

    return asyncio.run(run())


def _power_kw(current_a: float) -> float:
    return current_a * 3 * VOLTAGE_V / 1000
