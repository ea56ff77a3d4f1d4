"""A charger's connection on the central system's side: tolerant validation, metrics, and replies to commands."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from ocpp.exceptions import OCPPError
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from charger_service.ocpp.metrics import OcppMetrics
from charger_service.ocpp.profiles import Conversion
from charger_service.ocpp.validation import Validator
from charger_service.ports import ChargerEvents, CommandStatus, Reply, SchemaViolation, TransactionIdAllocator
from ev_service.clock import Clock
from ev_service.logs import SeldomLog
from ev_service.ocpp_connection import (
    CallRefusedError,
    InvalidAnswerError,
    InvalidCallError,
    NotConnectedError,
    OcppCallError,
    OcppConnection,
)

_MAX_DETAIL_LENGTH = 200
_REFUSALS = {
    "notimplemented": CommandStatus.NOT_SUPPORTED,
    "notsupported": CommandStatus.NOT_SUPPORTED,
    "unsupported": CommandStatus.NOT_SUPPORTED,
    "rejected": CommandStatus.REJECTED,
    "refused": CommandStatus.REJECTED,
    "failed": CommandStatus.REJECTED,
}
"""Statuses and error codes that refuse, of any version and action, in lower case; others may mean anything."""

_logger = logging.getLogger(__name__)


class CallFailedError(Exception):
    """A charger did not do what it was asked; the reply gives the reason."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.answer)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Timing:
    """Real times of a connection [s]."""

    answer_s: float = 10.0
    """Time that a charger has for one answer."""

    heartbeat_s: int = 60
    """Interval of the heartbeats that it is asked to send."""

    meter_s: int = 10
    """Interval of its meter values while a car charges."""

    silence_s: float = 5.0
    """Time after which a charger that has sent nothing since it connected is set up."""


@dataclass(frozen=True, slots=True)
class ConnectionContext:
    """What every charge point works with."""

    events: ChargerEvents
    """Receives what chargers report."""

    numbers: TransactionIdAllocator
    """Allocates the transaction ids of OCPP 1.6."""

    clock: Clock
    """The run's clock, by which chargers set theirs."""

    metrics: OcppMetrics
    """Counts connections and messages."""

    timing: Timing
    """Real times."""

    conversions: Mapping[tuple[str, int], Conversion] = field(default_factory=dict[tuple[str, int], Conversion])
    """Conversion between amperes and watts of each EVSE, by charger and EVSE id."""

    validator: Validator = field(default_factory=Validator)
    """Validates the messages of all connections."""


class ChargerConnection(OcppConnection):
    """The connection of one charger.

    Args:
        charger_id: Its identity.
        websocket: Its WebSocket.
        context: What it works with.
    """

    def __init__(self, charger_id: str, websocket: ServerConnection, context: ConnectionContext) -> None:
        super().__init__(charger_id, websocket, context.timing.answer_s)
        self.context = context
        self.last_message_at = context.clock.now()
        self._unreadable = SeldomLog(_logger)

    async def serve(self) -> None:
        """Answer the charger until its connection ends."""
        with suppress(ConnectionClosed):
            await self.receive()

    def before_message(self) -> None:
        """Note the time of the message."""
        self.last_message_at = self.context.clock.now()

    async def parse_payload(self, message: Any, length: int) -> dict[str, Any]:
        """Validate a payload, repair small violations, and report all of them.

        Raises:
            OCPPError: The payload cannot be used.
        """
        validation = await self.context.validator.validate(message, self.version, length)
        is_refused = validation.error is not None
        for reason in validation.violations:
            self.context.metrics.offences.labels(self.version, "refused" if is_refused else "repaired").inc()
            violation = SchemaViolation(message.action, reason, is_refused)
            self.context.events.on_schema_violation(self.charger_id, violation)
        if validation.error is not None:
            raise validation.error
        return validation.arguments

    def report_answered(self) -> None:
        """Count a message that was answered."""
        self.context.metrics.messages.labels(self.version).inc()

    def report_refused(self, error: OCPPError) -> None:
        """Count a message that was refused."""
        self.context.metrics.refused_messages.labels(self.version, cast(Any, error).code).inc()

    def report_unreadable(self, error: Exception, length: int) -> None:
        """Count and log a message that is not OCPP."""
        self.context.metrics.malformed.inc()
        # The error's own text may hold the whole message, and with it the token of a driver.
        fields = {"charger_id": self.charger_id, "reason": type(error).__name__, "length": length}
        self._unreadable.warn("a message of a charger cannot be read", self.charger_id, fields)

    async def request(self, request: Any) -> Any:
        """Send a request to the charger, after those that wait already, and return the library's result.

        Args:
            request: A call of the library.

        Raises:
            CallFailedError: There is no usable result.
        """
        action = type(request).__name__
        try:
            result = await self.send_call(request)
        except OcppCallError as error:
            reply = _to_reply(error)
            self.context.metrics.asked.labels(action, reply.answer).inc()
            raise CallFailedError(reply) from error
        self.context.metrics.asked.labels(action, "answered").inc()
        return result

    async def request_optional(self, request: Any) -> Any | None:
        """Send a request that the charger may refuse; None if it does.

        Raises:
            CallFailedError: It did not answer, or is not connected.
        """
        try:
            return await self.request(request)
        except CallFailedError as failed:
            if failed.reply.answer in (CommandStatus.NO_ANSWER, CommandStatus.NOT_CONNECTED):
                raise
            return None


def _to_reply(error: OcppCallError) -> Reply:
    match error:
        case InvalidCallError():
            return Reply(CommandStatus.NOT_SUPPORTED, str(error))
        case NotConnectedError():
            return Reply(CommandStatus.NOT_CONNECTED)
        case CallRefusedError(code=code):
            return Reply(find_refusal(code) or CommandStatus.REJECTED, f"the charger says {code}")
        case InvalidAnswerError(payload=payload):
            # The refusal in an answer that breaks its schema, by its status.
            status = cast(dict[str, Any], payload).get("status") if isinstance(payload, dict) else None
            refusal = find_refusal(status) if isinstance(status, str) else None
            if refusal is not None:
                return Reply(refusal, f"the charger says {status}"[:_MAX_DETAIL_LENGTH])
        case _:
            pass
    return Reply(CommandStatus.NO_ANSWER, str(error))


def find_refusal(word: str) -> CommandStatus | None:
    """Return what a status or an error code refuses; None where it is none that clearly does.

    >>> find_refusal("NotSupported")
    <CommandStatus.NOT_SUPPORTED: 'not_supported'>
    """
    return _REFUSALS.get(word.strip().lower())
