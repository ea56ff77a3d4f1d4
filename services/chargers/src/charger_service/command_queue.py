"""Sends orders to chargers: for each EVSE one at a time, and always the newest.

An order that is replaced while it waits is never sent.
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta

from charger_service.envelope import EvseKey
from charger_service.limit_state import LimitOrder
from charger_service.ports import ChargePoints, CommandStatus, Reply, TransactionLimit
from charger_service.site import ChargingSite
from ev_service.clock import Clock
from ev_service.tasks import cancel_and_wait

_logger = logging.getLogger(__name__)

CLOCK_MARGIN_S = 10.0
"""How much later than this service the charger drops a limit by itself [s]: the service's fallback comes first, and
the charger's own end only counts where the service is down.
"""


class CommandQueue:
    """Brings the chargers' limits, default profiles and transactions in line with the orders."""

    def __init__(self, site: ChargingSite, clock: Clock) -> None:
        self._site = site
        self._clock = clock
        self._points: ChargePoints | None = None
        self._limits: dict[EvseKey, asyncio.Task[None]] = {}
        self._fallbacks: dict[EvseKey, asyncio.Task[None]] = {}
        self._stops: dict[EvseKey, asyncio.Task[None]] = {}
        self._starts: dict[EvseKey, asyncio.Task[None]] = {}
        self._clears: dict[EvseKey, asyncio.Task[None]] = {}

    def attach(self, points: ChargePoints) -> None:
        """Set the connection to the chargers."""
        self._points = points

    def send(self, key: EvseKey, order: LimitOrder) -> LimitOrder:
        """Order a limit of an EVSE from now on; without a session it waits for the next one.

        Returns:
            What is wanted: the order, or as much of it as protection lets pass.
        """
        order = self._site.apply_cap(key, order)
        self._site.limit_states[key].want(order)
        self.catch_up(key)
        return order

    def send_again(self, key: EvseKey) -> None:
        """Send the newest order again: it was not confirmed, or may have been ignored or lost."""
        self._site.limit_states[key].is_due = True
        self.catch_up(key)

    def catch_up(self, key: EvseKey) -> None:
        """Send what is due, once there is a session to send it for."""
        if self._site.get_session(key) is not None and key not in self._limits:
            self._limits[key] = asyncio.create_task(self._bring_limit(key))

    def send_fallback(self, key: EvseKey) -> None:
        """Send the EVSE's fallback as default profile, unless a limit for the present car replaces it."""
        if key not in self._fallbacks and self._may_hold_fallback(key):
            self._fallbacks[key] = asyncio.create_task(self._bring_fallback(key))

    def end_limit(self, key: EvseKey) -> None:
        """After a session: clear what remains of its limit on the charger, until the charger confirms that."""
        state = self._site.limit_states[key]
        if self._site.get_session(key) is not None:
            return
        if state.replaces_fallback and state.needs_fallback:
            self.send_fallback(key)
        if state.lingering_a is not None and key not in self._clears:
            self._clears[key] = asyncio.create_task(self._bring_clear(key))

    def stop_transaction(self, key: EvseKey) -> None:
        """Request, once, the end of the running transaction."""
        session = self._site.get_session(key)
        if session is not None and key not in self._stops:
            self._stops[key] = asyncio.create_task(self._bring_stop(key, session.transaction_id))

    def start_transaction(self, key: EvseKey, id_token: str) -> None:
        """Request, once, the start of a transaction."""
        if key not in self._starts:
            self._starts[key] = asyncio.create_task(self._bring_start(key, id_token))

    async def wait_for_answers(self, keys: Iterable[EvseKey], within_s: float) -> None:
        """Wait for the replies to the newest orders of these EVSEs, at most so long [s, real time].

        What is not answered by then goes on by itself.
        """
        running = [task for key in keys if (task := self._limits.get(key)) is not None]
        if running and within_s > 0:
            await asyncio.wait(running, timeout=within_s)

    async def stop(self) -> None:
        """Cancel what is not answered."""
        tasks = (self._limits, self._fallbacks, self._stops, self._starts, self._clears)
        await cancel_and_wait(*(task for kind in tasks for task in kind.values()))

    async def _bring_limit(self, key: EvseKey) -> None:
        state = self._site.limit_states[key]
        try:
            while state.is_due and (order := state.wanted) is not None:
                session = self._site.get_session(key)
                if session is None:
                    return
                state.is_due, state.sent, state.asked_at_s = False, order, self._clock.monotonic_s()
                reply = await self._send_limit(key, order, session.transaction_id)
                now_there = self._site.get_session(key)
                # A reply about a transaction that is over does not apply to the running one.
                if now_there is not None and now_there.transaction_id == session.transaction_id:
                    state.answer(order, reply, self._clock.monotonic_s())
                    self._report(key, order, reply)
                else:
                    state.answer_late(order, reply)
                    self.end_limit(key)
        finally:
            del self._limits[key]

    async def _send_limit(self, key: EvseKey, order: LimitOrder, transaction_id: str) -> Reply:
        limit = TransactionLimit(
            key[1],
            transaction_id,
            order.limit_a,
            order.valid_until + timedelta(seconds=CLOCK_MARGIN_S),
            order.phases,
            self._site.limit_states[key].phases_in_use,
        )
        if self._points is None:
            return Reply(CommandStatus.NOT_CONNECTED)
        try:
            return await self._points.set_limit(key[0], limit)
        except Exception:
            # A charger that surprises must not end the loop that limits it.
            _logger.exception("a limit could not be sent", extra={"charger_id": key[0], "evse_id": key[1]})
            return Reply(CommandStatus.NO_ANSWER, "the service failed; its log has the reason")

    def _report(self, key: EvseKey, order: LimitOrder, reply: Reply) -> None:
        if reply.answer is CommandStatus.ACCEPTED:
            _logger.debug("limit confirmed", extra={"charger_id": key[0], "limit_a": order.limit_a})
            return
        self._site.is_dirty = True
        _logger.warning(
            "limit not confirmed",
            extra={"charger_id": key[0], "evse_id": key[1], "limit_a": order.limit_a, "answer": reply.answer},
        )

    async def _bring_stop(self, key: EvseKey, transaction_id: str) -> None:
        try:
            if self._points is not None:
                reply = await self._points.stop(key[0], transaction_id)
                where = {"charger_id": key[0], "evse_id": key[1], "answer": reply.answer}
                _logger.info("a charger was asked to end a transaction", extra=where)
        except Exception:
            _logger.exception("a transaction could not be ended", extra={"charger_id": key[0], "evse_id": key[1]})
        finally:
            del self._stops[key]

    async def _bring_start(self, key: EvseKey, id_token: str) -> None:
        try:
            if self._points is not None:
                reply = await self._points.start(key[0], key[1], id_token)
                fields = {"charger_id": key[0], "evse_id": key[1], "answer": reply.answer, "reason": reply.detail}
                is_accepted = reply.answer is CommandStatus.ACCEPTED
                level = logging.INFO if is_accepted else logging.WARNING
                _logger.log(level, "a charger was asked to begin a transaction", extra=fields)
        except Exception:
            _logger.exception("a transaction could not be begun", extra={"charger_id": key[0], "evse_id": key[1]})
        finally:
            del self._starts[key]

    async def _bring_fallback(self, key: EvseKey) -> None:
        state = self._site.limit_states[key]
        tried_a: float | None = None
        try:
            while tried_a != state.fallback_a and self._may_hold_fallback(key):
                tried_a = state.fallback_a
                reply = await self._send_fallback(key, tried_a)
                if reply.answer is CommandStatus.NOT_CONNECTED:
                    return
                state.hold(tried_a, reply)
            self._site.unsaved.add(key)
            self._site.settle_if_idle(key)
        finally:
            del self._fallbacks[key]

    def _may_hold_fallback(self, key: EvseKey) -> bool:
        return self._site.limit_states[key].holds_fallback(has_session=self._site.get_session(key) is not None)

    async def _bring_clear(self, key: EvseKey) -> None:
        state = self._site.limit_states[key]
        lingering_a = state.lingering_a
        try:
            if self._points is None:
                return
            reply = await self._points.clear_limit(*key)
            # The next car's limit has the same id, and may have been sent meanwhile.
            is_same = self._site.get_session(key) is None and state.lingering_a == lingering_a
            if reply.answer is CommandStatus.ACCEPTED and is_same:
                state.lingering_a = None
                self._site.unsaved.add(key)
        except Exception:
            _logger.exception("a limit could not be cleared", extra={"charger_id": key[0], "evse_id": key[1]})
        finally:
            del self._clears[key]

    async def _send_fallback(self, key: EvseKey, fallback_a: float) -> Reply:
        if self._points is None:
            return Reply(CommandStatus.NOT_CONNECTED)
        try:
            return await self._points.set_fallback(key[0], key[1], fallback_a)
        except Exception:
            _logger.exception("a fallback could not be sent", extra={"charger_id": key[0], "evse_id": key[1]})
            return Reply(CommandStatus.NO_ANSWER, "the service failed; its log has the reason")
