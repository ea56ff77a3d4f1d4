"""Supervises limits as time passes: they lapse, are renewed, and are sent again until they are confirmed."""

import asyncio
import logging
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

from charger_service.autostart import Autostart
from charger_service.command_queue import CommandQueue
from charger_service.envelope import EvseKey
from charger_service.limit_allocator import LimitAllocator
from charger_service.limit_state import Cause, draws_without_session
from charger_service.metrics import ChargerMetrics
from charger_service.override_service import OverrideService
from charger_service.persistence import StateWriter
from charger_service.ports import ChargePoints
from charger_service.site import ChargingSite, isolate_errors
from ev_service.charging import EvseState
from ev_service.clock import Clock, read_clock, sleep_until_s
from ev_service.lifetimes import Instant
from ev_service.tasks import cancel_and_wait

_logger = logging.getLogger(__name__)

LOOKS_EVERY_S = 1.0
_ASKS_AGAIN_AFTER_S = 10.0
_METER_SILENT_AFTER_S = 60.0
_KEEPS_EVERY_S = 60.0
"""Interval at which energies and the remaining times of limits and orders are persisted [s]."""

T = TypeVar("T")


class LimitSupervisor:
    """The service's loop over all EVSEs.

    Args:
        site: the site's state.
        queue: sends orders to the chargers.
        allocator: lowers what no longer fits.
        overrides: the service's own orders.
        autostart: requests transactions for cars that wait.
        writer: persists the state.
        points: for requests of meter values.
        clock: the run's clock, which may jump.
        metrics: counts lapses and what was lowered.
    """

    def __init__(
        self,
        site: ChargingSite,
        queue: CommandQueue,
        allocator: LimitAllocator,
        overrides: OverrideService,
        autostart: Autostart,
        writer: StateWriter,
        points: ChargePoints,
        clock: Clock,
        metrics: ChargerMetrics,
    ) -> None:
        self._site = site
        self._queue = queue
        self._allocator = allocator
        self._overrides = overrides
        self._autostart = autostart
        self._writer = writer
        self._points = points
        self._clock = clock
        self._metrics = metrics
        # Monotonic readings.
        self._fallback_asked_s: dict[EvseKey, float] = {}
        self._clear_asked_s: dict[EvseKey, float] = {}
        self._meter_asked_s: dict[EvseKey, float] = {}
        self._kept_s = clock.monotonic_s()
        self._background: set[asyncio.Task[Any]] = set()
        self._enforcing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Supervise limits until cancelled."""
        try:
            while True:
                started_s = self._clock.monotonic_s()
                try:
                    await self.check()
                except Exception:
                    # An error must not leave limits unsupervised.
                    _logger.exception("the supervision of limits failed; it continues")
                await sleep_until_s(self._clock, started_s + LOOKS_EVERY_S)
        finally:
            await cancel_and_wait(*self._background)

    async def check(self) -> None:
        """Do what is due now."""
        now = read_clock(self._clock)
        if self._site.override is not None and self._site.override.lifetime.has_ended(now):
            _logger.warning("override ended")
            self._overrides.release()
            await self._writer.write_orders()
        self._renew(now)
        self._fit()
        for key in self._site.wirings:
            with isolate_errors("asking again", key):
                self._ask_again(key, now.monotonic_s)
                self._ask_meter(key, now.monotonic_s)
                self._autostart.check(key, now.monotonic_s)
        await self._write(now.monotonic_s)

    def _fit(self) -> None:
        """Keep the sum of all EVSEs within the envelope; an error here delays no order to a single EVSE."""
        try:
            if self._site.is_dirty:
                self._metrics.trims.inc(len(self._allocator.trim()))
            self._site.raise_fallbacks()
        except Exception:
            _logger.exception("limits could not be fitted into the envelope; tried again at the next check")

    async def _write(self, now_s: float) -> None:
        """Persist changes, and at intervals also what changes with time."""
        if now_s - self._kept_s >= _KEEPS_EVERY_S:
            self._kept_s = now_s
            await self._writer.store.check()
            self._writer.store.prune(self._clock.now())
            self._site.unsaved.update(self._site.wirings)
            if self._site.override is not None:
                await self._writer.write_orders()
        await self._writer.write()

    def _renew(self, now: Instant) -> None:
        """Let limits lapse, and renew the service's own orders."""
        due: list[EvseKey] = []
        for key in self._site.wirings:
            with isolate_errors("letting limits lapse", key):
                if self._is_due(key, now):
                    due.append(key)
                    if self._site.override is None:
                        self._overrides.fall_back(key)
        if self._site.override is not None and due and (self._enforcing is None or self._enforcing.done()):
            self._enforcing = self._start(self._overrides.enforce(due))

    def _is_due(self, key: EvseKey, now: Instant) -> bool:
        """Return whether the EVSE needs an order of this service; without a car, drop an order that lapsed."""
        wanted = self._site.limit_states[key].wanted
        if self._site.get_session(key) is None:
            if wanted is not None and wanted.lifetime.has_ended(now):
                self._site.limit_states[key].forget_session()
            return False
        is_due = self._overrides.is_due(key, now)
        has_lapsed = is_due and wanted is not None and wanted.cause is Cause.AGENT
        self._metrics.lapses.inc(has_lapsed and self._site.override is None)
        return is_due

    def _ask_again(self, key: EvseKey, now_s: float) -> None:
        """Send again what is not confirmed, what a car does not follow, and the default profile."""
        state = self._site.limit_states[key]
        if not self._site.chargers[key[0]].is_ready:
            return
        fallback_s = self._fallback_asked_s.get(key, -math.inf)
        is_free = draws_without_session(self._site.evses[key])
        if (state.needs_fallback or is_free) and now_s - fallback_s >= _ASKS_AGAIN_AFTER_S:
            self._fallback_asked_s[key] = now_s
            self._queue.send_fallback(key)
        cleared_s = self._clear_asked_s.get(key, -math.inf)
        if state.lingering_a is not None and now_s - cleared_s >= _ASKS_AGAIN_AFTER_S:
            self._clear_asked_s[key] = now_s
            self._queue.end_limit(key)
        is_wrong = not state.is_confirmed or state.is_overdrawing
        is_answered = state.wanted is not None and state.answered is state.wanted
        asked_s = state.asked_at_s
        if is_wrong and is_answered and asked_s is not None and now_s - asked_s >= _ASKS_AGAIN_AFTER_S:
            self._queue.send_again(key)

    def _ask_meter(self, key: EvseKey, now_s: float) -> None:
        """Request meter values of a car that charges and was not measured for long."""
        facts = self._site.evses[key]
        is_charging = facts.session is not None and facts.state is EvseState.CHARGING
        if not (is_charging or draws_without_session(facts)) or not self._site.is_connected(key):
            return
        # Without any value so far, silence begins at the first check.
        asked_s = self._meter_asked_s.setdefault(key, now_s if facts.meter is None else -math.inf)
        known_s = asked_s if facts.meter is None else max(asked_s, facts.meter.received_s)
        if now_s - known_s >= _METER_SILENT_AFTER_S:
            self._meter_asked_s[key] = now_s
            self._start(self._points.ask_meter_values(*key))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
