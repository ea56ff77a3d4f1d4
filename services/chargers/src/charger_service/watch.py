"""Looks after limits as the run's time passes: they lapse, are renewed, and are sent again until they are confirmed."""

import asyncio
import logging
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

from charger_service.applying import Applying
from charger_service.autostart import Autostart
from charger_service.envelope import Key
from charger_service.isolation import isolated
from charger_service.keeping import Keeper
from charger_service.metrics import ChargerMetrics
from charger_service.overriding import Overriding
from charger_service.ports import ChargePoints
from charger_service.sending import Sending
from charger_service.site import Site
from charger_service.standing import Cause, draws_without_session
from ev_service.charging import EvseState
from ev_service.clock import Clock, read_clock, sleep_until_s
from ev_service.lifetimes import Instant
from ev_service.tasks import cancel_and_wait

_logger = logging.getLogger(__name__)

LOOKS_EVERY_S = 1.0
_ASKS_AGAIN_AFTER_S = 10.0
_METER_SILENT_AFTER_S = 60.0
_KEEPS_EVERY_S = 60.0
"""How often energies and the remaining times of limits and orders are written down [s]."""

T = TypeVar("T")


class Watch:
    """The service's own loop.

    Args:
        site: what is known and ordered.
        sending: the way to the chargers.
        applying: lowers what no longer fits.
        overriding: gives the service's own orders.
        autostart: has transactions begun for cars that wait.
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
        autostart: Autostart,
        keeper: Keeper,
        points: ChargePoints,
        clock: Clock,
        metrics: ChargerMetrics,
    ) -> None:
        self._site = site
        self._sending = sending
        self._applying = applying
        self._overriding = overriding
        self._autostart = autostart
        self._keeper = keeper
        self._points = points
        self._clock = clock
        self._metrics = metrics
        # Monotonic readings.
        self._fallback_asked_s: dict[Key, float] = {}
        self._clear_asked_s: dict[Key, float] = {}
        self._meter_asked_s: dict[Key, float] = {}
        self._kept_s = clock.monotonic_s()
        self._beside: set[asyncio.Task[Any]] = set()
        self._enforcing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Look after limits until cancelled."""
        try:
            while True:
                started_s = self._clock.monotonic_s()
                try:
                    await self.look()
                except Exception:
                    # Whatever broke must not leave limits unwatched.
                    _logger.exception("the watch over limits failed; it goes on")
                await sleep_until_s(self._clock, started_s + LOOKS_EVERY_S)
        finally:
            await cancel_and_wait(*self._beside)

    async def look(self) -> None:
        """Do what is due now."""
        now = read_clock(self._clock)
        if self._site.override is not None and self._site.override.lifetime.has_ended(now):
            _logger.warning("override ended")
            self._overriding.release()
            await self._keeper.keep_words()
        self._renew(now)
        self._fit()
        for key in self._site.places:
            with isolated("asking again", key):
                self._ask_again(key, now.monotonic_s)
                self._ask_meter(key, now.monotonic_s)
                self._autostart.look(key, now.monotonic_s)
        await self._write(now.monotonic_s)

    def _fit(self) -> None:
        """Keep the sum of all EVSEs within the envelope; what fails here holds up nothing that each is told alone."""
        try:
            if self._site.is_dirty:
                self._metrics.trims.inc(len(self._applying.trim()))
            self._site.raise_fallbacks()
        except Exception:
            _logger.exception("limits could not be fitted into the envelope; tried again at the next look")

    async def _write(self, now_s: float) -> None:
        """Write down what changed, and now and then what grows or runs out by itself."""
        if now_s - self._kept_s >= _KEEPS_EVERY_S:
            self._kept_s = now_s
            await self._keeper.store.check()
            self._keeper.store.prune(self._clock.now())
            self._site.unsaved.update(self._site.places)
            if self._site.override is not None:
                await self._keeper.keep_words()
        await self._keeper.keep()

    def _renew(self, now: Instant) -> None:
        """Let limits lapse, and give own orders anew."""
        due: list[Key] = []
        for key in self._site.places:
            with isolated("letting limits lapse", key):
                if self._is_due(key, now):
                    due.append(key)
                    if self._site.override is None:
                        self._overriding.fall_back(key)
        if self._site.override is not None and due and (self._enforcing is None or self._enforcing.done()):
            self._enforcing = self._start(self._overriding.enforce(due))

    def _is_due(self, key: Key, now: Instant) -> bool:
        """Whether the EVSE is to be given an order of this service; one without a car forgets what lapsed."""
        wanted = self._site.standings[key].wanted
        if self._site.visit(key) is None:
            if wanted is not None and wanted.lifetime.has_ended(now):
                self._site.standings[key].forget_session()
            return False
        is_due = self._overriding.is_due(key, now)
        has_lapsed = is_due and wanted is not None and wanted.cause is Cause.AGENT
        self._metrics.lapses.inc(has_lapsed and self._site.override is None)
        return is_due

    def _ask_again(self, key: Key, now_s: float) -> None:
        """Send again what was not confirmed, what a car does not keep to, and what is to bound the next car."""
        standing = self._site.standings[key]
        if not self._site.chargers[key[0]].is_ready:
            return
        fallback_s = self._fallback_asked_s.get(key, -math.inf)
        is_free = draws_without_session(self._site.evses[key])
        if (standing.needs_fallback or is_free) and now_s - fallback_s >= _ASKS_AGAIN_AFTER_S:
            self._fallback_asked_s[key] = now_s
            self._sending.send_fallback(key)
        cleared_s = self._clear_asked_s.get(key, -math.inf)
        if standing.lingering_a is not None and now_s - cleared_s >= _ASKS_AGAIN_AFTER_S:
            self._clear_asked_s[key] = now_s
            self._sending.end_limit(key)
        is_wrong = not standing.is_confirmed or standing.is_overdrawing
        is_answered = standing.wanted is not None and standing.answered is standing.wanted
        asked_s = standing.asked_at_s
        if is_wrong and is_answered and asked_s is not None and now_s - asked_s >= _ASKS_AGAIN_AFTER_S:
            self._sending.send_again(key)

    def _ask_meter(self, key: Key, now_s: float) -> None:
        """Ask for the meter values of a car that charges and was not measured for long."""
        facts = self._site.evses[key]
        is_charging = facts.visit is not None and facts.state is EvseState.CHARGING
        if not (is_charging or draws_without_session(facts)) or not self._site.is_connected(key):
            return
        # Without any value so far, silence begins when that is first seen.
        asked_s = self._meter_asked_s.setdefault(key, now_s if facts.meter is None else -math.inf)
        heard_s = asked_s if facts.meter is None else max(asked_s, facts.meter.received_s)
        if now_s - heard_s >= _METER_SILENT_AFTER_S:
            self._meter_asked_s[key] = now_s
            self._start(self._points.ask_meter_values(*key))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        return task
