"""Writes the state of the site to the database, and restores it after a restart.

The limit written for an EVSE is an upper bound: it is written before anything is raised, so that after a crash no EVSE
counts with less than it may draw.
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
from charger_service.kill_audit import AuthenticatedCaller
from charger_service.limit_state import Cause, LimitOrder
from charger_service.ports import ChargerModel, KnownMethod, TransactionEnded
from charger_service.site import ActiveOverride, ChargingSite, isolate_errors, lifetime_of
from charger_service.store import Changes, PersistedState, Row, StateStore
from ev_service.charging import Override
from ev_service.clock import Clock, read_clock
from ev_service.lifetimes import EarlierEnd, Instant
from ev_service.units import UtcTimestamp, utc_text

_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _PersistedOrder:
    """A limit order in the database."""

    limit_a: _Finite
    """Current per phase [A]."""
    valid_until: UtcTimestamp
    cause: Cause
    phases: int | None = None
    limited_by: str | None = None
    remaining_s: _Finite | None = None
    """Remaining time when it was written [s], which bounds it after a restart; None: written by an earlier version,
    and bounded by the wall clock."""


@dataclass(frozen=True, slots=True)
class _PersistedOverride:
    """An override in the database."""

    override: Override
    reason: str
    proved: AuthenticatedCaller | None
    remaining_s: _Finite | None = None
    """As that of an order."""


@dataclass(frozen=True, slots=True)
class _PersistedCharger:
    """A charger in the database."""

    make: ChargerModel | None
    served_evse_ids: tuple[int, ...]
    """EVSEs with a session since they were last free."""
    known_method: KnownMethod | None = None
    """Method by which it accepted limits."""


@dataclass(frozen=True, slots=True)
class EndedSession:
    """An ended session in the database."""

    key: EvseKey
    session: ChargingSession
    ended_at: datetime


_SESSION = TypeAdapter(ChargingSession)
_ORDER = TypeAdapter(_PersistedOrder)
_CHARGER = TypeAdapter(_PersistedCharger)
_OVERRIDE = TypeAdapter(_PersistedOverride)
_LIMIT_KW = TypeAdapter(float)
SITE_LIMIT, OVERRIDE, SIGNALS = "site_limit_kw", "override", "grid_signals"


class StateWriter:
    """Writes changed EVSEs, together with those that could not be written before."""

    def __init__(self, site: ChargingSite, store: StateStore, clock: Clock) -> None:
        self._site = site
        self._clock = clock
        self.store = store
        self._orders_wait = False

    async def write(self, keys: Iterable[EvseKey] = ()) -> bool:
        """Write these EVSEs and those that wait for it; False: it failed, and all of them wait for the next call."""
        changed, over = {*keys, *self._site.unsaved}, list(self._site.over)
        self._site.unsaved.clear()
        self._site.over.clear()
        if self._orders_wait:
            await self.write_orders()
        if not changed:
            return True
        now = read_clock(self._clock)
        limit_states: list[Row] = []
        sessions = [_session_row(*one) for one in over]
        for key in changed:
            with isolate_errors("writing the state", key):
                limit_states.append(_limit_state_row(self._site, key, now))
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
        """Write the operator's orders in force, and the grid operator's signals."""
        limit_kw, override = self._site.operator_limit_kw, self._site.override
        signals = self._site.signals.dump(read_clock(self._clock))
        active_orders: dict[str, str | None] = {SITE_LIMIT: None, OVERRIDE: None, SIGNALS: signals}
        if limit_kw is not None:
            active_orders[SITE_LIMIT] = _LIMIT_KW.dump_json(limit_kw).decode()
        if override is not None:
            remaining_s = override.lifetime.remaining_s(read_clock(self._clock))
            content = _PersistedOverride(override.override, override.reason, override.proved, remaining_s)
            active_orders[OVERRIDE] = _OVERRIDE.dump_json(content).decode()
        is_kept = await self.store.keep(Changes(active_orders=active_orders))
        self._orders_wait = not is_kept
        return is_kept


def restore(site: ChargingSite, state: PersistedState, now: Instant) -> None:
    """Restore the state. Every EVSE counts with its upper bound until its charger confirms a limit again."""
    if (limit_kw := _read(_LIMIT_KW, state.active_orders.get(SITE_LIMIT))) is not None:
        site.operator_limit_kw = limit_kw
    site.signals.restore(state.active_orders.get(SIGNALS), now)
    site.signal = site.signals.limits(now)
    override: _PersistedOverride | None = _read(_OVERRIDE, state.active_orders.get(OVERRIDE))
    if override is not None:
        until = override.override.until
        remaining_s = _remaining_s(override.remaining_s, until, now)
        lifetime = lifetime_of(override.override).restore(now, until, remaining_s)
        if not lifetime.has_ended(now):
            site.override = ActiveOverride(override.override, override.reason, override.proved, lifetime)
    for row in state.sessions:
        _restore_session(site, row)
    for row in state.chargers:
        _restore_charger(site, row)
    for row in state.limit_states:
        _restore_limit_state(site, row, now)
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
    persisted: _PersistedCharger | None = _read(_CHARGER, row["content"])
    if persisted is None or charger_id not in site.chargers:
        return
    known = persisted.known_method
    site.chargers[charger_id] = replace(site.chargers[charger_id], make=persisted.make, known_method=known)
    for key in site.keys_of[charger_id]:
        site.limit_states[key].method = known and known.method
        site.evses[key] = replace(site.evses[key], is_served=key[1] in persisted.served_evse_ids)


def _restore_session(site: ChargingSite, row: Row) -> None:
    key = (row["charger_id"], row["evse_id"])
    facts = site.evses.get(key)
    if facts is None:
        return
    # Whether that car is still there is not known; the charger's row, which is restored later, may say so.
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


def _restore_limit_state(site: ChargingSite, row: Row, now: Instant) -> None:
    key = (row["charger_id"], row["evse_id"])
    state = site.limit_states.get(key)
    if state is None:
        return
    state.fallback_held_a = row["fallback_held_a"]
    if row["ceiling_a"] is not None and state.fallback_held_a is not None:
        state.is_unknown, state.doubtful_a = False, row["ceiling_a"]
        if site.get_session(key) is None and state.method is not None and state.method.outlives_transaction:
            state.lingering_a = row["ceiling_a"]
    persisted: _PersistedOrder | None = _read(_ORDER, row["wanted"])
    if persisted is None or persisted.cause is not Cause.AGENT:
        return
    remaining_s = _remaining_s(persisted.remaining_s, persisted.valid_until, now)
    lifetime = EarlierEnd.restore(now, persisted.valid_until, remaining_s)
    if not lifetime.has_ended(now):
        state.want(LimitOrder(persisted.limit_a, lifetime, persisted.cause, persisted.phases, persisted.limited_by))


def _remaining_s(written_s: float | None, ends_at: datetime, now: Instant) -> float:
    return (ends_at - now.wall).total_seconds() if written_s is None else written_s


def _charger_row(site: ChargingSite, charger_id: str) -> Row:
    served = tuple(key[1] for key in site.keys_of[charger_id] if site.evses[key].is_served)
    facts = site.chargers[charger_id]
    persisted = _PersistedCharger(facts.make, served, facts.known_method)
    return {"charger_id": charger_id, "content": _CHARGER.dump_json(persisted).decode()}


def _limit_state_row(site: ChargingSite, key: EvseKey, now: Instant) -> Row:
    state = site.limit_states[key]
    order, wanted = state.granted or state.wanted, None
    if order is not None:
        remaining_s = order.lifetime.remaining_s(now)
        wanted = _PersistedOrder(
            order.limit_a, order.valid_until, order.cause, order.phases, order.limited_by, remaining_s
        )
    return {
        "charger_id": key[0],
        "evse_id": key[1],
        "ceiling_a": None if state.is_unknown else max(site.max_currents(key)),
        "fallback_held_a": state.fallback_held_a,
        "wanted": None if wanted is None else _ORDER.dump_json(wanted).decode(),
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
    """Parse content; None also where an older version wrote what cannot be parsed."""
    try:
        return None if content is None else adapter.validate_json(content)
    except ValidationError:
        return None


def transaction_number(highest: int, now: datetime) -> int:
    """Choose a number above the highest; where earlier numbers were lost, the seconds of the clock keep it unique.

    It fits into the 31 bits that OCPP 1.6 chargers have for it until 2068.
    """
    since = datetime(2000, 1, 1, tzinfo=now.tzinfo)
    return max(highest + 1, int((now - since) / timedelta(seconds=1)))
