"""What of the site is kept, and how it comes back after a restart.

What is written of an EVSE's limit is an upper bound: it is written before anything is raised, so that after a crash no
EVSE counts with less than it may draw.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from charger_service.envelope import EvseKey
from charger_service.evse_facts import (
    ChargingSession,
    apply_transaction_ended,
    end_lost_session,
    end_superseded_session,
)
from charger_service.isolation import isolate_errors
from charger_service.kill_audit import AuthenticatedCaller
from charger_service.limit_state import Cause, LimitOrder
from charger_service.ports import ChargerModel, KnownMethod, TransactionEnded
from charger_service.site import ActiveOverride, ChargingSite, lifetime_of
from charger_service.store import Changes, PersistedState, Row, StateStore
from ev_service.charging import Override
from ev_service.clock import Clock, read_clock
from ev_service.lifetimes import EarlierEnd, Instant
from ev_service.units import UtcTimestamp, utc_text

_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _PersistedOrder:
    """An order as it is written down. remaining_s [s]: how long it still lasted then; no more counts after a restart.

    One without it was written before there was one, and counts by the wall clock.
    """

    limit_a: _Finite
    valid_until: UtcTimestamp
    cause: Cause
    phases: int | None = None
    limited_by: str | None = None
    remaining_s: _Finite | None = None


@dataclass(frozen=True, slots=True)
class _PersistedOverride:
    """An override as it is written down; remaining_s as that of an order."""

    override: Override
    reason: str
    proved: AuthenticatedCaller | None
    remaining_s: _Finite | None = None


@dataclass(frozen=True, slots=True)
class _KeptCharger:
    """What a charger said of itself, its EVSEs where a session was since nobody was there, and how it takes limits."""

    make: ChargerModel | None
    served_evse_ids: tuple[int, ...]
    known_method: KnownMethod | None = None


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that is over, as it was kept."""

    key: EvseKey
    session: ChargingSession
    ended_at: datetime


_SESSION = TypeAdapter(ChargingSession)
_ORDER = TypeAdapter(_PersistedOrder)
_CHARGER = TypeAdapter(_KeptCharger)
_OVERRIDE = TypeAdapter(_PersistedOverride)
_LIMIT_KW = TypeAdapter(float)
SITE_LIMIT, OVERRIDE = "site_limit_kw", "override"


class StateWriter:
    """Writes what changed at EVSEs, together with what could not be written before."""

    def __init__(self, site: ChargingSite, store: StateStore, clock: Clock) -> None:
        self._site = site
        self._clock = clock
        self.store = store
        self._words_wait = False

    async def write(self, keys: Iterable[EvseKey] = ()) -> bool:
        """Write these EVSEs down, and others that wait for it; False: it failed, and they wait for the next time."""
        changed, over = {*keys, *self._site.unsaved}, list(self._site.over)
        self._site.unsaved.clear()
        self._site.over.clear()
        if self._words_wait:
            await self.write_orders()
        if not changed:
            return True
        now = read_clock(self._clock)
        limit_states: list[Row] = []
        sessions = [_session_row(*one) for one in over]
        for key in changed:
            with isolate_errors("writing down", key):
                limit_states.append(_standing_row(self._site, key, now))
                if (session := self._site.get_session(key)) is not None:
                    sessions.append(_session_row(key, session, None))
        chargers = [_charger_row(self._site, charger_id) for charger_id in sorted({key[0] for key in changed})]
        changes = Changes(chargers=chargers, limit_states=limit_states, sessions=sessions)
        is_kept = await self.store.keep(changes)
        if not is_kept:
            self._site.unsaved.update(changed)
            self._site.over[:0] = over
        return is_kept

    async def write_orders(self) -> bool:
        """Write the operator's word down as it is in force."""
        limit_kw, override = self._site.operator_limit_kw, self._site.override
        active_orders = {
            SITE_LIMIT: None if limit_kw is None else _LIMIT_KW.dump_json(limit_kw).decode(),
            OVERRIDE: None if override is None else _override_text(override, read_clock(self._clock)),
        }
        is_kept = await self.store.keep(Changes(active_orders=active_orders))
        self._words_wait = not is_kept
        return is_kept


def restore(site: ChargingSite, kept: PersistedState, now: Instant) -> None:
    """Put back what was kept. Every EVSE counts with its upper bound until its charger confirms a limit anew."""
    if (limit_kw := _read(_LIMIT_KW, kept.active_orders.get(SITE_LIMIT))) is not None:
        site.operator_limit_kw = limit_kw
    if (override := _read(_OVERRIDE, kept.active_orders.get(OVERRIDE))) is not None:
        _restore_override(site, override, now)
    for row in kept.sessions:
        _restore_session(site, row)
    for row in kept.chargers:
        _restore_charger(site, row)
    for row in kept.limit_states:
        _restore_standing(site, row, now)
    site.begin_fallbacks()


def parse_ended_sessions(rows: Iterable[Row]) -> list[EndedSession]:
    """Sessions that are over, from their rows; those that cannot be read are left out."""
    found: list[EndedSession] = []
    for row in rows:
        session: ChargingSession | None = _read(_SESSION, row["content"])
        if session is not None:
            key = (row["charger_id"], row["evse_id"])
            found.append(EndedSession(key, session, datetime.fromisoformat(row["ended_at"])))
    return found


