"""Applies the grid operator's signal: lowers cars at once, records each change, and survives restarts.

A signal is part of the envelope: neither an agent nor an operator's override can draw more than it allows, and it
raises nothing.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from prometheus_client import Counter, Gauge
from prometheus_client.registry import Collector

from charger_service.audit_log import OrderAuditLog
from charger_service.grid_signal import SignalLimits, SignalRefusedError, SignalRules, parse_message
from charger_service.grid_signal_sources import SignalSource
from charger_service.limit_allocator import LimitAllocator
from charger_service.orders import GridSignalAct
from charger_service.persistence import StateWriter
from charger_service.site import ChargingSite
from ev_service.charging import SignalScope
from ev_service.clock import Clock, read_clock, sleep_until_s
from ev_service.lifetimes import Instant
from ev_service.tasks import cancel_and_wait

_logger = logging.getLogger(__name__)

_CHECKS_EVERY_S = 1.0
_PERSISTS_EVERY_S = 60.0
MOST_RECORDS = 60
"""Number of changes that are recorded in `RECORDS_PER_S`; further ones are counted in the next record."""
RECORDS_PER_S = 3600.0
"""Period of that bound [s]."""


@dataclass(frozen=True, slots=True)
class GridSignalConfig:
    """Configuration of the grid operator's signal."""

    sources: Sequence[SignalSource] = ()
    """How it is received; none: there is no such signal."""
    rules: SignalRules = field(default_factory=SignalRules)
    """How it counts."""
    record: OrderAuditLog | None = None
    """Audit log of changes; None: they are not recorded."""


