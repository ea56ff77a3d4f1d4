"""Protection of the connection against overload, and bounds on raises, by the connection's meter.

It takes precedence over operator and agent and needs neither gateway nor disk: a meter reading that shows an overload
lowers cars at once. Caps are stored in `ChargingSite.caps`, and `CommandQueue` sends no EVSE more.
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import Counter, Gauge
from prometheus_client.registry import Collector

from charger_service.audit_log import OrderAuditLog
from charger_service.command_queue import CommandQueue
from charger_service.draw_evidence import MeterEvidence
from charger_service.envelope import NOTHING, CurrentGrant, Currents, EvseKey, max_currents
from charger_service.limit_state import PROTECTION, SETTLES_S, draws_without_session
from charger_service.metering import DRAWS_FROM_A
from charger_service.orders import ProtectionAct
from charger_service.overload import (
    Car,
    Headroom,
    Load,
    Reductions,
    cars_above,
    choose_caps,
    compute_headroom_below,
    sum_of,
)
from charger_service.settings import MeterSettings, ProtectionSettings
from charger_service.site import ChargingSite, isolate_errors
from ev_service.charging import EvseState
from ev_service.clock import Clock, sleep_until_s
from ev_service.errors import EvError
from ev_service.sources import Source
from ev_service.tasks import cancel_and_wait
from ev_service.telemetry import GridLoad

_logger = logging.getLogger(__name__)

MEASURED_LOAD = "measured_load"
"""`limited_by` of a raise for which the meter shows no headroom."""

METER_LOST = "meter_lost"
"""`limited_by` of a raise that no usable reading of the meter allows."""

_CHECKS_EVERY_S = 1.0
_MOST_UNMET = 2
"""Reductions in a row without effect at the meter, after which all cars on the phase are stopped."""
_DRAWING = frozenset({EvseState.CHARGING, EvseState.UNKNOWN})


@dataclass(frozen=True, slots=True)
class ProtectionConfig:
    """Configuration of protection."""

    source: Source[GridLoad] | None = None
    """The connection's meter; None: there is none, and nothing is protected or bounded."""
    meter: MeterSettings = field(default_factory=MeterSettings)
    """How long the meter may be silent, and what happens then."""
    settings: ProtectionSettings = field(default_factory=ProtectionSettings)
    """When cars are lowered and released."""
    record: OrderAuditLog | None = None
    """Audit log of reductions; None: they are not recorded."""


@dataclass(frozen=True, slots=True)
class Raise:
    """A limit that is about to be raised."""

    key: EvseKey
    grant: CurrentGrant
    """What the envelope grants."""
    phases: int | None
    """Number of phases to charge on; None: as wired."""