def _restore_charger(site: ChargingSite, row: Row) -> None:
    charger_id: str = row["charger_id"]
    kept: _KeptCharger | None = _read(_CHARGER, row["content"])
    if kept is None or charger_id not in site.chargers:
        return
    known = kept.known_method
    site.chargers[charger_id] = replace(site.chargers[charger_id], make=kept.make, known_method=known)
    for key in site.keys_of[charger_id]:
        site.limit_states[key].method = known and known.method
        site.evses[key] = replace(site.evses[key], is_served=key[1] in kept.served_evse_ids)


def _restore_session(site: ChargingSite, row: Row) -> None:
    key = (row["charger_id"], row["evse_id"])
    facts = site.evses.get(key)
    if facts is None:
        return
    # Nobody knows whether that car is still there; what was kept of the charger may say so.
    facts = replace(facts, is_served=True)
    session: ChargingSession | None = _read(_SESSION, row["content"])
    if row["ended_at"] is not None and session is not None and session.is_end_inferred:
        site.evses[key] = end_lost_session(facts, session)
    elif row["ended_at"] is not None and session is not None:
        site.evses[key] = end_superseded_session(facts, session)
    elif row["ended_at"] is not None:
        over = TransactionEnded(key[0], row["transaction_id"], datetime.fromisoformat(row["ended_at"]))
        site.evses[key] = apply_transaction_ended(facts, over)
    elif session is not None:
        site.evses[key] = replace(facts, session=session)


def _restore_standing(site: ChargingSite, row: Row, now: Instant) -> None:
    key = (row["charger_id"], row["evse_id"])
    state = site.limit_states.get(key)
    if state is None:
        return
    state.fallback_held_a = row["fallback_held_a"]
    if row["ceiling_a"] is not None and state.fallback_held_a is not None:
        state.is_unknown, state.doubtful_a = False, row["ceiling_a"]
        if site.get_session(key) is None and state.method is not None and state.method.outlives_transaction:
            state.lingering_a = row["ceiling_a"]
    kept: _PersistedOrder | None = _read(_ORDER, row["wanted"])
    if kept is None or kept.cause is not Cause.AGENT:
        return
    remaining_s = _remaining_s(kept.remaining_s, kept.valid_until, now)
    lifetime = EarlierEnd.restore(now, kept.valid_until, remaining_s)
    if not lifetime.has_ended(now):
        state.want(LimitOrder(kept.limit_a, lifetime, kept.cause, kept.phases, kept.limited_by))


def _restore_override(site: ChargingSite, kept: _PersistedOverride, now: Instant) -> None:
    until = kept.override.until
    lifetime = lifetime_of(kept.override).restore(now, until, _remaining_s(kept.remaining_s, until, now))
    if not lifetime.has_ended(now):
        site.override = ActiveOverride(kept.override, kept.reason, kept.proved, lifetime)


def _remaining_s(written_s: float | None, ends_at: datetime, now: Instant) -> float:
    return (ends_at - now.wall).total_seconds() if written_s is None else written_s


def _order_text(order: LimitOrder, now: Instant) -> str:
    remaining_s = order.lifetime.remaining_s(now)
    kept = _PersistedOrder(order.limit_a, order.valid_until, order.cause, order.phases, order.limited_by, remaining_s)
    return _ORDER.dump_json(kept).decode()


def _override_text(given: ActiveOverride, now: Instant) -> str:
    kept = _PersistedOverride(given.override, given.reason, given.proved, given.lifetime.remaining_s(now))
    return _OVERRIDE.dump_json(kept).decode()


def _charger_row(site: ChargingSite, charger_id: str) -> Row:
    served = tuple(key[1] for key in site.keys_of[charger_id] if site.evses[key].is_served)
    facts = site.chargers[charger_id]
    kept = _KeptCharger(facts.make, served, facts.known_method)
    return {"charger_id": charger_id, "content": _CHARGER.dump_json(kept).decode()}


def _standing_row(site: ChargingSite, key: EvseKey, now: Instant) -> Row:
    state = site.limit_states[key]
    wanted = state.granted or state.wanted
    return {
        "charger_id": key[0],
        "evse_id": key[1],
        "ceiling_a": None if state.is_unknown else max(site.max_currents(key)),
        "fallback_held_a": state.fallback_held_a,
        "wanted": None if wanted is None else _order_text(wanted, now),
    }


def _session_row(key: EvseKey, session: ChargingSession, ended_at: datetime | None) -> Row:
    return {
        "session_id": session.session_id,
        "charger_id": key[0],
        "evse_id": key[1],
        "transaction_id": session.transaction_id,
        "content": _SESSION.dump_json(session).decode(),
        "ended_at": None if ended_at is None else utc_text(ended_at),
    }


def _read(adapter: TypeAdapter[Any], content: str | None) -> Any:
    """A content that an older version wrote and that can not be read is as good as none."""
    try:
        return None if content is None else adapter.validate_json(content)
    except ValidationError:
        return None


def transaction_number(highest: int, now: datetime) -> int:
    """A number that none before had, even where the numbers before were lost: the seconds of the clock, or one more.

    Stays within the 31 bits that OCPP 1.6 chargers have for it until 2068.
    """
    since = datetime(2000, 1, 1, tzinfo=now.tzinfo)
    return max(highest + 1, int((now - since) / timedelta(seconds=1)))
