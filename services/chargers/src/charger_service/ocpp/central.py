"""The central system: which chargers are connected, and what they are asked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from websockets.asyncio.server import ServerConnection

from charger_service.ocpp import profiles
from charger_service.ocpp.charge_point import ChargePoint
from charger_service.ocpp.connection import CallFailedError, ConnectionContext, Timing
from charger_service.ocpp.limit_methods import LimitMethods
from charger_service.ocpp.metrics import OcppMetrics
from charger_service.ocpp.profiles import Conversion
from charger_service.ocpp.v16 import ChargePoint16
from charger_service.ocpp.v201 import ChargePoint201
from charger_service.ports import (
    ChargerEvents,
    CommandStatus,
    KnownMethod,
    Reply,
    TransactionIdAllocator,
    TransactionLimit,
)
from ev_service.clock import Clock

SUBPROTOCOLS: dict[str, type[ChargePoint]] = {"ocpp2.0.1": ChargePoint201, "ocpp1.6": ChargePoint16}
"""What is spoken, the newest first."""
_POLICY_VIOLATION = 1008

_logger = logging.getLogger(__name__)


class CentralSystem:
    """The chargers that are connected; what is asked of them is `charger_service.ports.ChargePoints`.

    Args:
        evses: EVSEs of each registered charger, by identity.
        events: told what chargers say.
        numbers: gives transactions of OCPP 1.6 their ids.
        clock: the run's clock, by which chargers set theirs.
        metrics: counts.
        timing: how long things take.
        conversions: what turns amperes into watts at each EVSE.
        known: how chargers took limits when the process ended before.
    """

    def __init__(
        self,
        evses: Mapping[str, tuple[int, ...]],
        events: ChargerEvents,
        numbers: TransactionIdAllocator,
        clock: Clock,
        metrics: OcppMetrics,
        timing: Timing | None = None,
        conversions: Mapping[tuple[str, int], Conversion] | None = None,
        known: Mapping[str, KnownMethod] | None = None,
    ) -> None:
        self.metrics = metrics
        self._evses = evses
        self._events = events
        self._context = ConnectionContext(events, numbers, clock, metrics, timing or Timing(), conversions or {})
        self._methods = {charger_id: LimitMethods((known or {}).get(charger_id)) for charger_id in evses}
        self._points: dict[str, ChargePoint] = {}
        self._last_seen: dict[str, datetime] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def attend(self, charger_id: str, connection: ServerConnection) -> None:
        """Serve one connection of a registered charger until it ends; a newer one of the same charger ends it.

        Raises:
            KeyError: the charger is not registered, or its subprotocol is not spoken.
        """
        speaks = SUBPROTOCOLS[connection.subprotocol or ""]
        methods = self._methods[charger_id]
        point = speaks(charger_id, self._evses[charger_id], connection, self._context, methods)
        former = self._points.get(charger_id)
        if former is not None:
            # Two of one identity: the older is most often a connection that broke without a word.
            self.metrics.replaced.inc()
            self._forget(former)
            self._close(former)
        self._points[charger_id] = point
        self.metrics.connected.labels(point.version).inc()
        _logger.info("charger connected", extra={"charger_id": charger_id, "ocpp_version": point.version})
        try:
            self._events.on_connect(charger_id, point.version)
            await point.serve()
        finally:
            if self._points.get(charger_id) is point:
                self._forget(point)

    def is_connected(self, charger_id: str) -> bool:
        """Whether the charger is connected now."""
        return charger_id in self._points

    def last_seen(self, charger_id: str) -> datetime | None:
        """When a message of the charger last arrived."""
        point = self._points.get(charger_id)
        return self._last_seen.get(charger_id) if point is None else point.last_message_at

    async def set_limit(self, charger_id: str, limit: TransactionLimit) -> Reply:
        """Limit a running transaction."""
        return await self._command(charger_id, lambda point: point.set_limit(limit))

    async def clear_limit(self, charger_id: str, evse_id: int) -> Reply:
        """Take the limit back."""
        return await self._command(charger_id, lambda point: point.clear_profile(profiles.limit_id(evse_id)))

    async def set_fallback(self, charger_id: str, evse_id: int, limit_a: float) -> Reply:
        """Set the EVSE's default profile."""
        return await self._command(charger_id, lambda point: point.set_fallback(evse_id, limit_a))

    async def clear_fallback(self, charger_id: str, evse_id: int) -> Reply:
        """Take the default profile away."""
        return await self._command(charger_id, lambda point: point.clear_profile(profiles.fallback_id(evse_id)))

    async def limit_in_force(self, charger_id: str, evse_id: int) -> tuple[Reply, float | None]:
        """What the charger says that it holds to now [A]."""
        said: list[float | None] = []

        async def composite(point: ChargePoint) -> Reply:
            reply, limit_a = await point.limit_in_force(evse_id)
            said.append(limit_a)
            return reply

        reply = await self._command(charger_id, composite)
        return reply, said[0] if said else None

    async def start(self, charger_id: str, evse_id: int, id_token: str) -> Reply:
        """Ask the charger to begin a transaction."""
        return await self._command(charger_id, lambda point: point.start_transaction(evse_id, id_token))

    async def stop(self, charger_id: str, transaction_id: str) -> Reply:
        """Ask the charger to end a transaction."""
        return await self._command(charger_id, lambda point: point.stop_transaction(transaction_id))

    async def ask_meter_values(self, charger_id: str, evse_id: int) -> Reply:
        """Ask for meter values now."""
        return await self._command(charger_id, lambda point: point.ask_meter_values(evse_id))

    async def reset(self, charger_id: str) -> Reply:
        """Ask the charger to start anew."""
        return await self._command(charger_id, lambda point: point.reset())

    async def _command(self, charger_id: str, command: Callable[[ChargePoint], Awaitable[Reply]]) -> Reply:
        point = self._points.get(charger_id)
        if point is None:
            return Reply(CommandStatus.NOT_CONNECTED, "the charger is not connected")
        try:
            return await command(point)
        except CallFailedError as failed:
            return failed.reply

    def _forget(self, point: ChargePoint) -> None:
        del self._points[point.charger_id]
        self._last_seen[point.charger_id] = point.last_message_at
        point.close_silently()
        self.metrics.connected.labels(point.version).dec()
        _logger.info("charger disconnected", extra={"charger_id": point.charger_id})
        self._events.on_disconnect(point.charger_id)

    def _close(self, point: ChargePoint) -> None:
        closing = asyncio.create_task(point.close(_POLICY_VIOLATION, "replaced by a newer connection"))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