class GridSignalService:
    """Receives signals, and applies them as time passes.

    Args:
        site: the site's state; `signals` and `signal` are changed here.
        allocator: lowers what no longer fits.
        writer: persists the signals.
        clock: the run's clock.
        config: sources and rules.
    """

    def __init__(
        self,
        site: ChargingSite,
        allocator: LimitAllocator,
        writer: StateWriter,
        clock: Clock,
        config: GridSignalConfig,
    ) -> None:
        self._site, self._allocator, self._writer, self._clock = site, allocator, writer, clock
        self._sources, self._record = tuple(config.sources), config.record
        self._refusals: dict[str, str] = {}
        self._expired: dict[str, int] = {}
        self._acts: deque[GridSignalAct] = deque()
        self._recorded_s: deque[float] = deque(maxlen=MOST_RECORDS)
        self._unrecorded = 0
        self._is_unsaved, self._saved_s = False, clock.monotonic_s()
        self._saving: asyncio.Task[None] | None = None
        self._messages = Counter(
            "charger_grid_signal_messages",
            "Messages of the grid operator's signal, by source and outcome",
            ["source", "outcome"],
            registry=None,
        )

    async def run(self) -> None:
        """Receive and apply signals until cancelled; at the end persist what changed."""
        if not self._sources:
            return
        receiving = [asyncio.create_task(source.run(partial(self.take, source.name))) for source in self._sources]
        try:
            while True:
                started_s = self._clock.monotonic_s()
                self.check()
                await sleep_until_s(self._clock, started_s + _CHECKS_EVERY_S)
        finally:
            await cancel_and_wait(*receiving)
            if self._saving is not None:
                await asyncio.wait([self._saving])

    def take(self, source: str, payload: bytes) -> None:
        """Apply a message of a source; one that cannot be used changes nothing, and is logged and counted."""
        try:
            message = parse_message(payload)
        except SignalRefusedError as error:
            self._count(source, "refused")
            if self._refusals.get(source) != str(error):
                _logger.warning("grid signal refused", extra={"source": source, "reason": str(error)})
            self._refusals[source] = str(error)
            return
        self._refusals.pop(source, None)
        received = self._site.signals.take(source, message, read_clock(self._clock))
        self._count(source, "older" if received.is_older else "accepted")
        if received.expired and received.expired != self._expired.get(source):
            fields = {"source": source, "limits": received.expired, "issued_at": message.issued_at}
            _logger.warning("limits of a grid signal ignored: expired, or too far ahead", extra=fields)
        self._expired[source] = received.expired
        self._is_unsaved |= received.is_changed
        self.check()

    def check(self) -> None:
        """Apply what is in force now, and persist what changed in the background."""
        now = read_clock(self._clock)
        try:
            limits = self._site.signals.limits(now)
            if limits != self._site.signal:
                self._apply(limits, now)
        except Exception:
            # The next check, or the supervisor, continues.
            _logger.exception("the grid operator's signal could not be applied")
        is_due = now.monotonic_s - self._saved_s >= _PERSISTS_EVERY_S
        if (self._is_unsaved or is_due) and (self._saving is None or self._saving.done()):
            self._is_unsaved, self._saved_s = False, now.monotonic_s
            self._saving = asyncio.create_task(self._save())

    def warning(self) -> str | None:
        """Report silent sources, sources that cannot be reached, and unusable messages; None: there are none."""
        now, reasons = read_clock(self._clock), list[str]()
        rules = self._site.signals.rules
        for source in self._sources:
            problems = [source.error] if source.error is not None else []
            if source.name in self._site.signals.silent_sources(now):
                silence_s = self._site.signals.silence_s(source.name, now)
                what = "all cars together" if rules.default_applies_to is SignalScope.CHARGING else "the connection"
                problems.append(f"silent for {silence_s:.0f} s, {what} may draw {rules.default_kw:g} kW")
            if (refusal := self._refusals.get(source.name)) is not None:
                problems.append(f"its newest message was refused: {refusal}")
            if expired := self._expired.get(source.name, 0):
                problems.append(f"{expired} limits of its newest message have expired or are too far ahead")
            if problems:
                reasons.append(f"the grid operator's signal by {source.name}: {'; '.join(problems)}")
        return "; ".join(reasons) or None

    def metrics(self) -> Iterable[Collector]:
        """Return messages by outcome, limits in force and silent sources; nothing without a source."""
        if not self._sources:
            return
        yield self._messages
        for name, meaning, value in (
            (
                "charger_grid_signal_charging_kw",
                "Limit of all cars by the grid operator's signal [kW]; infinite: none",
                lambda: _infinite(self._site.signal.charging_kw),
            ),
            (
                "charger_grid_signal_connection_kw",
                "Limit of the connection by the grid operator's signal [kW]; infinite: none",
                lambda: _infinite(self._site.signal.connection_kw),
            ),
            (
                "charger_grid_signal_silent",
                "Sources of the grid operator's signal in whose place the safe default applies",
                lambda: float(len(self._site.signal.silent)),
            ),
        ):
            gauge = Gauge(name, meaning, registry=None)
            gauge.set_function(value)
            yield gauge

    def _count(self, source: str, outcome: str) -> None:
        self._messages.labels(source, outcome).inc()

    def _apply(self, limits: SignalLimits, now: Instant) -> None:
        before, self._site.signal = self._site.signal, limits
        for name in sorted(set(limits.silent) ^ set(before.silent)):
            if name in limits.silent:
                _logger.error("grid operator's signal silent, the safe default applies", extra={"source": name})
            else:
                _logger.warning("grid operator's signal heard again", extra={"source": name})
        self._is_unsaved = True
        if (limits.charging_kw, limits.connection_kw) == (before.charging_kw, before.connection_kw):
            return
        fields = {"charging_kw": limits.charging_kw, "connection_kw": limits.connection_kw}
        _logger.warning("limit of the grid operator changed", extra=fields)
        self._site.is_dirty = True
        self._note_change(limits, now)
        self._allocator.fit_to_site_limit()

    def _note_change(self, limits: SignalLimits, now: Instant) -> None:
        """Have a change recorded, unless there were too many of late."""
        recent = self._recorded_s
        if len(recent) == MOST_RECORDS and now.monotonic_s - recent[0] < RECORDS_PER_S:
            self._unrecorded += 1
            return
        recent.append(now.monotonic_s)
        active = [one for one in self._site.signals.describe(now) if one.is_in_force]
        meters = (facts.meter for facts in self._site.evses.values())
        sources = " and ".join(dict.fromkeys(one.source for one in active))
        reason = f"signal of the grid operator by {sources}" if active else "the grid operator's signal is over"
        self._acts.append(
            GridSignalAct(
                charging_limit_kw=limits.charging_kw,
                connection_limit_kw=limits.connection_kw,
                signal_ids=tuple(one.signal_id for one in active if one.signal_id is not None),
                drawn_kw=round(sum(meter.power_kw for meter in meters if meter is not None), 3),
                unrecorded=self._unrecorded,
                reason=f"{reason}: silent, the safe default applies" if limits.silent else reason,
            )
        )
        self._unrecorded = 0

    async def _save(self) -> None:
        await self._writer.write_orders()
        while self._acts:
            act = self._acts.popleft()
            if self._record is not None:
                await self._record.add(act, None)


def _infinite(limit_kw: float | None) -> float:
    return float("inf") if limit_kw is None else limit_kw
