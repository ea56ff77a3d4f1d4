"""What of the site is kept, and how it comes back after a restart.

What is written of an EVSE's limit is an upper bound: it is written before anything is raised, so that after a crash no
EVSE counts with less than it may draw.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from charger_service.acts import Proved
from charger_service.envelope import Key
from charger_service.fleet import Visit, ended, lost, superseded
from charger_service.isolation import isolated
from charger_service.ports import Ended, KnownMethod, Make
from charger_service.site import OverrideGiven, Site, lifetime_of
from charger_service.standing import Cause, Order
from charger_service.store import Changes, Kept, Row, Store
from ev_service.charging import Override
from ev_service.clock import Clock, read_clock
from ev_service.lifetimes import EarlierEnd, Instant
from ev_service.units import UtcTimestamp, utc_text

_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _KeptOrder:
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
class _KeptOverride:
    """An override as it is written down; remaining_s as that of an order."""

    override: Override
    reason: str
    proved: Proved | None
    remaining_s: _Finite | None = None


@dataclass(frozen=True, slots=True)
class _KeptCharger:
    """What a charger said of itself, its EVSEs where a session was since nobody was there, and how it takes limits."""

    make: Make | None
    served_evse_ids: tuple[int, ...]
    known_method: KnownMethod | None = None


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that is over, as it was kept."""

    key: Key
    visit: Visit
    ended_at: datetime


_VISIT = TypeAdapter(Visit)
_ORDER = TypeAdapter(_KeptOrder)
_CHARGER = TypeAdapter(_KeptCharger)
_OVERRIDE = TypeAdapter(_KeptOverride)
_LIMIT_KW = TypeAdapter(float)
SITE_LIMIT, OVERRIDE = "site_limit_kw", "override"


class Keeper:
    """Writes what changed at EVSEs, together with what could not be written before."""

    def __init__(self, site: Site, store: Store, clock: Clock) -> None:
        self._site = site
        self._clock = clock
        self.store = store
        self._words_wait = False

    async def keep(self, keys: Iterable[Key] = ()) -> bool:
        """Write these EVSEs down, and others that wait for it; False: it failed, and they wait for the next time."""
        changed, over = {*keys, *self._site.unsaved}, list(self._site.over)
        self._site.unsaved.clear()
        self._site.over.clear()
        if self._words_wait:
            await self.keep_words()
        if not changed:
            return True
        now = read_clock(self._clock)
        standings: list[Row] = []
        sessions = [_session_row(*one) for one in over]
        for key in changed:
            with isolated("writing down", key):
                standings.append(_standing_row(self._site, key, now))
                if (visit := self._site.visit(key)) is not None:
                    sessions.append(_session_row(key, visit, None))
        chargers = [_charger_row(self._site, charger_id) for charger_id in sorted({key[0] for key in changed})]
        changes = Changes(chargers=chargers, standings=standings, sessions=sessions)
        is_kept = await self.store.keep(changes)
        if not is_kept:
            self._site.unsaved.update(changed)
            self._site.over[:0] = over
        return is_kept

    async def keep_words(self) -> bool:
        """Write the operator's word down as it is in force."""
        limit_kw, override = self._site.operator_limit_kw, self._site.override
        words = {
            SITE_LIMIT: None if limit_kw is None else _LIMIT_KW.dump_json(limit_kw).decode(),
            OVERRIDE: None if override is None else _override_text(override, read_clock(self._clock)),
        }
        is_kept = await self.store.keep(Changes(words=words))
        self._words_wait = not is_kept
        return is_kept


def restore(site: Site, kept: Kept, now: Instant) -> None:
    """Put back what was kept. Every EVSE counts with its upper bound until its charger confirms a limit anew."""
    if (limit_kw := _read(_LIMIT_KW, kept.words.get(SITE_LIMIT))) is not None:
        site.operator_limit_kw = limit_kw
    if (override := _read(_OVERRIDE, kept.words.get(OVERRIDE))) is not None:
        _restore_override(site, override, now)
    for row in kept.sessions:
        _restore_session(site, row)
    for row in kept.chargers:
        _restore_charger(site, row)
    for row in kept.standings:
        _restore_standing(site, row, now)
    site.begin_fallbacks()


def ended_sessions(rows: Iterable[Row]) -> list[EndedSession]:
    """Sessions that are over, from their rows; those that cannot be read are left out."""
    found: list[EndedSession] = []
    for row in rows:
        visit: Visit | None = _read(_VISIT, row["content"])
        if visit is not None:
            key = (row["charger_id"], row["evse_id"])
            found.append(EndedSession(key, visit, datetime.fromisoformat(row["ended_at"])))
    return found


