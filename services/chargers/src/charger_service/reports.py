"""Takes in what charge points tell, and answers at once where a charger needs its limit again."""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from charger_service import fleet
from charger_service.autostart import Autostart
from charger_service.drivers import AUTOSTART_TOKEN, Drivers
from charger_service.envelope import Key
from charger_service.keeping import Keeper, transaction_number
from charger_service.metering import energy_of, is_live
from charger_service.offences import Offences
from charger_service.overriding import Overriding
from charger_service.ports import (
    Abilities,
    Ended,
    KnownMethod,
    LimitPurpose,
    Make,
    MeterReading,
    Needs,
    Offence,
    Quirks,
    RateUnit,
    Seen,
    Started,
)
from charger_service.sending import Sending
from charger_service.site import SURELY_IDLE, Site
from charger_service.standing import draws_without_session, overdraws
from charger_service.store import Changes, Kept
from ev_service.charging import EvseState
from ev_service.clock import Clock, read_clock

_logger = logging.getLogger(__name__)

_KNOWN_NUMBERS = 10_000
_TELLS_IMPLAUSIBLE_EVERY_S = 60.0
_SILENT_AFTER_S = 30.0
"""After so long without a word of the transaction that ran before its charger connected another may take its place [s]:
twice the interval at which chargers are asked for meter values, and a rest."""
_SOMEBODY_THERE = frozenset({EvseState.OCCUPIED, EvseState.CHARGING, EvseState.SUSPENDED_EV, EvseState.SUSPENDED_EVSE})
_NO_TRANSACTIONS = frozenset({"", "0", "-1", str(2**31 - 1), str(2**32 - 1), str(2**63 - 1), str(2**64 - 1)})
"""What chargers write for the id of a transaction where there is none."""


