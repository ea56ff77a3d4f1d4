"""Executes orders of operators: at once, without any agent, and whether or not they can be recorded."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar, TypeVar

from charger_service.audit_log import OrderAuditLog
from charger_service.command_queue import CommandQueue
from charger_service.envelope import EvseKey
from charger_service.evse_facts import ChargingSession
from charger_service.kill_audit import AuthenticatedCaller
from charger_service.limit_allocator import LimitAllocator
from charger_service.orders import (
    DepartureOrder,
    ModeOrder,
    Orders,
    OverrideKind,
    OverrideOrder,
    OverrideState,
    SiteLimit,
    SiteLimitOrder,
)
from charger_service.override_service import OverrideService
from charger_service.persistence import StateWriter
from charger_service.site import ActiveOverride, ChargingSite, lifetime_of
from charger_service.views import to_session
from ev_service.charging import Override, Session
from ev_service.clock import Clock, read_clock
from ev_service.errors import EvError

T = TypeVar("T")


class OrderRefusedError(EvError):
    """An order that is not possible."""

    code: ClassVar[str] = "order_refused"
    http_status: ClassVar[int] = 422


class UnknownSessionError(EvError):
    """There is no such running session."""

    code: ClassVar[str] = "unknown_session"
    http_status: ClassVar[int] = 404


class OperatorService:
    """Executes orders, and records who gave them.

    Args:
        site: the site's state.
        allocator: lowers what no longer fits.
        overrides: sends an override to the cars.
        queue: sends orders to the chargers.
        writer: persists the state.
        record: audit log of orders.
        clock: the run's clock.
        answer_s: how long an order waits for chargers [s, real time].
    """

    def __init__(
        self,
        site: ChargingSite,
        allocator: LimitAllocator,
        overrides: OverrideService,
        queue: CommandQueue,
        writer: StateWriter,
        record: OrderAuditLog,
        clock: Clock,
        answer_s: float,
    ) -> None:
        self._site = site
        self._allocator = allocator
        self._overrides = overrides
        self._queue = queue
        self._writer = writer
        self._record = record
        self._clock = clock
        self._answer_s = answer_s

    async def set_site_limit(self, order: SiteLimitOrder, proved: AuthenticatedCaller | None) -> SiteLimit:
        """Limit the site from now on.

        Raises:
            OrderRefusedError: it is above the site's configured limit.
        """
        configured_kw = self._site.rules.settings.limit_kw
        if order.limit_kw is not None and order.limit_kw > configured_kw:
            raise OrderRefusedError(f"the site may draw {configured_kw:g} kW at most; {order.limit_kw:g} kW is more")
        self._site.operator_limit_kw = order.limit_kw
        lowered = self._allocator.fit_to_site_limit()
        is_kept, _ = await asyncio.gather(
            self._persist(order, proved), self._queue.wait_for_answers(lowered, self._answer_s)
        )
        return SiteLimit(
            site_id=self._site.rules.settings.id,
            timestamp=self._clock.now(),
            site_limit_kw=self._site.site_limit_kw,
            configured_kw=configured_kw,
            is_kept_on_disk=is_kept,
        )

    async def set_departure(
        self, session_id: str, order: DepartureOrder, proved: AuthenticatedCaller | None
    ) -> Session:
        """Set the needs of a car; they take precedence over those that it reports.

        Raises:
            UnknownSessionError: no such session runs.
            OrderRefusedError: the departure is over.
        """
        key, session = self._find_session(session_id)
        if order.departure <= self._clock.now():
            raise OrderRefusedError("a departure lies ahead")
        changed = replace(
            session,
            departure=order.departure,
            energy_wanted_kwh=_or(order.energy_wanted_kwh, session.energy_wanted_kwh),
            priority=_or(order.priority, session.priority),
            guaranteed_a=_or(order.guaranteed_a, session.guaranteed_a),
            by_operator=True,
        )
        self._site.set_session(key, changed)
        await asyncio.gather(self._record.add(order, proved, session_id), self._writer.write())
        return to_session(key, changed)

    async def set_mode(self, session_id: str, order: ModeOrder, proved: AuthenticatedCaller | None) -> Session:
        """Set how a car is to be charged, until its session ends.

        Raises:
            UnknownSessionError: no such session runs.
        """
        key, session = self._find_session(session_id)
        changed = replace(session, mode=order.mode)
        self._site.set_session(key, changed)
        await asyncio.gather(self._record.add(order, proved, session_id), self._writer.write())
        return to_session(key, changed)

    async def set_override(self, order: OverrideOrder, proved: AuthenticatedCaller | None) -> OverrideState:
        """Command all cars, until the order ends by itself or is withdrawn."""
        if order.kind is OverrideKind.NONE or order.minutes is None:
            self._overrides.release()
        else:
            now = read_clock(self._clock)
            until = now.wall + timedelta(minutes=order.minutes)
            override = Override(kind=order.kind.value, charging_power_kw=order.charging_power_kw, until=until)
            lifetime = lifetime_of(override).until(now, until)
            self._site.override = ActiveOverride(override, order.reason, proved, lifetime)
        is_kept, _ = await asyncio.gather(self._persist(order, proved), self._overrides.enforce())
        return self._state(is_kept)

    def override_state(self) -> OverrideState:
        """Return the override in force."""
        return self._state(self._writer.store.is_on_disk and self._writer.store.write_error() is None)

    async def orders(self, limit: int, before: int | None) -> Orders:
        """The newest orders with numbers below `before`, the newest first.

        Raises:
            StoreError: they cannot be read.
        """
        return await self._record.page(limit, before)

    def _find_session(self, session_id: str) -> tuple[EvseKey, ChargingSession]:
        key = self._site.key_of_session(session_id)
        session = None if key is None else self._site.get_session(key)
        if key is None or session is None:
            raise UnknownSessionError("no session of this name runs")
        return key, session

    async def _persist(self, order: SiteLimitOrder | OverrideOrder, proved: AuthenticatedCaller | None) -> bool:
        is_recorded, is_kept = await asyncio.gather(self._record.add(order, proved), self._writer.write_orders())
        return is_recorded and is_kept and self._writer.store.is_on_disk

    def _state(self, is_kept: bool) -> OverrideState:
        given, now = self._site.override, read_clock(self._clock)
        return OverrideState(
            site_id=self._site.rules.settings.id,
            timestamp=now.wall,
            override=given and given.as_shown(now),
            reason=given and given.reason,
            proved=given and given.proved,
            is_kept_on_disk=is_kept,
        )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
