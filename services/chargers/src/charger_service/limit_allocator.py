"""Allocates limits to EVSEs within the envelope: reductions first, then raises from what is free by then.

A stop or a reduction depends on its own EVSE alone: no report of another charger can delay it.
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
"""`limited_by` of a raise that could not be persisted."""


@dataclass(frozen=True, slots=True)
class LimitRequest:
    """A limit that is requested for one EVSE."""

    key: EvseKey
    limit_a: float
    """Limit per phase [A]: 0, or at least 6."""
    lifetime: EarlierEnd
    cause: Cause
    phases: int | None = None
    """Number of phases to charge on; None: as wired."""


class LimitAllocator:
    """Applies limit requests.

    Args:
        site: the site's state.
        queue: sends orders to the chargers.
        writer: persists the state.
        protection: bounds raises by the connection's meter.
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
        self, requests: Sequence[LimitRequest], is_called_off: Callable[[], bool]
    ) -> dict[EvseKey, LimitOrder]:
        """Grant what fits, earlier requests first, and send it to the chargers.

        A charger that does not reply is waited for at most `answer_s`, and counts with the most that it may draw.

        Args:
            requests: at most one per EVSE.
            is_called_off: called before anything is raised; True: an order of higher precedence was given meanwhile.

        Returns:
            The order that each EVSE got; its `EvseLimitState` has the result.
        """
        deadline_s = time.monotonic() + self._answer_s
        orders = self._reduce(requests)
        raising = [request for request in requests if request.key not in orders]
        # Raises need the replies to reductions, but not those of a charger that hangs.
        await self._queue.wait_for_answers(orders, self._answer_s / 2 if raising else self._answer_s)
        if raising and not is_called_off():
            orders |= await self._raise(raising, [request.key for request in requests], is_called_off)
        else:
            await self._writer.write(request.key for request in requests)
        await self._queue.wait_for_answers(orders, deadline_s - time.monotonic())
        return orders

    def trim(self) -> list[EvseKey]:
        """Lower orders until the sum fits again, important cars last; return the lowered EVSEs."""
        if not self._site.sum_loads().exceeds(self._site.envelope):
            self._site.is_dirty = False
            return []
        requests = sorted(self._collect_requests(), key=self._importance)
        lowered: list[EvseKey] = []
        for request, granted in zip(requests, self._allocate(requests, self._site.reserved_currents), strict=True):
            if granted.limit_a < request.limit_a - _SAME_A:
                self._queue.send(request.key, _order(request, granted))
                lowered.append(request.key)
        self._site.is_dirty = False
        if lowered:
            _logger.warning("limits lowered to stay within the envelope", extra={"evses": len(lowered)})
        return lowered

    def fit_to_site_limit(self) -> list[EvseKey]:
        """Apply a changed limit of the site: lower fallbacks and orders that exceed it; return the lowered EVSEs."""
        self._site.choose_fallbacks()
        lowered = self.trim()
        for key, state in self._site.limit_states.items():
            if state.fallback_held_a is not None and state.fallback_a < state.fallback_held_a:
                self._queue.send_fallback(key)
        return lowered

    def _reduce(self, requests: Sequence[LimitRequest]) -> dict[EvseKey, LimitOrder]:
        """Send requests that do not exceed the newest order of their EVSE, without regard to any sum."""
        orders: dict[EvseKey, LimitOrder] = {}
        for request in requests:
            with isolate_errors("reducing", request.key):
                state, wiring = self._site.limit_states[request.key], self._site.wirings[request.key]
                limit_a, newest = round_down(request.limit_a), state.wanted
                before = NOTHING if newest is None else wiring.currents(newest.limit_a, newest.phases)
                wanted = wiring.currents(limit_a, request.phases)
                if all(after_a <= before_a + _SAME_A for after_a, before_a in zip(wanted, before, strict=True)):
                    # A raise that is still being persisted ends with it.
                    state.granted = None
                    orders[request.key] = self._queue.send(request.key, _order(request, CurrentGrant(limit_a)))
        return orders

    async def _raise(
        self, requests: Sequence[LimitRequest], changed: Iterable[EvseKey], is_called_off: Callable[[], bool]
    ) -> dict[EvseKey, LimitOrder]:
        """Grant from what is free by now, and send it once it is persisted."""
        limit_states = self._site.limit_states
        await self._protection.check_meter()
        epoch, envelope = self._protection.epoch, self._site.envelope
        raises = [
            Raise(request.key, granted, request.phases)
            for request, granted in zip(requests, self._allocate(requests, self._site.max_currents), strict=True)
        ]
        orders = {
            request.key: _order(request, bounded)
            for request, bounded in zip(requests, self._protection.limit_raises(raises), strict=True)
        }
        for key, order in orders.items():
            limit_states[key].granted = order
        is_kept = await self._writer.write(changed)
        for request in requests:
            key = request.key
            if limit_states[key].granted is not orders[key]:
                # The car left meanwhile, or another call granted it anew.
                continue
            limit_states[key].granted = None
            if not is_kept:
                orders[key] = self._keep_unraised(request, NOT_KEPT)
            elif self._protection.epoch != epoch:
                orders[key] = self._keep_unraised(request, PROTECTION)
            if not is_called_off():
                orders[key] = self._queue.send(key, orders[key])
        if self._site.envelope != envelope:
            # The site's limit changed meanwhile: what was granted within the former one is not sent.
            self.trim()
        return orders

    def _keep_unraised(self, request: LimitRequest, limited_by: str) -> LimitOrder:
        """Extend what the EVSE has: a raise that was not persisted, or that protection forbids, is not sent."""
        before = self._site.limit_states[request.key].confirmed
        limit_a = self._site.limit_states[request.key].fallback_a if before is None else before.limit_a
        phases = request.phases if before is None else before.phases
        return LimitOrder(min(limit_a, request.limit_a), request.lifetime, request.cause, phases, limited_by)

    def _allocate(self, requests: Sequence[LimitRequest], counted: Callable[[EvseKey], Currents]) -> list[CurrentGrant]:
        current_requests = [
            CurrentRequest(self._site.wirings[one.key], one.limit_a, one.phases, counted(one.key)) for one in requests
        ]
        return grant(current_requests, self._site.sum_loads({request.key for request in requests}), self._site.envelope)

    def _collect_requests(self) -> list[LimitRequest]:
        """Return the orders in force that can still be changed."""
        requests: list[LimitRequest] = []
        for key, state in self._site.limit_states.items():
            with isolate_errors("trimming", key):
                order = state.wanted
                if order is not None and (self._site.is_connected(key) or not self._site.get_session(key)):
                    requests.append(LimitRequest(key, order.limit_a, order.lifetime, order.cause, order.phases))
        return requests

    def _importance(self, request: LimitRequest) -> tuple[int, EvseKey]:
        session = self._site.get_session(request.key)
        return (0 if session is None else -session.priority), request.key


_SAME_A = 1e-6


def _order(request: LimitRequest, granted: CurrentGrant) -> LimitOrder:
    return LimitOrder(granted.limit_a, request.lifetime, request.cause, request.phases, granted.limited_by)
