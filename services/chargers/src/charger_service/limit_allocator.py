"""Brings wishes for many EVSEs to their chargers within the envelope: reductions first, then what is free by then.

A stop or a reduction looks at its own EVSE alone: nothing that other chargers reported can keep it back.
Knows not who wishes, nor whether they may.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from charger_service.command_queue import CommandQueue
from charger_service.envelope import NOTHING, CurrentGrant, CurrentRequest, Currents, EvseKey, grant, round_down
from charger_service.limit_state import PROTECTION, Cause, LimitOrder
from charger_service.persistence import StateWriter
from charger_service.protection import Protection, Raise
from charger_service.site import ChargingSite, isolate_errors
from ev_service.lifetimes import EarlierEnd

_logger = logging.getLogger(__name__)

NOT_KEPT = "state_not_kept"


@dataclass(frozen=True, slots=True)
class LimitRequest:
    """A limit that somebody wants for one EVSE; limit_a [A per phase] is 0 or at least 6."""

    key: EvseKey
    limit_a: float
    lifetime: EarlierEnd
    cause: Cause
    phases: int | None = None


class LimitAllocator:
    """Applies wishes.

    Args:
        site: what is known and ordered.
        queue: the way to the chargers.
        writer: keeps what must survive a restart.
        protection: says how far limits may be raised by what the connection's meter shows.
        answer_s: how long one call waits for chargers [s, real time].
    """

    def __init__(
        self, site: ChargingSite, queue: CommandQueue, writer: StateWriter, protection: Protection, answer_s: float
    ) -> None:
        self._site = site
        self._queue = queue
        self._writer = writer
        self._protection = protection
        self._answer_s = answer_s

    async def apply(
        self, wishes: Sequence[LimitRequest], is_called_off: Callable[[], bool]
    ) -> dict[EvseKey, LimitOrder]:
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
        await self._queue.wait_for_answers(orders, self._answer_s / 2 if raising else self._answer_s)
        if raising and not is_called_off():
            orders |= await self._raise(raising, [wish.key for wish in wishes], is_called_off)
        else:
            await self._writer.write(wish.key for wish in wishes)
        await self._queue.wait_for_answers(orders, deadline_s - time.monotonic())
        return orders

    def trim(self) -> list[EvseKey]:
        """Lower what is ordered until the sum fits again, important cars last; returns what was lowered."""
        if not self._site.sum_loads().exceeds(self._site.envelope):
            self._site.is_dirty = False
            return []
        wishes = sorted(self._collect_requests(), key=self._importance)
        lowered: list[EvseKey] = []
        for wish, granted in zip(wishes, self._allocate(wishes, self._site.reserved_currents), strict=True):
            if granted.limit_a < wish.limit_a - _SAME_A:
                self._queue.send(wish.key, _order(wish, granted))
                lowered.append(wish.key)
        self._site.is_dirty = False
        if lowered:
            _logger.warning("limits lowered to stay within the envelope", extra={"evses": len(lowered)})
        return lowered

    def _reduce(self, wishes: Sequence[LimitRequest]) -> dict[EvseKey, LimitOrder]:
        """Send what is no more than the newest order of its EVSE, as it is asked and without any sum."""
        orders: dict[EvseKey, LimitOrder] = {}
        for wish in wishes:
            with isolate_errors("reducing", wish.key):
                state, wiring = self._site.limit_states[wish.key], self._site.wirings[wish.key]
                limit_a, newest = round_down(wish.limit_a), state.wanted
                before = NOTHING if newest is None else wiring.currents(newest.limit_a, newest.phases)
                wanted = wiring.currents(limit_a, wish.phases)
                if all(after_a <= before_a + _SAME_A for after_a, before_a in zip(wanted, before, strict=True)):
                    # A raise that is still being written down ends with it.
                    state.granted = None
                    orders[wish.key] = self._queue.send(wish.key, _order(wish, CurrentGrant(limit_a)))
        return orders

    async def _raise(
        self, wishes: Sequence[LimitRequest], changed: Iterable[EvseKey], is_called_off: Callable[[], bool]
    ) -> dict[EvseKey, LimitOrder]:
        """Grant from what is free by now, and send it once it is written down that it may be in force."""
        limit_states = self._site.limit_states
        await self._protection.check_meter()
        epoch = self._protection.epoch
        raises = [
            Raise(wish.key, granted, wish.phases)
            for wish, granted in zip(wishes, self._allocate(wishes, self._site.max_currents), strict=True)
        ]
        orders = {
            wish.key: _order(wish, bounded)
            for wish, bounded in zip(wishes, self._protection.limit_raises(raises), strict=True)
        }
        for key, order in orders.items():
            limit_states[key].granted = order
        is_kept = await self._writer.write(changed)
        for wish in wishes:
            key = wish.key
            if limit_states[key].granted is not orders[key]:
                # The car left meanwhile, or another call granted it anew.
                continue
            limit_states[key].granted = None
            if not is_kept:
                orders[key] = self._keep_unraised(wish, NOT_KEPT)
            elif self._protection.epoch != epoch:
                orders[key] = self._keep_unraised(wish, PROTECTION)
            if not is_called_off():
                orders[key] = self._queue.send(key, orders[key])
        return orders

    def _keep_unraised(self, wish: LimitRequest, limited_by: str) -> LimitOrder:
        """What the EVSE has, for longer: what could not be written down, or was protected meanwhile, is not raised."""
        before = self._site.limit_states[wish.key].confirmed
        limit_a = self._site.limit_states[wish.key].fallback_a if before is None else before.limit_a
        phases = wish.phases if before is None else before.phases
        return LimitOrder(min(limit_a, wish.limit_a), wish.lifetime, wish.cause, phases, limited_by)

    def _allocate(self, wishes: Sequence[LimitRequest], counted: Callable[[EvseKey], Currents]) -> list[CurrentGrant]:
        asks = [
            CurrentRequest(self._site.wirings[one.key], one.limit_a, one.phases, counted(one.key)) for one in wishes
        ]
        return grant(asks, self._site.sum_loads({wish.key for wish in wishes}), self._site.envelope)

    def _collect_requests(self) -> list[LimitRequest]:
        """What is ordered now, of those who can still be told otherwise."""
        wishes: list[LimitRequest] = []
        for key, state in self._site.limit_states.items():
            with isolate_errors("trimming", key):
                order = state.wanted
                if order is not None and (self._site.is_connected(key) or not self._site.get_session(key)):
                    wishes.append(LimitRequest(key, order.limit_a, order.lifetime, order.cause, order.phases))
        return wishes

    def _importance(self, wish: LimitRequest) -> tuple[int, EvseKey]:
        session = self._site.get_session(wish.key)
        return (0 if session is None else -session.priority), wish.key


_SAME_A = 1e-6


def _order(wish: LimitRequest, granted: CurrentGrant) -> LimitOrder:
    return LimitOrder(granted.limit_a, wish.lifetime, wish.cause, wish.phases, granted.limited_by)
