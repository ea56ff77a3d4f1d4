"""One connection with a charger: messages in, answers out, one question at a time.

Knows nothing of what is asked. Nothing that a charger sends ends more than its own connection.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, ClassVar, TypeVar, cast
from uuid import uuid4

from ocpp import charge_point as library
from ocpp import messages, routing
from ocpp.exceptions import OCPPError
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from charger_service.ocpp.metrics import OcppMetrics
from charger_service.ocpp.profiles import Conversion
from charger_service.ocpp.validation import Validator
from charger_service.ports import ChargerEvents, CommandStatus, Reply, SchemaViolation, TransactionIdAllocator
from ev_service.clock import Clock
from ev_service.logs import SeldomLog

_UNIQUE_ID = re.compile(r'\s*\[\s*2\s*,\s*"([^"\\]{1,36})"')
"""Type and unique id of a call, which can often be read where the rest of the message cannot."""
_CAUSE_LENGTH = 200
_REFUSALS = {
    "notimplemented": CommandStatus.NOT_SUPPORTED,
    "notsupported": CommandStatus.NOT_SUPPORTED,
    "unsupported": CommandStatus.NOT_SUPPORTED,
    "rejected": CommandStatus.REJECTED,
    "refused": CommandStatus.REJECTED,
    "failed": CommandStatus.REJECTED,
}
"""Statuses and error codes that refuse, of any version and action, in lower case; others may mean anything."""

# The library hands each message that is sent to a thread for validating, which takes longer than validating it.
messages.ASYNC_VALIDATION = False

_logger = logging.getLogger(__name__)
_Handler = TypeVar("_Handler", bound=Callable[..., Any])
# The library has no types.
_messages, _library = cast(Any, messages), cast(Any, library)


def _without_payload(record: logging.LogRecord) -> bool:
    record.msg, record.args = "a message of a charger could not be handled", ()
    return True


# The library logs whole messages, with the tokens of drivers in them.
_library_logger = logging.getLogger(f"{__name__}.library")
_library_logger.setLevel(logging.ERROR)
_library_logger.addFilter(_without_payload)


class CallFailedError(Exception):
    """A charger did not do what it was asked; the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.answer)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take, in real time [s].

    answer_s: a charger's time for one answer. heartbeat_s: how often it says that it lives. meter_s: how often it
    sends meter values while a car charges. silence_s: when to set up a charger that says nothing after connecting.
    """

    answer_s: float = 10.0
    heartbeat_s: int = 60
    meter_s: int = 10
    silence_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ConnectionContext:
    """What every charge point works with.

    conversions: what turns amperes into watts at each EVSE, by its charger and number.
    """

    events: ChargerEvents
    numbers: TransactionIdAllocator
    clock: Clock
    metrics: OcppMetrics
    timing: Timing
    conversions: Mapping[tuple[str, int], Conversion] = field(default_factory=dict[tuple[str, int], Conversion])
    validator: Validator = field(default_factory=Validator)


@dataclass(frozen=True, slots=True)
class _PendingCall:
    """The answer that is waited for. answer: arguments of the library's result; None: the connection is gone."""

    unique_id: str
    action: str
    answer: asyncio.Future[dict[str, Any] | None]


def handles(action: str) -> Callable[[_Handler], _Handler]:
    """Mark a method as the one that answers an action of the charger."""
    return cast(Callable[[_Handler], _Handler], cast(Any, routing).on(action))