def _restore_charger(site: Site, row: Row) -> None:
    charger_id: str = row["charger_id"]
    kept: _KeptCharger | None = _read(_CHARGER, row["content"])
    if kept is None or charger_id not in site.chargers:
        return
    known = kept.known_method
    site.chargers[charger_id] = replace(site.chargers[charger_id], make=kept.make, known_method=known)
    for key in site.keys_of[charger_id]:
        site.standings[key].method = known and known.method
        site.evses[key] = replace(site.evses[key], is_served=key[1] in kept.served_evse_ids)


def _restore_session(site: Site, row: Row) -> None:
    key = (row["charger_id"], row["evse_id"])
    facts = site.evses.get(key)
    if facts is None:
        return
    # Nobody knows whether that car is still there; what was kept of the charger may say so.
    facts = replace(facts, is_served=True)
    visit: Visit | None = _read(_VISIT, row["content"])
    if row["ended_at"] is not None and visit is not None and visit.is_end_inferred:
        site.evses[key] = lost(facts, visit)
    elif row["ended_at"] is not None and visit is not None:
        site.evses[key] = superseded(facts, visit)
    elif row["ended_at"] is not None:
        over = Ended(key[0], row["transaction_id"], datetime.fromisoformat(row["ended_at"]))
        site.evses[key] = ended(facts, over)
    elif visit is not None:
        site.evses[key] = replace(facts, visit=visit)


def _restore_standing(site: Site, row: Row, now: Instant) -> None:
    key = (row["charger_id"], row["evse_id"])
    standing = site.standings.get(key)
    if standing is None:
        return
    standing.fallback_held_a = row["fallback_held_a"]
    if row["ceiling_a"] is not None and standing.fallback_held_a is not None:
        standing.is_unknown, standing.doubtful_a = False, row["ceiling_a"]
        if site.visit(key) is None and standing.method is not None and standing.method.outlives_transaction:
            standing.lingering_a = row["ceiling_a"]
    kept: _KeptOrder | None = _read(_ORDER, row["wanted"])
    if kept is None or kept.cause is not Cause.AGENT:
        return
    remaining_s = _remaining_s(kept.remaining_s, kept.valid_until, now)
    lifetime = EarlierEnd.restore(now, kept.valid_until, remaining_s)
    if not lifetime.has_ended(now):
        standing.want(Order(kept.limit_a, lifetime, kept.cause, kept.phases, kept.limited_by))


def _restore_override(site: Site, kept: _KeptOverride, now: Instant) -> None:
    until = kept.override.until
    lifetime = lifetime_of(kept.override).restore(now, until, _remaining_s(kept.remaining_s, until, now))
    if not lifetime.has_ended(now):
        site.override = OverrideGiven(kept.override, kept.reason, kept.proved, lifetime)


def _remaining_s(written_s: float | None, ends_at: datetime, now: Instant) -> float:
    return (ends_at - now.wall).total_seconds() if written_s is None else written_s


def _order_text(order: Order, now: Instant) -> str:
    remaining_s = order.lifetime.remaining_s(now)
    kept = _KeptOrder(order.limit_a, order.valid_until, order.cause, order.phases, order.limited_by, remaining_s)
    return _ORDER.dump_json(kept).decode()


def _override_text(given: OverrideGiven, now: Instant) -> str:
    kept = _KeptOverride(given.override, given.reason, given.proved, given.lifetime.remaining_s(now))
    return _OVERRIDE.dump_json(kept).decode()


def _charger_row(site: Site, charger_id: str) -> Row:
    served = tuple(key[1] for key in site.keys_of[charger_id] if site.evses[key].is_served)
    facts = site.chargers[charger_id]
    kept = _KeptCharger(facts.make, served, facts.known_method)
    return {"charger_id": charger_id, "content": _CHARGER.dump_json(kept).decode()}


def _standing_row(site: Site, key: Key, now: Instant) -> Row:
    standing = site.standings[key]
    wanted = standing.granted or standing.wanted
    return {
        "charger_id": key[0],
        "evse_id": key[1],
        "ceiling_a": None if standing.is_unknown else max(site.most(key)),
        "fallback_held_a": standing.fallback_held_a,
        "wanted": None if wanted is None else _order_text(wanted, now),
    }


def _session_row(key: Key, visit: Visit, ended_at: datetime | None) -> Row:
    return {
        "session_id": visit.session_id,
        "charger_id": key[0],
        "evse_id": key[1],
        "transaction_id": visit.transaction_id,
        "content": _VISIT.dump_json(visit).decode(),
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