class Reports:
    """The limits' half of `charger_service.ports`: `ChargerReports`.

    Args:
        site: what is known and ordered.
        sending: the way to the chargers.
        overriding: what an EVSE is told when a car comes.
        keeper: keeps what must survive a restart.
        drivers: who may charge.
        autostart: which chargers were asked to begin.
        clock: the run's clock.
        count_overdraw: told when a car begins to draw more than it may.
        offences: counts what breaks the schema.
    """

    def __init__(
        self,
        site: Site,
        sending: Sending,
        overriding: Overriding,
        keeper: Keeper,
        drivers: Drivers,
        autostart: Autostart,
        clock: Clock,
        count_overdraw: Callable[[], None],
        offences: Offences,
    ) -> None:
        self._site = site
        self._sending = sending
        self._overriding = overriding
        self._keeper = keeper
        self._drivers = drivers
        self._autostart = autostart
        self._clock = clock
        self._count_overdraw = count_overdraw
        self._offences = offences
        self._implausible_told_s: dict[str, float] = {}
        # When the transaction that runs was last named by its charger, monotonic [s].
        self._heard_s: dict[Key, float] = {}

    def connected(self, charger_id: str, ocpp_version: str) -> None:
        """The charger is there."""
        since_s = self._clock.monotonic_s()
        self._change(charger_id, is_connected=True, is_ready=False, since_s=since_s, ocpp_version=ocpp_version)

    def disconnected(self, charger_id: str) -> None:
        """The charger is gone; without a default of its own it may draw all it can."""
        self._change(charger_id, is_connected=False, is_ready=False)
        for key in self._site.keys_of.get(charger_id, ()):
            standing = self._site.standings[key]
            if standing.fallback_held_a is None:
                standing.is_unknown = True
        self._site.is_dirty = True

    def booted(self, charger_id: str, make: Make) -> None:
        """The charger may have forgotten its default, and the limit of the car that is there."""
        self._change(charger_id, make=make, is_ready=False, since_s=self._clock.monotonic_s())
        for key in self._site.keys_of.get(charger_id, ()):
            standing = self._site.standings[key]
            standing.lose_fallback()
            self._site.unsaved.add(key)
            if self._site.visit(key) is not None:
                standing.is_unknown = True
        self._site.is_dirty = True

    def ready(self, charger_id: str, abilities: Abilities) -> None:
        """The charger wants to hear its fallback and its limit again."""
        self._change(charger_id, abilities=abilities, is_ready=True)
        for key in self._site.keys_of.get(charger_id, ()):
            self._sending.send_fallback(key)
            if self._site.visit(key) is not None:
                self._overriding.welcome(key)

    def quirks(self, charger_id: str) -> Quirks:
        """What the charger needs."""
        return self._site.quirks(charger_id)

    def limit_method_changed(self, charger_id: str, known: KnownMethod | None) -> None:
        """The charger takes limits in this way; one that its default follows is given that anew."""
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
            standing = self._site.standings[key]
            standing.method = standing.method or method
            if method.purpose is LimitPurpose.CHARGE_POINT_MAX or method.unit is RateUnit.WATTS:
                # Its default was refused in another way.
                standing.fallback_reply = None
                if standing.needs_fallback:
                    self._sending.send_fallback(key)

    def evse_changed(self, charger_id: str, evse_id: int, state: EvseState, *, is_over: bool = False) -> None:
        """A state was told; a car that begins to charge is told its limit again, and one that is gone is forgotten."""
        key = (charger_id, evse_id)
        facts = self._site.evses.get(key)
        if facts is None:
            return
        self._site.evses[key] = fleet.in_state(facts, state, self._clock.monotonic_s(), is_over=is_over)
        if self._site.evses[key].is_served != facts.is_served:
            self._site.unsaved.add(key)
        if facts.state is state:
            return
        if state is EvseState.CHARGING:
            self._sending.send_again(key)
        elif state is EvseState.AVAILABLE and facts.visit is not None:
            _logger.warning("the end of a session was not heard", extra={"charger_id": charger_id, "evse_id": evse_id})
            self._site.evses[key] = fleet.lost(self._site.evses[key], facts.visit)
            inferred = replace(facts.visit, is_end_inferred=True)
            self._site.end_visit(key, inferred, self._clock.now())
            self._sending.end_limit(key)
        self._site.settle_if_idle(key)

    def may_charge(self, id_token: str) -> bool:
        """Whether a token may charge."""
        return self._drivers.may_charge(id_token)

    def session_seen(self, seen: Seen) -> bool:
        """A transaction goes on: one that runs, one to take up again, or one of earlier, which changes nothing."""
        key = self._site.key_of_transaction(seen.charger_id, seen.transaction_id)
        if key is not None:
            self._heard_s[key] = self._clock.monotonic_s()
            self._identify(key, seen.id_token)
            return True
        if seen.evse_id is None or (seen.charger_id, seen.evse_id) not in self._site.evses:
            return False
        key = (seen.charger_id, seen.evse_id)
        if not self._is_to_be_taken_up(key, seen):
            return False
        _logger.warning("a transaction is taken up", extra={"charger_id": seen.charger_id, "evse_id": seen.evse_id})
        self._begin(
            Started(seen.charger_id, seen.evse_id, seen.transaction_id, self._clock.now(), id_token=seen.id_token)
        )
        return self._runs(key, seen.transaction_id)

    async def session_started(self, started: Started) -> bool:
        """A session begins; it is kept when this returns, or goes on in memory where the disk fails."""
        key = (started.charger_id, started.evse_id)
        if key not in self._site.evses:
            return False
        if self._is_of_earlier(key, started):
            _logger.info("a transaction of earlier began", extra={"charger_id": key[0], "evse_id": key[1]})
            self._site.evses[key] = fleet.held(
                self._site.evses[key], started, self._drivers.driver_of(started.id_token)
            )
        else:
            self._begin(started)
        await self._keeper.keep([key])
        return self._runs(key, started.transaction_id)

    async def session_ended(self, ended: Ended) -> bool:
        """A session is over; it is kept when this returns, or in memory where the disk fails."""
        key = self._site.key_of_transaction(ended.charger_id, ended.transaction_id)
        if key is not None:
            if ended.energy_kwh is not None:
                register = MeterReading(None, ended.transaction_id, energy_kwh=ended.energy_kwh, is_stored=True)
                self._metered(key, register)
            self._end(key, ended.ended_at)
        else:
            for other in self._site.keys_of.get(ended.charger_id, ()):
                self._end_past(other, ended)
        await self._keeper.keep()
        return key is not None

    def needs(self, charger_id: str, evse_id: int, needs: Needs) -> None:
        """The car said what it wants."""
        key = (charger_id, evse_id)
        if (facts := self._site.evses.get(key)) is not None:
            self._site.evses[key] = fleet.needs_told(facts, needs)
            self._site.unsaved.add(key)

    def metered(self, charger_id: str, evse_id: int | None, reading: MeterReading) -> None:
        """Meter values arrived."""
        key = None if evse_id is None else (charger_id, evse_id)
        if key is None and reading.transaction_id is not None:
            key = self._site.key_of_transaction(charger_id, reading.transaction_id)
        if key is None or key not in self._site.evses:
            return
        was_alone = draws_without_session(self._site.evses[key])
        facts = self._metered(key, self._of_now(key, reading))
        standing = self._site.standings[key]
        is_overdrawing = overdraws(self._site.places[key], standing, facts)
        if is_overdrawing and not standing.is_overdrawing:
            self._count_overdraw()
            _logger.error(
                "a car draws more than it may",
                extra={"charger_id": charger_id, "evse_id": key[1], "drawn_a": facts.meter and facts.meter.current_a},
            )
            self._sending.send_again(key)
        if facts.visit is not None and facts.meter is not None and standing.note_phases(facts.meter):
            self._sending.send_again(key)
        if draws_without_session(facts) and not was_alone:
            _logger.error("power is drawn without a session", extra={"charger_id": charger_id, "evse_id": key[1]})
        # A report without a session that no EVSE could draw lowers no car that has one.
        is_believed = facts.visit is not None or (facts.meter is not None and not facts.meter.is_implausible)
        if is_overdrawing and is_believed:
            self._site.is_dirty = True
        standing.is_overdrawing = is_overdrawing

    def offended(self, charger_id: str, offence: Offence) -> None:
        """A message broke its schema."""
        self._offences.add(charger_id, offence)

    def _runs(self, key: Key, transaction_id: str) -> bool:
        visit = self._site.visit(key)
        return visit is not None and visit.transaction_id == transaction_id

    def _is_of_earlier(self, key: Key, started: Started) -> bool:
        """Whether a begin is history: kept while offline, older than what runs, or long ago where nobody is."""
        facts = self._site.evses[key]
        if self._runs(key, started.transaction_id):
            return False
        if started.is_stored:
            return True
        if facts.visit is not None:
            return started.started_at < facts.visit.started_at
        return facts.state in SURELY_IDLE and not is_live(facts.order, started.started_at, read_clock(self._clock))

    def _is_to_be_taken_up(self, key: Key, seen: Seen) -> bool:
        """Whether a transaction that does not run for all that is known runs all the same.

        What says so is sent as it happens. A transaction whose beginning here is known needs nothing else, and is not
        older than what runs; of another the charger has to say besides that somebody is there. Either takes the place
        only of a transaction of which nothing was heard since its charger connected or booted.
        """
        facts = self._site.evses[key]
        is_over = seen.is_stored or seen.transaction_id in facts.ended or seen.transaction_id in _NO_TRANSACTIONS
        if is_over or not is_live(facts.order, seen.reported_at, read_clock(self._clock)):
            return False
        known = facts.past_visit(seen.transaction_id)
        if facts.visit is None:
            return known is not None or (seen.state or facts.state) in _SOMEBODY_THERE
        if known is not None:
            return known.started_at >= facts.visit.started_at
        since_s = self._site.chargers[key[0]].since_s
        is_silent = self._heard_s.get(key, -math.inf) < since_s
        return is_silent and self._clock.monotonic_s() - since_s >= _SILENT_AFTER_S

    def _of_now(self, key: Key, reading: MeterReading) -> MeterReading:
        """A reading as it counts: one of another transaction than runs says no energy, and nothing of now if stored."""
        facts, transaction_id = self._site.evses[key], reading.transaction_id
        if transaction_id is None:
            return reading
        if self._runs(key, transaction_id):
            self._heard_s[key] = self._clock.monotonic_s()
            return reading
        is_now = is_live(facts.order, reading.reported_at, read_clock(self._clock))
        is_history = reading.is_stored or transaction_id in facts.ended or not is_now
        return replace(reading, energy_kwh=None, is_stored=is_history)

    def _metered(self, key: Key, reading: MeterReading) -> fleet.EvseFacts:
        voltage_v, since_s = self._site.rules.settings.voltage_v, self._site.chargers[key[0]].since_s
        before, place, now = self._site.evses[key], self._site.places[key], read_clock(self._clock)
        facts = fleet.metered(before, reading, place, voltage_v, now, since_s)
        self._site.evses[key] = facts
        if facts.meter is not None and facts.meter is not before.meter and facts.meter.is_implausible:
            self._tell_implausible(key, reading, now.monotonic_s)
        return facts

    def _tell_implausible(self, key: Key, reading: MeterReading, now_s: float) -> None:
        if now_s - self._implausible_told_s.get(key[0], -math.inf) >= _TELLS_IMPLAUSIBLE_EVERY_S:
            self._implausible_told_s[key[0]] = now_s
            current_a = reading.current_each_a if reading.current_a is None else reading.current_a
            # As texts: what was reported may be no number that JSON has.
            said = {"current_a": str(current_a), "power_kw": str(reading.power_kw)}
            where = {"charger_id": key[0], "evse_id": key[1]}
            _logger.warning("meter values beyond what the EVSE is rated for", extra=where | said)

    def _begin(self, started: Started) -> None:
        key = (started.charger_id, started.evse_id)
        before = self._site.evses[key]
        # OCPP 2.0.1 demands no token of a transaction that was asked for.
        id_token = started.id_token or (AUTOSTART_TOKEN if self._autostart.is_asked(key) else None)
        facts = fleet.started(before, started, self._drivers.driver_of(id_token))
        self._site.evses[key] = facts
        if facts.visit is None or (before.visit is not None and before.visit.session_id == facts.visit.session_id):
            return
        standing = self._site.standings[key]
        self._heard_s[key] = self._clock.monotonic_s()
        if before.visit is not None:
            self._site.end_visit(key, before.visit, started.started_at)
        if standing.fallback_held_a is None:
            standing.is_unknown, self._site.is_dirty = True, True
        self._site.unsaved.add(key)
        self._overriding.welcome(key)
        self._demand_driver(key)

    def _identify(self, key: Key, id_token: str | None) -> None:
        """A token was presented for the session that runs; the first one says who charges."""
        visit = self._site.visit(key)
        if visit is not None and visit.driver is None and id_token:
            self._site.set_visit(key, replace(visit, driver=self._drivers.driver_of(id_token)))
            self._demand_driver(key)

    def _demand_driver(self, key: Key) -> None:
        """Stop the session of a driver who may not charge; until its charger does so it gets 0 A."""
        visit = self._site.visit(key)
        if visit is not None and visit.driver is not None and not visit.driver.is_allowed:
            where = {"charger_id": key[0], "evse_id": key[1], "driver_id": visit.driver.driver_id}
            _logger.warning("a token that is not listed may not charge", extra=where)
            self._overriding.fall_back(key)
            self._sending.stop_transaction(key)

    def _end(self, key: Key, ended_at: datetime) -> None:
        facts = self._site.evses[key]
        if facts.visit is not None:
            self._site.evses[key] = fleet.without_visit(facts)
            self._site.end_visit(key, facts.visit, ended_at)
            self._sending.end_limit(key)

    def _end_past(self, key: Key, ended: Ended) -> None:
        """Record the end of a transaction that began here and does not run."""
        facts = self._site.evses[key]
        past = facts.past_visit(ended.transaction_id)
        self._site.evses[key] = fleet.ended(facts, ended)
        if past is not None:
            register = MeterReading(None, energy_kwh=ended.energy_kwh)
            past = replace(fleet.with_register(past, energy_of(register)), is_end_inferred=False)
            self._site.record_end(key, past, ended.ended_at)

    def _change(self, charger_id: str, **changes: object) -> None:
        facts = self._site.chargers.get(charger_id)
        if facts is not None:
            self._site.chargers[charger_id] = replace(facts, **changes)


class Numbers:
    """The limits' half of `charger_service.ports`: `TransactionNumbers`."""

    def __init__(self, keeper: Keeper, clock: Clock, kept: Kept) -> None:
        self._keeper = keeper
        self._clock = clock
        self._known = OrderedDict(((row["charger_id"], row["beginning"]), int(row["number"])) for row in kept.numbers)
        self._highest = max(self._known.values(), default=0)

    async def number_of(self, charger_id: str, beginning: str) -> int:
        """The transaction's number; where the disk fails it is unique all the same, and known until the restart."""
        number = self._known.get((charger_id, beginning))
        if number is not None:
            return number
        number = self._highest = transaction_number(self._highest, self._clock.now())
        self._known[charger_id, beginning] = number
        if len(self._known) > _KNOWN_NUMBERS:
            self._known.popitem(last=False)
        row = {"number": number, "charger_id": charger_id, "beginning": beginning}
        await self._keeper.store.keep(Changes(numbers=[row]))
        return number