class OcppConnection(library.ChargePoint):
    """What is said over one connection.

    Args:
        charger_id: its identity.
        connection: its WebSocket.
        around: what it works with.
    """

    version: ClassVar[str]

    def __init__(self, charger_id: str, connection: ServerConnection, around: ConnectionContext) -> None:
        _library.ChargePoint.__init__(self, charger_id, connection, logger=_library_logger)
        self.charger_id = charger_id
        self.around = around
        self.heard_at = around.clock.now()
        self.is_closed = False
        self._websocket = connection
        self._turn = asyncio.Lock()
        # A question that an answer's handling gave rise to follows the answer: a charger of 1.6 learns from it the
        # number of the transaction that is then limited.
        self._mouth = asyncio.Lock()
        self._awaited: _PendingCall | None = None
        self._unreadable = SeldomLog(_logger)

    async def serve(self) -> None:
        """Answer the charger until its connection ends."""
        clock, websocket = self.around.clock, self._websocket
        try:
            while not self.is_closed:
                raw = await websocket.recv()
                self.heard_at = clock.now()
                if not self.is_closed:
                    await self.route_message(raw)
                    self.after_message()
        except ConnectionClosed:
            pass
        finally:
            self.close_silently()

    def after_message(self) -> None:
        """What there is to do after each message, once it is answered."""

    def close_silently(self) -> None:
        """Say nothing more and hear nothing more; whatever waits for an answer learns that there will be none."""
        self.is_closed = True
        if self._awaited is not None and not self._awaited.answer.done():
            self._awaited.answer.set_result(None)

    async def close(self, code: int, reason: str) -> None:
        """Hang up and close the connection."""
        self.close_silently()
        await self._websocket.close(code, reason)

    async def route_message(self, raw_msg: str | bytes) -> None:
        """Answer one message, or take it for the answer that is waited for."""
        try:
            message: Any = _messages.unpack(raw_msg)
            is_call = isinstance(message, messages.Call)
            if not isinstance(message.unique_id, str) or (is_call and not isinstance(cast(Any, message).action, str)):
                raise ValueError("unique id and action are texts")
            if is_call:
                await self._answer(message, len(raw_msg))
                return
        except (OCPPError, ValueError, RecursionError) as error:
            await self._refuse_unreadable(raw_msg, error)
            return
        # A late answer is dropped: whoever asked was told that there was none.
        if self._awaited is not None and self._awaited.unique_id == message.unique_id:
            await self._take_answer(message, self._awaited, len(raw_msg))
            # Whoever asked learns it before what the charger says next, which may follow from it.
            await asyncio.sleep(0)

    async def ask(self, request: Any) -> Any:
        """Ask the charger something, after everything that was asked before.

        Args:
            request: a call of the library.

        Returns:
            The library's result.

        Raises:
            CallFailedError: it did not answer in time, or with an error, or the connection is gone.
        """
        action = type(request).__name__
        try:
            payload = _library.remove_nones(_library.serialize_as_dict(request))
            call = _messages.Call(str(uuid4()), action, _library.snake_to_camel_case(payload))
            await self._demand_sayable(call)
            async with self._turn:
                answer = await self._exchange(call)
            result = self._result(answer, action)
        except CallFailedError as failed:
            self.around.metrics.asked.labels(action, failed.reply.answer).inc()
            raise
        self.around.metrics.asked.labels(action, "answered").inc()
        return result

    async def attempt(self, request: Any) -> Any | None:
        """Ask something that the charger may refuse; None then.

        Raises:
            CallFailedError: it did not answer, or is gone.
        """
        try:
            return await self.ask(request)
        except CallFailedError as failed:
            if failed.reply.answer in (CommandStatus.NO_ANSWER, CommandStatus.NOT_CONNECTED):
                raise
            return None

    async def _answer(self, call: Any, length: int) -> None:
        try:
            async with self._mouth:
                await self._handle(call, length)
            self.around.metrics.messages.labels(self.version).inc()
        except OCPPError as error:
            await self._refuse(call, error)

    async def _handle(self, call: Any, length: int) -> None:
        """Do what a message is about, and answer it; its schema is checked before anything is done.

        Raises:
            OCPPError: it is not answered yet, as it cannot be understood.
        """
        handler = cast(Any, self).route_map.get(call.action, {}).get("_on_action")
        if handler is None:
            _library._raise_key_error(call.action, self.version)
            return
        arguments = await self._understand(call, length)
        try:
            response = handler(**arguments)
            if isawaitable(response):
                response = await response
        except Exception as error:
            _library_logger.exception("a handler failed")
            await self._websocket.send(call.create_call_error(error).to_json())
            return
        payload = _library.remove_nones(_library.serialize_as_dict(response))
        answer = call.create_call_result(_library.snake_to_camel_case(payload))
        await _messages.validate_payload(answer, self.version)
        await self._websocket.send(answer.to_json())

    async def _understand(self, message: Any, length: int) -> dict[str, Any]:
        """What a message says, and what is clear in one that breaks its schema.

        Raises:
            OCPPError: it cannot be understood.
        """
        validation = await self.around.validator.validate(message, self.version, length)
        if validation.violations:
            self._offend(message.action, validation.violations, is_refused=validation.error is not None)
        if validation.error is not None:
            raise validation.error
        return validation.arguments

    def _offend(self, action: str, reasons: tuple[str, ...], *, is_refused: bool) -> None:
        for reason in reasons:
            self.around.metrics.offences.labels(self.version, "refused" if is_refused else "repaired").inc()
            self.around.events.on_schema_violation(self.charger_id, SchemaViolation(action, reason, is_refused))

    async def _refuse(self, call: Any, error: Any) -> None:
        self.around.metrics.refused_messages.labels(self.version, error.code).inc()
        cause = str(error.details.get("cause", ""))[:_CAUSE_LENGTH]
        refusal = _messages.CallError(call.unique_id, error.code, error.description, {"cause": cause})
        await self._websocket.send(refusal.to_json())

    async def _refuse_unreadable(self, raw_msg: str | bytes, error: Exception) -> None:
        """Answer what cannot be read by an error, where at least the call's id can; the connection stays."""
        self.around.metrics.malformed.inc()
        # The error's own text may hold the whole message, and with it the token of a driver.
        reason = {"charger_id": self.charger_id, "reason": type(error).__name__, "length": len(raw_msg)}
        self._unreadable.warn("a message of a charger cannot be read", self.charger_id, reason)
        found = _UNIQUE_ID.match(raw_msg) if isinstance(raw_msg, str) else None
        if found is not None:
            # OCPP-J 1.6, 4.2.3, and 2.0.1 part 4, 4.3: the same error has two names.
            code = "FormationViolation" if self.version == "1.6" else "FormatViolation"
            refusal = _messages.CallError(found[1], code, "the message cannot be read", {})
            await self._websocket.send(refusal.to_json())

    async def _demand_sayable(self, call: Any) -> None:
        try:
            await _messages.validate_payload(call, self.version)
        except OCPPError:
            raise CallFailedError(Reply(CommandStatus.NOT_SUPPORTED, f"OCPP {self.version} can not say that")) from None

    async def _take_answer(self, message: Any, awaited: _PendingCall, length: int) -> None:
        """Hand an answer to whoever waits for it; it is validated here, so that nothing overtakes a long one."""
        answer, reply = None, None
        if isinstance(message, messages.CallError):
            code = str(cast(Any, message).error_code)[:_CAUSE_LENGTH]
            reply = Reply(find_refusal(code) or CommandStatus.REJECTED, f"the charger says {code}")
        else:
            message.action = awaited.action
            try:
                answer = await self._understand(message, length)
            except (OCPPError, RecursionError):
                reply = _refusal_in(message.payload) or Reply(CommandStatus.NO_ANSWER, "the answer is not OCPP")
        if awaited.answer.done():
            return
        if reply is None:
            awaited.answer.set_result(answer)
        else:
            awaited.answer.set_exception(CallFailedError(reply))

    async def _exchange(self, call: Any) -> dict[str, Any]:
        if self.is_closed:
            raise CallFailedError(Reply(CommandStatus.NOT_CONNECTED))
        awaited = _PendingCall(call.unique_id, call.action, asyncio.get_running_loop().create_future())
        self._awaited = awaited
        answer_s = self.around.timing.answer_s
        try:
            async with asyncio.timeout(answer_s):
                async with self._mouth:
                    await self._websocket.send(call.to_json())
                answer = await awaited.answer
        except TimeoutError:
            raise CallFailedError(Reply(CommandStatus.NO_ANSWER, f"no answer within {answer_s:g} s")) from None
        except ConnectionClosed:
            answer = None
        finally:
            self._awaited = None
        if answer is None:
            raise CallFailedError(Reply(CommandStatus.NO_ANSWER, "the connection ended before the answer"))
        return answer

    def _result(self, answer: dict[str, Any], action: str) -> Any:
        try:
            return getattr(cast(Any, self)._call_result, action)(**answer)
        except TypeError:
            raise CallFailedError(Reply(CommandStatus.NO_ANSWER, "the answer is not OCPP")) from None


def find_refusal(word: str) -> CommandStatus | None:
    """Return what a status or an error code refuses; None where it is none that clearly does.

    >>> find_refusal("NotSupported")
    <CommandStatus.NOT_SUPPORTED: 'not_supported'>
    """
    return _REFUSALS.get(word.strip().lower())


def _refusal_in(payload: Any) -> Reply | None:
    """The refusal in an answer that breaks its schema, by its status."""
    status = cast(dict[str, Any], payload).get("status") if isinstance(payload, dict) else None
    answer = find_refusal(status) if isinstance(status, str) else None
    return None if answer is None else Reply(answer, f"the charger says {status}"[:_CAUSE_LENGTH])
