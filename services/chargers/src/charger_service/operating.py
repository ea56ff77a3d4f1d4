"""Carries out what operators order of the site: at once, without any agent, and whether or not it can be recorded."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar, TypeVar

from charger_service.acts import Proved
from charger_service.applying import Applying
from charger_service.keeping import Keeper
from charger_service.order_record import OrderRecord
from charger_service.orders import (
    DepartureOrder,
    Orders,
    OverrideKind,
    OverrideOrder,
    OverrideState,
    SiteLimit,
    SiteLimitOrder,
)
from charger_service.overriding import Overriding
from charger_service.sending import Sending
from charger_service.site import OverrideGiven, Site, lifetime_of
from charger_service.views import session
from ev_service.charging import Override, Session
from ev_service.clock import Clock, read_clock
from ev_service.errors import EvError

T = TypeVar("T")


class OrderRefused(EvError):
    """An order asks for what can not be."""

    code: ClassVar[str] = "order_refused"
    http_status: ClassVar[int] = 422


class UnknownSession(EvError):
    """No such session runs."""

    code: ClassVar[str] = "unknown_session"
    http_status: ClassVar[int] = 404


class Operating:
    """Carries out orders, and keeps a record of who gave them.

    Args:
        site: what is known and ordered.
        applying: lowers what no longer fits.
        overriding: brings an override to the cars.
        sending: the way to the chargers.
        keeper: keeps what must survive a restart.
        record: who ordered what.
        clock: the run's clock.
        answer_s: how long an order waits for chargers [s, real time].
    """

    def __init__(
        self,
        site: Site,
        applying: Applying,
        overriding: Overriding,
        sending: Sending,
        keeper: Keeper,
        record: OrderRecord,
        clock: Clock,
        answer_s: float,
    ) -> None:
        self._site = site
        self._applying = applying
        self._overriding = overriding
        self._sending = sending
        self._keeper = keeper
        self._record = record
        self._clock = clock
        self._answer_s = answer_s

    async def set_site_limit(self, order: SiteLimitOrder, proved: Proved | None) -> SiteLimit:
        """Hold the site to a limit, from now on.

        Raises:
            OrderRefused: it is above the site's configured limit.
        """
        configured_kw = self._site.rules.settings.limit_kw
        if order.limit_kw is not None and order.limit_kw > configured_kw:
            raise OrderRefused(f"the site may draw {configured_kw:g} kW at most; {order.limit_kw:g} kW is more")
        self._site.operator_limit_kw = order.limit_kw
        self._site.choose_fallbacks()
        lowered = self._applying.trim()
        for key, standing in self._site.standings.items():
            if standing.fallback_held_a is not None and standing.fallback_a < standing.fallback_held_a:
                self._sending.send_fallback(key)
        is_kept, _ = await asyncio.gather(self._kept(order, proved), self._sending.settled(lowered, self._answer_s))
        return SiteLimit(
            site_id=self._site.rules.settings.id,
            timestamp=self._clock.now(),
            site_limit_kw=self._site.site_limit_kw,
            configured_kw=configured_kw,
            is_kept_on_disk=is_kept,
        )

    async def set_departure(self, session_id: str, order: DepartureOrder, proved: Proved | None) -> Session:
        """Tell what a car needs; it stands above what the car said.

        Raises:
            UnknownSession: no such session runs.
            OrderRefused: the departure is over.
        """
        key = self._site.key_of_session(session_id)
        visit = None if key is None else self._site.visit(key)
        if key is None or visit is None:
            raise UnknownSession("no session of this name runs")
        if order.departure <= self._clock.now():
            raise OrderRefused("a departure lies ahead")
        changed = replace(
            visit,
            departure=order.departure,
            energy_wanted_kwh=_or(order.energy_wanted_kwh, visit.energy_wanted_kwh),
            priority=_or(order.priority, visit.priority),
            guaranteed_a=_or(order.guaranteed_a, visit.guaranteed_a),
            by_operator=True,
        )
        self._site.set_visit(key, changed)
        await asyncio.gather(asyncio.to_thread(self._record.add, order, proved, session_id), self._keeper.keep())
        return session(key, changed)

    async def set_override(self, order: OverrideOrder, proved: Proved | None) -> OverrideState:
        """Command all cars, until it ends by itself or is taken back."""
        if order.kind is OverrideKind.NONE or order.minutes is None:
            self._overriding.release()
        else:
            now = read_clock(self._clock)
            until = now.wall + timedelta(minutes=order.minutes)
            override = Override(kind=order.kind.value, charging_power_kw=order.charging_power_kw, until=until)
            lifetime = lifetime_of(override).until(now, until)
            self._site.override = OverrideGiven(override, order.reason, proved, lifetime)
        is_kept, _ = await asyncio.gather(self._kept(order, proved), self._overriding.enforce())
        return self._state(is_kept)

    def override_state(self) -> OverrideState:
        """The override in force."""
        return self._state(self._keeper.store.is_on_disk and self._keeper.store.write_error() is None)

    def orders(self, limit: int, before: int | None) -> Orders:
        """The newest orders whose number is below `before`, the newest first."""
        return self._record.page(limit, before)

    async def _kept(self, order: SiteLimitOrder | OverrideOrder, proved: Proved | None) -> bool:
        is_recorded, is_kept = await asyncio.gather(
            asyncio.to_thread(self._record.add, order, proved), self._keeper.keep_words()
        )
        return is_recorded and is_kept and self._keeper.store.is_on_disk

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


def _or(told: T | None, before: T) -> T:
    return before if told is None else told
