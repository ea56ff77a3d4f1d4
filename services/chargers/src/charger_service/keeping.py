"""What of the site is kept, and how it comes back after a restart.

What is written of an EVSE's limit is an upper bound: it is written before anything is raised, so that after a crash no
EVSE counts with less than it may draw.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from charger_service.envelope import Key
from charger_service.fleet import EvseFacts, Visit, ended
from charger_service.ports import Ended
from charger_service.site import OverrideGiven, Site
from charger_service.standing import Cause, Order
from charger_service.store import Changes, Kept, Row, Store
from ev_service.units import utc_text

_VISIT = TypeAdapter(Visit)
_ORDER = TypeAdapter(Order)
_OVERRIDE = TypeAdapter(OverrideGiven)
_LIMIT_KW = TypeAdapter(float)
SITE_LIMIT, OVERRIDE = "site_limit_kw", "override"


class Keeper:
    """Writes what changed at EVSEs, together with what could not be written before."""

    def __init__(self, site: Site, store: Store) -> None:
        self._site = site
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
        running = [_session_row(key, visit, None) for key in changed if (visit := self._site.visit(key))]
        changes = Changes(
            standings=[_standing_row(self._site, key) for key in changed],
            sessions=[*running, *(_session_row(*one) for one in over)],
        )
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
            OVERRIDE: None if override is None else _OVERRIDE.dump_json(override).decode(),
        }
        is_kept = await self.store.keep(Changes(words=words))
        self._words_wait = not is_kept
        return is_kept


def restore(site: Site, kept: Kept, now: datetime) -> None:
    """Put back what was kept. Every EVSE counts with its upper bound until its charger confirms a limit anew."""
    if (limit_kw := _read(_LIMIT_KW, kept.words.get(SITE_LIMIT))) is not None:
        site.operator_limit_kw = limit_kw
    override = _read(_OVERRIDE, kept.words.get(OVERRIDE))
    if override is not None and override.override.until > now:
        site.override = override
    for row in kept.sessions:
        _restore_session(site, row)
    for row in kept.standings:
        _restore_standing(site, row, now)
    site.begin_fallbacks()


def _restore_session(site: Site, row: Row) -> None:
    key = (row["charger_id"], row["evse_id"])
    facts = site.evses.get(key)
    if facts is None:
        return
    if row["ended_at"] is not None:
        over = Ended(key[0], row["transaction_id"], datetime.fromisoformat(row["ended_at"]))
        site.evses[key] = ended(facts, over)
    elif (visit := _read(_VISIT, row["content"])) is not None:
        site.evses[key] = EvseFacts(visit=visit, ended=facts.ended)


def _restore_standing(site: Site, row: Row, now: datetime) -> None:
    key = (row["charger_id"], row["evse_id"])
    standing = site.standings.get(key)
    if standing is None:
        return
    standing.fallback_held_a = row["fallback_held_a"]
    if row["ceiling_a"] is not None and standing.fallback_held_a is not None:
        standing.is_unknown, standing.doubtful_a = False, row["ceiling_a"]
    order = _read(_ORDER, row["wanted"])
    if order is not None and order.cause is Cause.AGENT and order.valid_until > now:
        standing.want(order)


def _standing_row(site: Site, key: Key) -> Row:
    standing = site.standings[key]
    wanted = standing.granted or standing.wanted
    return {
        "charger_id": key[0],
        "evse_id": key[1],
        "ceiling_a": None if standing.is_unknown else max(site.most(key)),
        "fallback_held_a": standing.fallback_held_a,
        "wanted": None if wanted is None else _ORDER.dump_json(wanted).decode(),
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
