"""The limits half over chargers that stand in for OCPP: each holds what it was told, and may misbehave to order."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from charger_service.audit_log import OrderAuditLog
from charger_service.charging_control import ChargingControl
from charger_service.configuration import Installation
from charger_service.drivers import Drivers
from charger_service.grid_signal_service import GridSignalConfig
from charger_service.operator_service import OperatorService
from charger_service.ports import (
    ChargerCapabilities,
    CommandStatus,
    LimitMethod,
    MeterReading,
    Reply,
    TransactionEnded,
    TransactionLimit,
    TransactionStarted,
)
from charger_service.protection import ProtectionConfig
from charger_service.settings import ChargerSettings
from charger_service.store import FILE, StateStore
from ev_service.charging import Evse, EvseState, Limit, LimitResult
from ev_service.clock import SteppedClock
from ev_service.settings import SiteSettings

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


@dataclass
class FakeEvse:
    """What one EVSE really holds, and how it answers. in_force: whether it obeys an order that it answers badly."""

    default_a: float | None = None
    limit: TransactionLimit | None = None
    answer: CommandStatus = CommandStatus.ACCEPTED
    default_answer: CommandStatus = CommandStatus.ACCEPTED
    obeys: bool = False
    waits: asyncio.Event | None = None
    method: LimitMethod | None = None
    clear_answer: CommandStatus = CommandStatus.ACCEPTED


@dataclass
class Points:
    """`ChargePoints` of a site whose chargers are plain memory."""

    clock: SteppedClock
    told: dict[tuple[str, int], FakeEvse] = field(default_factory=dict[tuple[str, int], FakeEvse])
    offline: set[str] = field(default_factory=set[str])
    sent: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    cleared: list[str] = field(default_factory=list[str])
    stopped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    started: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])
    start_answer: CommandStatus = CommandStatus.ACCEPTED
    asked: list[str] = field(default_factory=list[str])

    def at(self, charger_id: str) -> FakeEvse:
        return self.told.setdefault((charger_id, 1), FakeEvse())

    def is_connected(self, charger_id: str) -> bool:
        return charger_id not in self.offline

    def last_seen(self, charger_id: str) -> datetime | None:
        return None if charger_id in self.offline else self.clock.now()

    async def set_limit(self, charger_id: str, limit: TransactionLimit) -> Reply:
        if charger_id in self.offline:
            return Reply(CommandStatus.NOT_CONNECTED)
        told = self.told.setdefault((charger_id, limit.evse_id), FakeEvse())
        self.sent.append((charger_id, limit.limit_a))
        answer = told.answer
        if answer is CommandStatus.ACCEPTED or told.obeys:
            told.limit = limit
        if told.waits is not None:
            await told.waits.wait()
        return Reply(answer, method=told.method)

    async def set_fallback(self, charger_id: str, evse_id: int, limit_a: float) -> Reply:
        if charger_id in self.offline:
            return Reply(CommandStatus.NOT_CONNECTED)
        told = self.told.setdefault((charger_id, evse_id), FakeEvse())
        if told.default_answer is CommandStatus.ACCEPTED:
            told.default_a = limit_a
        return Reply(told.default_answer)

    async def ask_meter_values(self, charger_id: str, evse_id: int) -> Reply:
        self.asked.append(charger_id)
        return Reply(CommandStatus.ACCEPTED)

    async def clear_limit(self, charger_id: str, evse_id: int) -> Reply:
        self.cleared.append(charger_id)
        told = self.told[charger_id, evse_id]
        if told.clear_answer is CommandStatus.ACCEPTED:
            told.limit = None
        return Reply(told.clear_answer)

    async def clear_fallback(self, charger_id: str, evse_id: int) -> Reply:
        raise AssertionError("not used")

    async def limit_in_force(self, charger_id: str, evse_id: int) -> tuple[Reply, float | None]:
        raise AssertionError("not used")

    async def start(self, charger_id: str, evse_id: int, id_token: str) -> Reply:
        self.started.append((charger_id, evse_id, id_token))
        return Reply(self.start_answer)

    async def stop(self, charger_id: str, transaction_id: str) -> Reply:
        self.stopped.append((charger_id, transaction_id))
        return Reply(CommandStatus.ACCEPTED)

    async def reset(self, charger_id: str) -> Reply:
        raise AssertionError("not used")


class House:
    """One site: its limits half, its chargers, its clock."""

    def __init__(
        self,
        chargers: Sequence[str] = ("CP-1", "CP-2", "CP-3"),
        *,
        feeder_a: float = 500.0,
        folder: Path | None = None,
        clock: SteppedClock | None = None,
        points: Points | None = None,
        evse: dict[str, Any] | None = None,
        config: ProtectionConfig | None = None,
        drivers: Drivers | None = None,
        signal: GridSignalConfig | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or SteppedClock(NOON)
        self.points = points or Points(self.clock)
        self.store = StateStore(folder)
        self.installation = installation(chargers, feeder_a, evse or {})
        # 69 kW are 100 A on each of three phases; beside 48.3 kW of the building 30 A are left for fallbacks.
        said: dict[str, Any] = {"building_kw": 48.3, "answer_s": 2.0} | settings
        self.limits = ChargingControl(
            self.installation,
            SiteSettings(limit_kw=69.0),
            ChargerSettings(**said),
            self.store,
            self.clock,
            config,
            drivers,
            signal,
        )
        self.limits.attach(self.points)
        self.record = OrderAuditLog(self.store, self.clock.now)
        self.operator_service: OperatorService = self.limits.operator_service(self.record)
        self.site = self.limits.site
        self._number = 0

    async def settled(self) -> None:
        """Everything that can go on has gone on."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not is_so():
                await asyncio.sleep(0.001)

    async def connect(self, *charger_ids: str) -> None:
        for charger_id in charger_ids or self.site.chargers:
            self.points.offline.discard(charger_id)
            self.limits.events.on_connect(charger_id, "2.0.1")
            self.limits.events.on_ready(charger_id, ChargerCapabilities())
            if self.site.get_session((charger_id, 1)) is None:
                self.limits.events.on_evse_state(charger_id, 1, EvseState.AVAILABLE)
        await self.settled()

    async def disconnect(self, charger_id: str) -> None:
        self.points.offline.add(charger_id)
        self.limits.events.on_disconnect(charger_id)
        await self.settled()

    async def plug(self, *charger_ids: str) -> None:
        for charger_id in charger_ids:
            self._number += 1
            transaction_id = f"{charger_id}-{self._number}"
            await self.limits.events.on_transaction_started(
                TransactionStarted(charger_id, 1, transaction_id, self.clock.now(), 100.0)
            )
            self.limits.events.on_evse_state(charger_id, 1, EvseState.CHARGING)
        await self.settled()

    async def unplug(self, charger_id: str) -> None:
        session = self.site.get_session((charger_id, 1))
        assert session is not None
        self.points.at(charger_id).limit = None
        await self.limits.events.on_transaction_ended(
            TransactionEnded(charger_id, session.transaction_id, self.clock.now())
        )
        self.limits.events.on_evse_state(charger_id, 1, EvseState.AVAILABLE)
        await self.settled()

    def meter(self, charger_id: str, current_a: float, reported_at: datetime | None = None, **more: Any) -> None:
        """Its meter says this on each phase, and by its own clock that it is so late."""
        at = self.clock.now() if reported_at is None else reported_at
        reading = MeterReading(at, current_a=(current_a, current_a, current_a), **more)
        self.limits.events.on_meter_values(charger_id, 1, reading)

    def limit(self, charger_id: str, limit_a: float, valid_s: float = 60.0, **more: Any) -> Limit:
        valid_until = self.clock.now() + timedelta(seconds=valid_s)
        return Limit(charger_id=charger_id, evse_id=1, limit_a=limit_a, valid_until=valid_until, **more)

    async def put(self, *limits: Limit, commander: str = "agent") -> tuple[LimitResult, ...]:
        answer = await self.limits.limit_service.set_limits(limits, commander, None)
        await self.settled()
        return answer.results

    async def set(self, **limits_a: float) -> tuple[LimitResult, ...]:
        """Limits by charger, with _ for -."""
        return await self.put(*(self.limit(name.replace("_", "-"), limit_a) for name, limit_a in limits_a.items()))

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.limits.grid_signal.check()
        await self.limits.supervisor.check()
        await self.settled()

    def evse(self, charger_id: str) -> Evse:
        return self.limits.views.charger(charger_id).evses[0]

    def really_a(self, charger_id: str, max_current_a: float = 32.0) -> float:
        """What the charger really lets a car draw per phase now."""
        if self.site.get_session((charger_id, 1)) is None:
            return 0.0
        told = self.points.at(charger_id)
        if told.limit is not None and told.limit.valid_until > self.clock.now():
            return told.limit.limit_a
        return max_current_a if told.default_a is None else told.default_a

    def close(self) -> None:
        self.store.close()


