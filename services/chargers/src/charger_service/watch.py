"""Looks after limits as the run's time passes: they lapse, are renewed, and are sent again until they are confirmed."""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from charger_service.applying import Applying
from charger_service.envelope import Key
from charger_service.keeping import Keeper
from charger_service.metrics import ChargerMetrics
from charger_service.overriding import Overriding
from charger_service.ports import ChargePoints
from charger_service.sending import Sending
from charger_service.site import Site
from charger_service.standing import Cause
from ev_service.charging import EvseState
from ev_service.clock import Clock, sleep_until
from ev_service.tasks import ended

_logger = logging.getLogger(__name__)

LOOKS_EVERY = timedelta(seconds=1)
_ASKS_AGAIN_AFTER = timedelta(seconds=10)
_METER_SILENT_AFTER = timedelta(seconds=60)
_KEEPS_ENERGY_EVERY = timedelta(seconds=60)

T = TypeVar("T")


class Watch:
    """The service's own loop.

    Args:
        site: what is known and ordered.
        sending: the way to the chargers.
        applying: lowers what no longer fits.
        overriding: gives the service's own orders.
        keeper: keeps what must survive a restart.
        points: asked for meter values.
        clock: the run's clock, which may jump.
        metrics: counts lapses and what was lowered.
    """

    def __init__(
        self,
        site: Site,
        sending: Sending,
        applying: Applying,
        overriding: Overriding,
        keeper: Keeper,
        points: ChargePoints,
        clock: Clock,
        metrics: ChargerMetrics,
    ) -> None:
        self._site = site
        self._sending = sending
        self._applying = applying
        self._overriding = overriding
        self._keeper = keeper
        self._points = points
        self._clock = clock
        self._metrics = metrics
        self._fallback_asked: dict[Key, datetime] = {}
        self._meter_asked: dict[Key, datetime] = {}
        self._energy_kept_at = clock.now()
        self._beside: set[asyncio.Task[Any]] = set()
        self._enforcing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Look after limits until cancelled."""
        try:
            while True:
                started_at = self._clock.now()
                try:
                    await self.look()
                except Exception:
                    # Whatever broke must not leave limits unwatched.
                    _logger.exception("the watch over limits failed; it goes on")
                await sleep_until(self._clock, started_at + LOOKS_EVERY)
        finally:
            await ended(*self._beside)

    async def look(self) -> None:
        """Do what is due now."""
        now = self._clock.now()
        if self._site.override is not None and self._site.override.override.until <= now:
            _logger.warning("override ended")
            self._overriding.release()
            await self._keeper.keep_words()
        self._renew(now)
        if self._site.is_dirty:
            self._metrics.trims.inc(len(self._applying.trim()))
        self._site.raise_fallbacks()
        self._ask_again(now)
        self._ask_meters(now)
        if now - self._energy_kept_at >= _KEEPS_ENERGY_EVERY:
            self._energy_kept_at = now
            self._site.unsaved.update(key for key in self._site.places if self._site.visit(key) is not None)
        await self._keeper.keep()

    def _renew(self, now: datetime) -> None:
        """Let limits lapse, and give own orders anew."""
        due: list[Key] = []
        for key, standing in self._site.standings.items():
            if self._site.visit(key) is None:
                if standing.wanted is not None and standing.wanted.valid_until <= now:
                    standing.forget_session()
            elif self._overriding.is_due(key, now):
                due.append(key)
                has_lapsed = standing.wanted is not None and standing.wanted.cause is Cause.AGENT
                self._metrics.lapses.inc(has_lapsed and self._site.override is None)
        if self._site.override is None:
            for key in due:
                self._overriding.fall_back(key)
        elif due and (self._enforcing is None or self._enforcing.done()):
            self._enforcing = self._start(self._overriding.enforce(due))

    def _ask_again(self, now: datetime) -> None:
        """Send again what was not confirmed, what a car does not keep to, and fallbacks that are not held yet."""
        for key, standing in self._site.standings.items():
            if not self._site.chargers[key[0]].is_ready:
                continue
            asked_at = self._fallback_asked.get(key)
            if standing.needs_fallback and (asked_at is None or now - asked_at >= _ASKS_AGAIN_AFTER):
                self._fallback_asked[key] = now
                self._sending.send_fallback(key)
            is_wrong = not standing.is_confirmed or standing.is_overdrawing
            is_answered = standing.wanted is not None and standing.answered is standing.wanted
            if is_wrong and is_answered and standing.asked_at and now - standing.asked_at >= _ASKS_AGAIN_AFTER:
                self._sending.send_again(key)

    def _ask_meters(self, now: datetime) -> None:
        """Ask for the meter values of cars that charge and were not measured for long."""
        for key, facts in self._site.evses.items():
            visit = facts.visit
            if visit is None or facts.state is not EvseState.CHARGING or not self._site.is_connected(key):
                continue
            measured_at = visit.started_at if facts.meter is None else facts.meter.measured_at
            if now - max(measured_at, self._meter_asked.get(key, measured_at)) >= _METER_SILENT_AFTER:
                self._meter_asked[key] = now
                self._start(self._points.ask_meter_values(*key))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        return task
