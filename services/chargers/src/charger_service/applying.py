"""Brings wishes for many EVSEs to their chargers within the envelope: reductions first, then what is free by then.

A stop or a reduction looks at its own EVSE alone: nothing that other chargers reported can keep it back.
Knows not who wishes, nor whether they may.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from charger_service.envelope import NOTHING, Ask, Currents, Grant, Key, grant, in_steps
from charger_service.isolation import isolated
from charger_service.keeping import Keeper
from charger_service.protection import Protection, Raise
from charger_service.sending import Sending
from charger_service.site import Site
from charger_service.standing import PROTECTION, Cause, Order
from ev_service.lifetimes import EarlierEnd

_logger = logging.getLogger(__name__)

NOT_KEPT = "state_not_kept"


@dataclass(frozen=True, slots=True)
class Wish:
    """A limit that somebody wants for one EVSE; limit_a [A per phase] is 0 or at least 6."""

    key: Key
    limit_a: float
    lifetime: EarlierEnd
    cause: Cause
    phases: int | None = None


class Applying:
    """Applies wishes.

    Args:
        site: what is known and ordered.
        sending: the way to the chargers.
        keeper: keeps what must survive a restart.
        protection: says how far limits may be raised by what the connection's meter shows.
        answer_s: how long one call waits for chargers [s, real time].
    """

    def __init__(self, site: Site, sending: Sending, keeper: Keeper, protection: Protection, answer_s: float) -> None:
        self._site = site
        self._sending = sending
        self._keeper = keeper
        self._protection = protection
        self._answer_s = answer_s

    async def apply(self, wishes: Sequence[Wish], is_called_off: Callable[[], bool]) -> dict[Key, Order]:
        """Grant what fits, earlier wishes first, and bring it to the chargers.

        Who does not answer is not waited for longer than `answer_s`, and counts with the most it may draw.

        Args:
            wishes: one for each EVSE at most.
            is_called_off: asked before anything is raised; True: somebody higher came in between.

        Returns:
            The order that each EVSE was given. What became of it stands in its `Standing`.
        """
        deadline_s = time.monotonic() + self._answer_s
        orders = self._reduce(wishes)
        raising = [wish for wish in wishes if wish.key not in orders]
        # What is raised needs the answers to what is lowered, but not those of a charger that hangs.
        await self._sending.settled(orders, self._answer_s / 2 if raising else self._answer_s)
        if raising and not is_called_off():
            orders |= await self._raise(raising, [wish.key for wish in wishes], is_called_off)
        else:
            await self._keeper.keep(wish.key for wish in wishes)
        await self._sending.settled(orders, deadline_s - time.monotonic())
        return orders

    def trim(self) -> list[Key]:
        """Lower what is ordered until the sum fits again, important cars last; returns what was lowered."""
        if not self._site.carried().exceeds(self._site.envelope):
            self._site.is_dirty = False
            return []
        wishes = sorted(self._wishes_now(), key=self._importance)
        lowered: list[Key] = []
        for wish, granted in zip(wishes, self._granted(wishes, self._site.counted_anyway), strict=True):
            if granted.limit_a < wish.limit_a - _SAME_A:
                self._sending.send(wish.key, _order(wish, granted))
                lowered.append(wish.key)
        self._site.is_dirty = False
        if lowered:
            _logger.warning("limits lowered to stay within the envelope", extra={"evses": len(lowered)})
        return lowered

    def _reduce(self, wishes: Sequence[Wish]) -> dict[Key, Order]:
        """Send what is no more than the newest order of its EVSE, as it is asked and without any sum."""
        orders: dict[Key, Order] = {}
        for wish in wishes:
            with isolated("reducing", wish.key):
                standing, place = self._site.standings[wish.key], self._site.places[wish.key]
                limit_a, newest = in_steps(wish.limit_a), standing.wanted
                before = NOTHING if newest is None else place.currents(newest.limit_a, newest.phases)
                if not _raises(place.currents(limit_a, wish.phases), before):
                    # A raise that is still being written down ends with it.
                    standing.granted = None
                    orders[wish.key] = self._sending.send(wish.key, _order(wish, Grant(limit_a)))
        return orders

    async def _raise(
        self, wishes: Sequence[Wish], changed: Iterable[Key], is_called_off: Callable[[], bool]
    ) -> dict[Key, Order]:
        """Grant from what is free by now, and send it once it is written down that it may be in force."""
        standings = self._site.standings
        await self._protection.look()
        epoch = self._protection.epoch
        raises = [
            Raise(wish.key, granted, wish.phases)
            for wish, granted in zip(wishes, self._granted(wishes, self._site.most), strict=True)
        ]
        orders = {
            wish.key: _order(wish, bounded)
            for wish, bounded in zip(wishes, self._protection.bound(raises), strict=True)
        }
        for key, order in orders.items():
            standings[key].granted = order
        is_kept = await self._keeper.keep(changed)
        for wish in wishes:
            key = wish.key
            if standings[key].granted is not orders[key]:
                # The car left meanwhile, or another call granted it anew.
                continue
            standings[key].granted = None
            if not is_kept:
                orders[key] = self._unraised(wish, NOT_KEPT)
            elif self._protection.epoch != epoch:
                orders[key] = self._unraised(wish, PROTECTION)
            if not is_called_off():
                orders[key] = self._sending.send(key, orders[key])
        return orders

    def _unraised(self, wish: Wish, limited_by: str) -> Order:
        """What the EVSE has, for longer: what could not be written down, or was protected meanwhile, is not raised."""
        before = self._site.standings[wish.key].confirmed
        limit_a = self._site.standings[wish.key].fallback_a if before is None else before.limit_a
        phases = wish.phases if before is None else before.phases
        return Order(min(limit_a, wish.limit_a), wish.lifetime, wish.cause, phases, limited_by)

    def _granted(self, wishes: Sequence[Wish], counted: Callable[[Key], Currents]) -> list[Grant]:
        asks = [Ask(self._site.places[one.key], one.limit_a, one.phases, counted(one.key)) for one in wishes]
        return grant(asks, self._site.carried({wish.key for wish in wishes}), self._site.envelope)

    def _wishes_now(self) -> list[Wish]:
        """What is ordered now, of those who can still be told otherwise."""
        wishes: list[Wish] = []
        for key, standing in self._site.standings.items():
            with isolated("trimming", key):
                order = standing.wanted
                if order is not None and (self._site.is_connected(key) or not self._site.visit(key)):
                    wishes.append(Wish(key, order.limit_a, order.lifetime, order.cause, order.phases))
        return wishes

    def _importance(self, wish: Wish) -> tuple[int, Key]:
        visit = self._site.visit(wish.key)
        return (0 if visit is None else -visit.priority), wish.key


_SAME_A = 1e-6


def _order(wish: Wish, granted: Grant) -> Order:
    return Order(granted.limit_a, wish.lifetime, wish.cause, wish.phases, granted.limited_by)


def _raises(currents: Currents, most: Currents) -> bool:
    return any(current_a > known_a + _SAME_A for current_a, known_a in zip(currents, most, strict=True))