def installation(chargers: Sequence[str], feeder_a: float, evse: dict[str, Any]) -> Installation:
    said = {"evse_id": 1, "phases": [1, 2, 3], "max_current_a": 32} | evse
    return Installation.model_validate(
        {
            "feeders": [{"feeder_id": "main", "limit_a": feeder_a}],
            "chargers": [
                {
                    "charger_id": charger_id,
                    "feeder_id": "main",
                    "password_sha256": sha256(charger_id.encode()).hexdigest(),
                    "evses": [said],
                }
                for charger_id in chargers
            ],
        }
    )


WRITTEN = ("standings", "sessions", "transaction_numbers", "operator_words", "kill_audit", "order_audit")
"""Tables that are written while the service runs."""


def fill(folder: Path) -> None:
    """From now on nothing can be written, as on a full disk."""
    with closing(sqlite3.connect(folder / FILE)) as connection:
        for table in WRITTEN:
            connection.execute(
                f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table}"
                " BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
            )
        connection.commit()


def free(folder: Path) -> None:
    with closing(sqlite3.connect(folder / FILE)) as connection:
        for table in WRITTEN:
            connection.execute(f"DROP TRIGGER full_{table}")
        connection.commit()


@pytest.fixture
def house(anyio_backend: str) -> House:
    """Three chargers that are connected, 100 A on each phase."""
    return House()