class Protection:
    """Reads the meter, lowers and releases cars, and bounds raises.

    Args:
        site: the site's state; its caps and its reserve are set here.
        queue: sends orders to the chargers.
        clock: the run's clock.
        config: the meter, and when cars are lowered.
    """

    def __init__(self, site: ChargingSite, queue: CommandQueue, clock: Clock, config: ProtectionConfig) -> None:
        self._site, self._queue, self._clock = site, queue, clock
        self._source, self._meter, self._settings = config.source, config.meter, config.settings
        self._record, self._recording = config.record, set[asyncio.Task[bool]]()
        self._reading: GridLoad | None = None
        self._taken_at_s, self._age_then_s = 0.0, 0.0
        self._evidence = MeterEvidence(site)
        if self._source is not None:
            site.draw_evidence = self._evidence
        self._load: Load | None = None
        self._error: str | None = "it has not been read"
        self._is_replaced = False
        self._blind_since_s: float | None = clock.monotonic_s()
        self._reductions = Reductions()
        self._is_overloaded = False
        self._below_since_s: float | None = None
        self._stepped_at_s = self._insisted_at_s = -math.inf
        self._raised: dict[EvseKey, tuple[Currents, float]] = {}
        self._trips = Counter("charger_protection_trips", "Times cars were lowered by protection", registry=None)
        self.epoch = 0
        """Counter that rises when raises that were granted before must not be sent any more."""

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[None]:
        """Keep the connection to the meter."""
        async with nullcontext() if self._source is None else self._source.running():
            yield

    async def run(self) -> None:
        """Protect until cancelled."""
        source = self._source
        if source is None:
            return
        updated = asyncio.create_task(source.wait_for_update())
        try:
            while True:
                try:
                    await self.check_meter()
                except Exception:
                    # An error must not leave the connection unprotected.
                    _logger.exception("protection failed; it continues")
                await self._pause(updated)
                if updated.done():
                    updated = asyncio.create_task(source.wait_for_update())
        finally:
            await cancel_and_wait(updated, *self._recording)

    async def check_meter(self) -> None:
        """Read the meter, and lower or release cars by its newest reading and the time."""
        source = self._source
        if source is None:
            return
        now = self._clock.now()
        try:
            reading = await source.read(now)
            self._error = await source.health_error(now)
        except EvError as error:
            self._error = error.message
        else:
            if reading is not self._reading:
                self._take(reading, now)
        self._update_usability()

    def health_error(self) -> str | None:
        """Report an error of the meter and its consequence, in one sentence; None: there is none, or no meter."""
        if self._source is None or self._is_usable():
            return None
        reason = self._error or "its newest reading is too old"
        share = f"cars leave {self._meter.reserve_percent:g} % of the site's limit free in its place"
        return f"the connection's meter: {reason}; {share if self._is_replaced else 'no limit is raised'}"

    def limit_raises(self, raises: Sequence[Raise]) -> list[CurrentGrant]:
        """Lower what is granted to what the meter's reading allows, earlier raises first."""
        if self._source is None or self._is_replaced:
            return [one.grant for one in raises]
        limited_by = PROTECTION if self._site.caps else MEASURED_LOAD if self._is_usable() else METER_LOST
        headroom = self._headroom() if self._is_usable() else Headroom([0.0, 0.0, 0.0], 0.0)
        return [self._limit_raise(one, headroom, limited_by) for one in raises]

    def metrics(self) -> Iterable[Collector]:
        """Return trips, caps in force and the state of the meter; nothing without a meter."""
        if self._source is None:
            return
        yield from self._source.metrics()
        yield self._trips
        for name, meaning, value in (
            ("charger_protection_caps", "EVSEs that protection holds down", lambda: len(self._site.caps)),
            ("charger_meter_usable", "Whether the connection's meter can be used", lambda: self._is_usable()),
            (
                "charger_meter_reserve",
                "Whether a reserve takes the meter's place",
                lambda: self._is_replaced,
            ),
        ):
            gauge = Gauge(name, meaning, registry=None)
            gauge.set_function(value)
            yield gauge

    async def _pause(self, updated: asyncio.Task[None]) -> None:
        """Wait for the next reading, or until the next check is due."""
        timer = asyncio.create_task(sleep_until_s(self._clock, self._clock.monotonic_s() + _CHECKS_EVERY_S))
        try:
            await asyncio.wait({updated, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(timer)

    def _take(self, reading: GridLoad, now: datetime) -> None:
        """Apply a reading of the meter."""
        now_s = self._clock.monotonic_s()
        self._reading, self._taken_at_s = reading, now_s
        self._age_then_s = max(0.0, (now - reading.timestamp).total_seconds())
        load = self._load = self._compute_load(reading)
        threshold = self._limit(self._settings.threshold_percent)
        expected = load.less(self._reductions.update(load, now_s))
        if not load.exceeds(threshold):
            self._reductions.forgive()
            self._is_overloaded = False
        elif expected.exceeds(threshold):
            held = list(self._site.caps)
            self._lower(expected, threshold, now_s)
            self._insist(held, now_s)
        # An old reading is a reason to lower cars, but not to release them.
        if self._is_usable():
            self._release(load, now_s)
            self._evidence.observe(reading)

    def _compute_load(self, reading: GridLoad) -> Load:
        """Compute the load of the connection, cars included, from one reading."""
        site = self._site.rules.settings
        cars = sum_of(car.drawn_a for car in self._cars(self._site.wirings))
        total_a = (reading.load_kw - reading.export_kw) * 1000 / site.voltage_v
        if not reading.includes_charging:
            total_a += cars.total_a
        if reading.current_a is not None and len(reading.current_a) == site.phases:
            phase_a = _three(reading.current_a)
            if not reading.includes_charging:
                phase_a = sum_of((phase_a, cars.phase_a)).phase_a
            return Load(phase_a, total_a)
        even_a = (total_a - cars.total_a) / site.phases
        building_a = _three([even_a] * site.phases)
        return Load(sum_of((building_a, cars.phase_a)).phase_a, total_a, has_phases=site.phases == 1)

    def _limit(self, percent: float) -> Load:
        """Compute a share of the connection's limit."""
        envelope, share = self._site.connection, percent / 100
        phase_a = _three([envelope.phase_a * share] * envelope.phases, math.inf)
        return Load(phase_a, envelope.site_a * share)

    def _lower(self, expected: Load, threshold: Load, now_s: float) -> None:
        """Lower cars until the overload ends, or stop all of them where lowering had no effect."""
        cars = self._in_order(key for key in self._site.wirings if self._site.is_connected(key))
        not_followed = self._reductions.not_followed
        caps = {car.key: 0.0 for car in cars_above(expected, threshold, cars)}
        if self._reductions.unmet < _MOST_UNMET:
            # A car that does not follow is stopped too, and counts as part of the building.
            caps = {key: 0.0 for key in caps if key in not_followed}
            caps |= choose_caps(expected, threshold, [car for car in cars if car.key not in not_followed])
        is_first = not self._site.caps
        lowered = [car for car in cars if car.key in caps]
        for car in lowered:
            with isolate_errors("lowering", car.key):
                self._cap(car.key, caps[car.key])
        followers = [car for car in lowered if car.key not in not_followed]
        before, after = (
            sum_of(car.drawn_a for car in followers),
            sum_of(_lower_of(car.drawn_a, caps[car.key]) for car in followers),
        )
        self._reductions.add(caps, before.less(after), now_s + self._settings.follow_s)
        self._report(expected, threshold, caps)
        if is_first and caps:
            self._record_reduction(len(caps))

    def _report(self, load: Load, threshold: Load, caps: dict[EvseKey, float]) -> None:
        if caps:
            self._trips.inc()
            self.epoch += 1
        if caps or not self._is_overloaded:
            _logger.error(
                "connection overloaded",
                extra={
                    "phase_a": [round(one, 1) for one in load.phase_a] if load.has_phases else None,
                    "total_a": round(load.total_a, 1),
                    "limit_total_a": round(threshold.total_a, 1),
                    "lowered": {f"{charger_id}/{evse_id}": cap_a for (charger_id, evse_id), cap_a in caps.items()},
                },
            )
        self._is_overloaded = True

    def _record_reduction(self, lowered: int) -> None:
        """Record the reduction in the background."""
        record, reading = self._record, self._reading
        if record is None or reading is None:
            return
        act = ProtectionAct(
            load_kw=reading.load_kw,
            limit_kw=self._site.site_limit_kw,
            current_a=reading.current_a,
            lowered=lowered,
            reason="the connection is overloaded",
        )
        task = asyncio.create_task(record.add(act, None))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    def _cap(self, key: EvseKey, cap_a: float) -> None:
        """Set an EVSE's cap and lower its order to it."""
        self._site.caps[key] = cap_a
        state = self._site.limit_states[key]
        wanted, session = state.wanted, self._site.get_session(key)
        if wanted is not None and wanted.limit_a > cap_a:
            self._queue.send(key, wanted)
        if session is None or wanted is None:
            # Without a transaction there is only its default that could be lowered.
            state.fallback_a = min(state.fallback_a, cap_a)
            self._queue.send_fallback(key)

    def _insist(self, keys: Iterable[EvseKey], now_s: float) -> None:
        """Send capped EVSEs their limits again, and lower their default profiles to the caps.

        A charger may have dropped a limit at its end by its own clock, or lost it.
        """
        if now_s - self._insisted_at_s < self._settings.follow_s:
            return
        self._insisted_at_s = now_s
        for key in keys:
            state = self._site.limit_states[key]
            self._queue.send_again(key)
            state.fallback_a = min(state.fallback_a, self._site.caps[key])
            if state.fallback_held_a != state.fallback_a:
                self._queue.send_fallback(key)

    def _release(self, load: Load, now_s: float) -> None:
        """Raise caps one step at a time, once the load has stayed low for long enough."""
        low = self._limit(self._settings.threshold_percent - self._settings.margin_percent / 2)
        if load.exceeds(low):
            self._below_since_s = None
            return
        self._below_since_s = now_s if self._below_since_s is None else self._below_since_s
        is_over = now_s - self._below_since_s >= self._settings.release_delay_s
        if not self._site.caps or not is_over or now_s - self._stepped_at_s < self._settings.release_step_s:
            return
        self._stepped_at_s = now_s
        headroom = self._headroom().half()
        for car in reversed(self._in_order(list(self._site.caps))):
            self._raise_cap(car, headroom)
        _logger.warning("cars are released", extra={"still_held": len(self._site.caps)})

    def _raise_cap(self, car: Car, headroom: Headroom) -> None:
        wiring, cap_a, wanted = (
            self._site.wirings[car.key],
            self._site.caps[car.key],
            self._site.limit_states[car.key].wanted,
        )
        is_empty = car.is_idle and self._site.get_session(car.key) is None
        # A request below the cap makes it unnecessary: a raise from here on is bounded as any other.
        is_content = wanted is not None and wanted.limited_by != PROTECTION
        is_free = is_empty or is_content
        most_a = wiring.max_current_a
        raised_a = most_a if is_free else headroom.raise_to(wiring, most_a, None, wiring.currents(cap_a))
        if raised_a >= most_a:
            del self._site.caps[car.key]
        else:
            self._site.caps[car.key] = max(cap_a, raised_a)

    def _headroom(self) -> Headroom:
        """Compute how much more cars may be allowed to draw."""
        level = self._limit(self._settings.threshold_percent - self._settings.margin_percent)
        load = self._load
        if load is None:
            return Headroom([0.0, 0.0, 0.0], 0.0)
        return compute_headroom_below(level, load, self._cars(self._site.wirings))

    def _limit_raise(self, asked: Raise, headroom: Headroom, limited_by: str) -> CurrentGrant:
        wiring, allowed_a = self._site.wirings[asked.key], self._get_allowed_currents(asked.key)
        limit_a = headroom.raise_to(wiring, asked.grant.limit_a, asked.phases, allowed_a)
        if limit_a > min(allowed_a[phase - 1] for phase in wiring.phases):
            self._raised[asked.key] = (allowed_a, self._clock.monotonic_s() + SETTLES_S)
        return asked.grant if limit_a >= asked.grant.limit_a else CurrentGrant(limit_a, limited_by)

    def _update_usability(self) -> None:
        """Start or end the replacement of the meter by the reserve."""
        now_s = self._clock.monotonic_s()
        if self._is_usable():
            if self._blind_since_s is not None:
                _logger.warning("the connection's meter is read")
            self._blind_since_s = None
            self._is_replaced, self._site.reserve_share = False, 0.0
            return
        if self._blind_since_s is None:
            self._blind_since_s = now_s
            self._below_since_s = None
            self._evidence.forget()
            self.epoch += 1
            _logger.warning("no limit is raised without the connection's meter", extra={"reason": self._error})
        if now_s - self._blind_since_s >= self._meter.fallback_after_s and not self._is_replaced:
            self._is_replaced, self._site.reserve_share = True, self._meter.reserve_percent / 100
            self._site.is_dirty = True
            self._site.caps.clear()
            _logger.error("a reserve takes the place of the connection's meter", extra={"reason": self._error})

    def _is_usable(self) -> bool:
        """Whether the newest reading is recent enough."""
        if self._reading is None or self._error is not None:
            return False
        age_s = self._age_then_s + self._clock.monotonic_s() - self._taken_at_s
        return age_s <= self._meter.stale_after_s

    def _cars(self, keys: Iterable[EvseKey]) -> list[Car]:
        """Return the EVSEs that may draw power."""
        cars: list[Car] = []
        for key in keys:
            with isolate_errors("protecting", key):
                car = self._car(key)
                if key in self._site.caps or max(car.allowed_a) > 0:
                    cars.append(car)
        return cars

    def _car(self, key: EvseKey) -> Car:
        facts, allowed_a = self._site.evses[key], self._get_allowed_currents(key)
        reported_a = NOTHING if facts.meter is None else facts.meter.likely_a
        if max(reported_a) >= DRAWS_FROM_A:
            return Car(key, allowed_a, _lowest(reported_a, allowed_a))
        if facts.state not in _DRAWING:
            return Car(key, allowed_a, NOTHING, is_idle=True)
        # It charges and has not reported yet how much: what it could draw before it was raised, or all it may.
        before_a, until_s = self._raised.get(key, (allowed_a, 0.0))
        is_new = until_s > self._clock.monotonic_s()
        return Car(key, allowed_a, _lowest(before_a, allowed_a) if is_new else allowed_a)

    def _get_allowed_currents(self, key: EvseKey) -> Currents:
        """Return what an EVSE may draw by the orders that it got, and those that it is about to get."""
        wiring, state, facts = self._site.wirings[key], self._site.limit_states[key], self._site.evses[key]
        is_metered = draws_without_session(facts)
        if is_metered or (facts.session is None and state.wanted is None):
            is_drawing = is_metered or facts.state is EvseState.CHARGING
            held_a = wiring.max_current_a if state.fallback_held_a is None else state.fallback_held_a
            allowed_a = wiring.currents(max(held_a, state.lingering_a or 0.0)) if is_drawing else NOTHING
        elif state.is_unknown:
            allowed_a = wiring.currents(wiring.max_current_a)
        else:
            orders = (state.confirmed, state.sent, state.wanted, state.granted)
            known = [wiring.currents(one.limit_a, one.phases) for one in orders if one is not None]
            others_a = max(state.doubtful_a, state.lingering_a or 0.0)
            allowed_a = max_currents([*known, wiring.currents(others_a)])
        return _lower_of(allowed_a, self._site.caps.get(key, math.inf))

    def _in_order(self, keys: Iterable[EvseKey]) -> list[Car]:
        """Order cars, the first to be lowered first: without a transaction, then lowest priority, then latest start."""
        cars = sorted(self._cars(keys), key=lambda car: car.key, reverse=True)

        def importance(car: Car) -> tuple[int, float]:
            session = self._site.get_session(car.key)
            return (-1, 0.0) if session is None else (session.priority, -session.started_at.timestamp())

        return sorted(cars, key=importance)


def _three(currents: Sequence[float], rest: float = 0.0) -> Currents:
    one, two, three = [*currents, rest, rest, rest][:3]
    return one, two, three


def _lowest(currents: Currents, others: Currents) -> Currents:
    # Unlike `min`, a NaN of the first currents is not the result.
    one, two, three = (mine if mine < other else other for mine, other in zip(currents, others, strict=True))
    return one, two, three


def _lower_of(currents: Currents, cap_a: float) -> Currents:
    one, two, three = (min(current_a, cap_a) for current_a in currents)
    return one, two, three
