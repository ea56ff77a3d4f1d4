"""Applies events of chargers to the site, and sends limits again where a charger needs them."""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from charger_service import evse_facts
from charger_service.autostart import Autostart
from charger_service.command_queue import CommandQueue
from charger_service.drivers import AUTOSTART_TOKEN, Drivers
from charger_service.envelope import EvseKey
from charger_service.limit_state import draws_without_session, overdraws
from charger_service.metering import get_energy_kwh, is_live
from charger_service.override_service import OverrideService
from charger_service.persistence import StateWriter, transaction_number
from charger_service.ports import (
    ChargerCapabilities,
    ChargerModel,
    ChargingNeeds,
    KnownMethod,
    LimitPurpose,
    MeterReading,
    Quirks,
    RateUnit,
    SchemaViolation,
    TransactionEnded,
    TransactionStarted,
    TransactionUpdated,
)
from charger_service.schema_violations import SchemaViolationLog
from charger_service.site import SURELY_IDLE, ChargingSite
from charger_service.store import Changes, PersistedState
from ev_service.charging import EvseState
from ev_service.clock import Clock, read_clock

_logger = logging.getLogger(__name__)

_KNOWN_NUMBERS = 10_000
_TELLS_IMPLAUSIBLE_EVERY_S = 60.0
_SILENT_AFTER_S = 30.0
"""Time without a message of the transaction that ran before its charger connected, after which another may replace it
[s]: twice the interval at which chargers are asked for meter values, and a rest.
"""
_SOMEBODY_THERE = frozenset({EvseState.OCCUPIED, EvseState.CHARGING, EvseState.SUSPENDED_EV, EvseState.SUSPENDED_EVSE})
_NO_TRANSACTIONS = frozenset({"", "0", "-1", str(2**31 - 1), str(2**32 - 1), str(2**63 - 1), str(2**64 - 1)})
"""Ids that chargers report where there is no transaction."""


class ChargerEventHandler:
    """`charger_service.ports.ChargerEvents` for the control of charging.

    Args:
        site: the site's state.
        queue: sends orders to the chargers.
        overrides: gives an EVSE its limit when a car comes.
        writer: persists the state.
        drivers: who may charge.
        autostart: transactions that were requested.
        clock: the run's clock.
        count_overdraw: called when a car starts to draw more than it may.
        violations: counts what breaks the schema.
    """

    def __init__(
        self,
        site: ChargingSite,
        queue: CommandQueue,
        overrides: OverrideService,
        writer: StateWriter,
        drivers: Drivers,
        autostart: Autostart,
        clock: Clock,
        count_overdraw: Callable[[], None],
        violations: SchemaViolationLog,
    ) -> None:
        self._site = site
        self._queue = queue
        self._overrides = overrides
        self._writer = writer
        self._drivers = drivers
        self._autostart = autostart
        self._clock = clock
        self._count_overdraw = count_overdraw
        self._violations = violations
        self._implausible_told_s: dict[str, float] = {}
        # When the transaction that runs was last named by its charger, monotonic [s].
        self._reported_s: dict[EvseKey, float] = {}

    def on_connect(self, charger_id: str, ocpp_version: str) -> None:
        """The charger connected."""
        since_s = self._clock.monotonic_s()
        self._change(charger_id, is_connected=True, is_ready=False, since_s=since_s, ocpp_version=ocpp_version)

    def on_disconnect(self, charger_id: str) -> None:
        """The charger disconnected; without a default profile it may draw up to its rating."""
        self._change(charger_id, is_connected=False, is_ready=False)
        for key in self._site.keys_of.get(charger_id, ()):
            state = self._site.limit_states[key]
            if state.fallback_held_a is None:
                state.is_unknown = True
        self._site.is_dirty = True

    def on_boot(self, charger_id: str, make: ChargerModel) -> None:
        """The charger may have lost its default profile, and the limit of its car."""
        self._change(charger_id, make=make, is_ready=False, since_s=self._clock.monotonic_s())
        for key in self._site.keys_of.get(charger_id, ()):
            state = self._site.limit_states[key]
            state.lose_fallback()
            self._site.unsaved.add(key)
            if self._site.get_session(key) is not None:
                state.is_unknown = True
        self._site.is_dirty = True

    def on_ready(self, charger_id: str, abilities: ChargerCapabilities) -> None:
        """The charger accepts commands: send its fallback and its limit again."""
        self._change(charger_id, abilities=abilities, is_ready=True)
        for key in self._site.keys_of.get(charger_id, ()):
            self._queue.send_fallback(key)
            if self._site.get_session(key) is not None:
                self._overrides.limit_new_session(key)

    def quirks(self, charger_id: str) -> Quirks:
        """Return the charger's quirks."""
        return self._site.quirks(charger_id)

    def on_limit_method(self, charger_id: str, known: KnownMethod | None) -> None:
        """The charger accepted a limit by this method; where its default profile uses the method, send it again."""
        if charger_id not in self._site.chargers:
            return
        self._change(charger_id, known_method=known)
        self._site.unsaved.update(self._site.keys_of[charger_id])
        if known is None:
            _logger.info("how the charger takes limits is tried anew", extra={"charger_id": charger_id})
            return
        method = known.method
        how = {"purpose": method.purpose, "stack_level": method.stack_level, "unit": method.unit}
        _logger.info("the charger takes limits", extra={"charger_id": charger_id} | how)
        for key in self._site.keys_of[charger_id]:
            state = self._site.limit_states[key]
            state.method = state.method or method
            if method.purpose is LimitPurpose.CHARGE_POINT_MAX or method.unit is RateUnit.WATTS:
                # Its default was refused in another way.
                state.fallback_reply = None
                if state.needs_fallback:
                    self._queue.send_fallback(key)

    def on_evse_state(self, charger_id: str, evse_id: int, state: EvseState, *, is_over: bool = False) -> None:
        """Apply a state: send a car that starts to charge its limit again, and end the session of one that left."""
        key = (charger_id, evse_id)
        facts = self._site.evses.get(key)
        if facts is None:
            return
        self._site.evses[key] = evse_facts.in_state(facts, state, self._clock.monotonic_s(), is_over=is_over)
        if self._site.evses[key].is_served != facts.is_served:
            self._site.unsaved.add(key)
        if facts.state is state:
            return
        if state is EvseState.CHARGING:
            self._queue.send_again(key)
        elif state is EvseState.AVAILABLE and facts.session is not None:
            _logger.warning("a session ended without a report", extra={"charger_id": charger_id, "evse_id": evse_id})
            self._site.evses[key] = evse_facts.end_lost_session(self._site.evses[key], facts.session)
            inferred = replace(facts.session, is_end_inferred=True)
            self._site.end_session(key, inferred, self._clock.now())
            self._queue.end_limit(key)
        self._site.settle_if_idle(key)

    def may_charge(self, id_token: str) -> bool:
        """Return whether a token may charge."""
        return self._drivers.may_charge(id_token)

    def on_transaction_updated(self, update: TransactionUpdated) -> bool:
        """A transaction continues: the running one, one to resume, or an earlier one, which changes nothing."""
        key = self._site.key_of_transaction(update.charger_id, update.transaction_id)
        if key is not None:
            self._reported_s[key] = self._clock.monotonic_s()
            self._identify(key, update.id_token)
            return True
        if update.evse_id is None or (update.charger_id, update.evse_id) not in self._site.evses:
            return False
        key = (update.charger_id, update.evse_id)
        if not self._is_to_be_resumed(key, update):
            return False
        _logger.warning("a transaction is taken up", extra={"charger_id": update.charger_id, "evse_id": update.evse_id})
        self._begin(
            TransactionStarted(
                update.charger_id, update.evse_id, update.transaction_id, self._clock.now(), id_token=update.id_token
            )
        )
        return self._runs(key, update.transaction_id)

    async def on_transaction_started(self, started: TransactionStarted) -> bool:
        """A session starts; it is persisted when this returns, or continues in memory where the disk fails."""
        key = (started.charger_id, started.evse_id)
        if key not in self._site.evses:
            return False
        if self._is_of_earlier(key, started):
            _logger.info("a transaction of earlier began", extra={"charger_id": key[0], "evse_id": key[1]})
            self._site.evses[key] = evse_facts.remember_transaction(
                self._site.evses[key],
                started,
                self._drivers.driver_of(started.id_token),
                self._site.rules.default_mode,
            )
        else:
            self._begin(started)
        await self._writer.write([key])
        return self._runs(key, started.transaction_id)

    async def on_transaction_ended(self, ended: TransactionEnded) -> bool:
        """A session ended; this is persisted when this returns, or in memory where the disk fails."""
        key = self._site.key_of_transaction(ended.charger_id, ended.transaction_id)
        if key is not None:
            if ended.energy_kwh is not None:
                register = MeterReading(None, ended.transaction_id, energy_kwh=ended.energy_kwh, is_stored=True)
                self._apply_reading(key, register)
            self._end(key, ended.ended_at)
        else:
            for other in self._site.keys_of.get(ended.charger_id, ()):
                self._end_past(other, ended)
        await self._writer.write()
        return key is not None

    def on_charging_needs(self, charger_id: str, evse_id: int, needs: ChargingNeeds) -> None:
        """The car reported its needs."""
        key = (charger_id, evse_id)
        if (facts := self._site.evses.get(key)) is not None:
            self._site.evses[key] = evse_facts.apply_charging_needs(facts, needs)
            self._site.unsaved.add(key)

    def on_meter_values(self, charger_id: str, evse_id: int | None, reading: MeterReading) -> None:
        """Meter values arrived."""
        key = None if evse_id is None else (charger_id, evse_id)
        if key is None and reading.transaction_id is not None:
            key = self._site.key_of_transaction(charger_id, reading.transaction_id)
        if key is None or key not in self._site.evses:
            return
        was_alone = draws_without_session(self._site.evses[key])
        facts = self._apply_reading(key, self._of_now(key, reading))
        state = self._site.limit_states[key]
        is_overdrawing = overdraws(self._site.wirings[key], state, facts)
        if is_overdrawing and not state.is_overdrawing:
            self._count_overdraw()
            _logger.error(
                "a car draws more than it may",
                extra={"charger_id": charger_id, "evse_id": key[1], "drawn_a": facts.meter and facts.meter.current_a},
            )
            self._queue.send_again(key)
        if facts.session is not None and facts.meter is not None and state.note_phases(facts.meter):
            self._queue.send_again(key)
        if draws_without_session(facts) and not was_alone:
            _logger.error("power is drawn without a session", extra={"charger_id": charger_id, "evse_id": key[1]})
        # A report without a session that no EVSE could draw lowers no car that has one.
        is_believed = facts.session is not None or (facts.meter is not None and not facts.meter.is_implausible)
        if is_overdrawing and is_believed:
            self._site.is_dirty = True
        state.is_overdrawing = is_overdrawing

    def on_schema_violation(self, charger_id: str, violation: SchemaViolation) -> None:
        """A message violated its schema."""
        self._violations.add(charger_id, violation)

    def _runs(self, key: EvseKey, transaction_id: str) -> bool:
        session = self._site.get_session(key)
        return session is not None and session.transaction_id == transaction_id

    def _is_of_earlier(self, key: EvseKey, started: TransactionStarted) -> bool:
        """Whether a start is history: stored while offline, older than the running session, or old at a free EVSE."""
        facts = self._site.evses[key]
        if self._runs(key, started.transaction_id):
            return False
        if started.is_stored:
            return True
        if facts.session is not None:
            return started.started_at < facts.session.started_at
        return facts.state in SURELY_IDLE and not is_live(facts.order, started.started_at, read_clock(self._clock))

    def _is_to_be_resumed(self, key: EvseKey, update: TransactionUpdated) -> bool:
        """Whether a transaction that is not known to run is running.

        The message has to be sent as it happens. A transaction whose start here is known needs nothing else, and must
        not be older than the running one; for another the charger has to report a car as well. Either replaces only a
        transaction that was not reported since its charger connected or booted.
        """
        facts = self._site.evses[key]
        is_over = update.is_stored or update.transaction_id in facts.ended or update.transaction_id in _NO_TRANSACTIONS
        if is_over or not is_live(facts.order, update.reported_at, read_clock(self._clock)):
            return False
        known = facts.find_past_session(update.transaction_id)
        if facts.session is None:
            return known is not None or (update.state or facts.state) in _SOMEBODY_THERE
        if known is not None:
            return known.started_at >= facts.session.started_at
        since_s = self._site.chargers[key[0]].since_s
        is_silent = self._reported_s.get(key, -math.inf) < since_s
        return is_silent and self._clock.monotonic_s() - since_s >= _SILENT_AFTER_S

    def _of_now(self, key: EvseKey, reading: MeterReading) -> MeterReading:
        """Reduce a reading of another transaction to what counts: no energy, and nothing at all if it is stored."""
        facts, transaction_id = self._site.evses[key], reading.transaction_id
        if transaction_id is None:
            return reading
        if self._runs(key, transaction_id):
            self._reported_s[key] = self._clock.monotonic_s()
            return reading
        is_now = is_live(facts.order, reading.reported_at, read_clock(self._clock))
        is_history = reading.is_stored or transaction_id in facts.ended or not is_now
        return replace(reading, energy_kwh=None, is_stored=is_history)

    def _apply_reading(self, key: EvseKey, reading: MeterReading) -> evse_facts.EvseFacts:
        voltage_v, since_s = self._site.rules.settings.voltage_v, self._site.chargers[key[0]].since_s
        before, wiring, now = self._site.evses[key], self._site.wirings[key], read_clock(self._clock)
        facts = evse_facts.apply_meter_reading(before, reading, wiring, voltage_v, now, since_s)
        self._site.evses[key] = facts
        if facts.meter is not None and facts.meter is not before.meter and facts.meter.is_implausible:
            self._tell_implausible(key, reading, now.monotonic_s)
        return facts

    def _tell_implausible(self, key: EvseKey, reading: MeterReading, now_s: float) -> None:
        if now_s - self._implausible_told_s.get(key[0], -math.inf) >= _TELLS_IMPLAUSIBLE_EVERY_S:
            self._implausible_told_s[key[0]] = now_s
            current_a = reading.current_each_a if reading.current_a is None else reading.current_a
            # As texts: what was reported may be no number that JSON has.
            values = {"current_a": str(current_a), "power_kw": str(reading.power_kw)}
            where = {"charger_id": key[0], "evse_id": key[1]}
            _logger.warning("meter values beyond what the EVSE is rated for", extra=where | values)

    def _begin(self, started: TransactionStarted) -> None:
        key = (started.charger_id, started.evse_id)
        before = self._site.evses[key]
        # OCPP 2.0.1 demands no token of a transaction that was asked for.
        id_token = started.id_token or (AUTOSTART_TOKEN if self._autostart.is_asked(key) else None)
        facts = evse_facts.apply_transaction_started(
            before, started, self._drivers.driver_of(id_token), self._site.rules.default_mode
        )
        self._site.evses[key] = facts
        if facts.session is None or (
            before.session is not None and before.session.session_id == facts.session.session_id
        ):
            return
        state = self._site.limit_states[key]
        self._reported_s[key] = self._clock.monotonic_s()
        if before.session is not None:
            self._site.end_session(key, before.session, started.started_at)
        if state.fallback_held_a is None:
            state.is_unknown, self._site.is_dirty = True, True
        self._site.unsaved.add(key)
        self._overrides.limit_new_session(key)
        self._demand_driver(key)

    def _identify(self, key: EvseKey, id_token: str | None) -> None:
        """Set the driver of the running session by the first token that is presented for it."""
        session = self._site.get_session(key)
        if session is not None and session.driver is None and id_token:
            self._site.set_session(key, replace(session, driver=self._drivers.driver_of(id_token)))
            self._demand_driver(key)

    def _demand_driver(self, key: EvseKey) -> None:
        """Stop the session of a driver who may not charge; until its charger does so it gets 0 A."""
        session = self._site.get_session(key)
        if session is not None and session.driver is not None and not session.driver.is_allowed:
            where = {"charger_id": key[0], "evse_id": key[1], "driver_id": session.driver.driver_id}
            _logger.warning("a token that is not listed may not charge", extra=where)
            self._overrides.fall_back(key)
            self._queue.stop_transaction(key)

    def _end(self, key: EvseKey, ended_at: datetime) -> None:
        facts = self._site.evses[key]
        if facts.session is not None:
            self._site.evses[key] = evse_facts.remove_session(facts)
            self._site.end_session(key, facts.session, ended_at)
            self._queue.end_limit(key)

    def _end_past(self, key: EvseKey, ended: TransactionEnded) -> None:
        """Record the end of a transaction that started here and does not run."""
        facts = self._site.evses[key]
        past = facts.find_past_session(ended.transaction_id)
        self._site.evses[key] = evse_facts.apply_transaction_ended(facts, ended)
        if past is not None:
            register = MeterReading(None, energy_kwh=ended.energy_kwh)
            past = replace(evse_facts.update_register(past, get_energy_kwh(register)), is_end_inferred=False)
            self._site.record_end(key, past, ended.ended_at)

    def _change(self, charger_id: str, **changes: object) -> None:
        facts = self._site.chargers.get(charger_id)
        if facts is not None:
            self._site.chargers[charger_id] = replace(facts, **changes)


class PersistedTransactionIds:
    """`charger_service.ports.TransactionIdAllocator` with persisted ids."""

    def __init__(self, writer: StateWriter, clock: Clock, state: PersistedState) -> None:
        self._writer = writer
        self._clock = clock
        self._known = OrderedDict(((row["charger_id"], row["beginning"]), int(row["number"])) for row in state.numbers)
        self._highest = max(self._known.values(), default=0)

    async def number_of(self, charger_id: str, beginning: str) -> int:
        """Return the transaction's id; where the disk fails it is unique all the same, and known until the restart."""
        number = self._known.get((charger_id, beginning))
        if number is not None:
            return number
        number = self._highest = transaction_number(self._highest, self._clock.now())
        self._known[charger_id, beginning] = number
        if len(self._known) > _KNOWN_NUMBERS:
            self._known.popitem(last=False)
        row = {"number": number, "charger_id": charger_id, "beginning": beginning}
        await self._writer.store.keep(Changes(numbers=[row]))
        return number
