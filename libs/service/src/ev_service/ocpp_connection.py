"""One OCPP-J connection, from either side: CALLs are answered in order, and one call at a time is sent.

The charger service and the site twin subclass it; what only one of them needs overrides the methods that are named so.
Needs the extra `ocpp`.

Source: OCPP-J 1.6; OCPP 2.0.1 edition 3, part 4.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from inspect import isawaitable
from typing import Any, ClassVar, TypeVar, cast
from uuid import uuid4

from ocpp import charge_point as library
from ocpp import messages, routing
from ocpp.exceptions import NotImplementedError as ActionNotImplementedError
from ocpp.exceptions import NotSupportedError, OCPPError
from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed

_UNIQUE_ID = re.compile(r'\s*\[\s*2\s*,\s*"([^"\\]{1,36})"')
"""Message type and unique id of a CALL, which can often be read where the rest of the message cannot."""
_MAX_CAUSE_LENGTH = 200

# The library validates each message that is sent in a thread, which takes longer than the validation itself.
messages.ASYNC_VALIDATION = False

_logger = logging.getLogger(__name__)
_Handler = TypeVar("_Handler", bound=Callable[..., Any])
# The library has no types.
_messages, _library = cast(Any, messages), cast(Any, library)


class OcppCallError(Exception):
    """A call has no usable result; the message gives the reason."""


class InvalidCallError(OcppCallError):
    """The request breaks the schema of the connection's OCPP version; nothing was sent."""


class NotConnectedError(OcppCallError):
    """The connection had ended before the request was sent."""


class NoAnswerError(OcppCallError):
    """The request was sent, and no answer arrived in time or before the connection ended."""


class CallRefusedError(OcppCallError):
    """The other side answered with a CALLERROR."""

    def __init__(self, code: str) -> None:
        super().__init__(f"refused with {code}")
        self.code = code
        """Error code of the CALLERROR, shortened."""


class InvalidAnswerError(OcppCallError):
    """The answer breaks the schema."""

    def __init__(self, payload: Any) -> None:
        super().__init__("the answer is not OCPP")
        self.payload = payload
        """The answer's payload, not validated."""


@dataclass(frozen=True, slots=True)
class _PendingCall:
    unique_id: str
    action: str
    answer: asyncio.Future[dict[str, Any] | None]
    """Arguments of the library's result; None: the connection ended."""


def handles(action: str) -> Callable[[_Handler], _Handler]:
    """Mark a method as the one that answers an action of the other side."""
    return cast(Callable[[_Handler], _Handler], cast(Any, routing).on(action))


class OcppConnection(library.ChargePoint):
    """One connection between a central system and a charge point.

    Args:
        charger_id: Identity of the charge point.
        websocket: The open WebSocket.
        answer_s: Time that the other side has for an answer [s].
    """

    version: ClassVar[str]
    """OCPP version, 1.6 or 2.0.1."""

    results: ClassVar[Any]
    """The library's module of results of this version, such as `ocpp.v16.call_result`."""

    def __init__(self, charger_id: str, websocket: Connection, answer_s: float) -> None:
        _library.ChargePoint.__init__(self, charger_id, websocket)
        self.charger_id = charger_id
        self.is_closed = False
        self._websocket = websocket
        self._answer_s = answer_s
        self._one_call = asyncio.Lock()
        # A call that the handling of a message causes follows the answer to that message: a charger of 1.6 learns from
        # the answer the number of the transaction that is then limited.
        self._sending = asyncio.Lock()
        self._pending: _PendingCall | None = None

    async def receive(self) -> None:
        """Handle messages until the connection ends.

        Raises:
            ConnectionClosed: The connection ended, and not by `close`.
        """
        try:
            while not self.is_closed:
                raw_message = await self._websocket.recv()
                self.before_message()
                if not self.is_closed:
                    await self.route_message(raw_message)
                    self.after_message()
        finally:
            self.close_silently()

    def before_message(self) -> None:
        """Called when a message has arrived, before it is handled."""

    def after_message(self) -> None:
        """Called when a message has been handled and answered."""

    def close_silently(self) -> None:
        """Stop sending and handling messages, and end the pending call; the WebSocket stays open."""
        self.is_closed = True
        if self._pending is not None and not self._pending.answer.done():
            self._pending.answer.set_result(None)

    async def close(self, code: int, reason: str) -> None:
        """Close the connection with a WebSocket close code and its reason."""
        self.close_silently()
        await self._websocket.close(code, reason)

    async def route_message(self, raw_msg: str | bytes) -> None:
        """Answer a CALL, or pass a CALLRESULT or CALLERROR to the pending call."""
        try:
            message: Any = _messages.unpack(raw_msg)
            is_call = isinstance(message, messages.Call)
            if not isinstance(message.unique_id, str) or (is_call and not isinstance(cast(Any, message).action, str)):
                raise ValueError("unique id and action must be strings")
            if is_call:
                await self.handle_call(message, len(raw_msg))
                return
        except (OCPPError, ValueError, RecursionError) as error:
            await self._refuse_unreadable(raw_msg, error)
            return
        # A late answer is dropped: its caller was told that there is none.
        if self._pending is not None and self._pending.unique_id == message.unique_id:
            await self._resolve_pending(message, self._pending, len(raw_msg))
            # The caller continues before the next message is handled, which may depend on it.
            await asyncio.sleep(0)

    async def handle_call(self, call: Any, length: int) -> None:
        """Run the handler of a CALL and send its result, or a CALLERROR where the CALL cannot be understood.

        Args:
            call: A call of the library.
            length: Length of the message as it arrived [bytes or characters].
        """
        try:
            async with self._sending:
                handler, arguments = self.find_handler(call.action), await self.parse_payload(call, length)
                await self._send_result(call, handler, arguments)
        except OCPPError as error:
            self.report_refused(error)
            cause = str(cast(Any, error).details.get("cause", ""))[:_MAX_CAUSE_LENGTH]
            await self._send_error(
                call.unique_id, cast(Any, error).code, cast(Any, error).description, {"cause": cause}
            )
        else:
            self.report_answered()

    def find_handler(self, action: str) -> Callable[..., Any]:
        """Return the handler of an action.

        Raises:
            OCPPError: There is none.
        """
        handler = cast(Any, self).route_map.get(action, {}).get("_on_action")
        if handler is not None:
            return handler
        is_known = is_dataclass(getattr(self.results, action, None))
        error = ActionNotImplementedError if is_known else NotSupportedError
        raise cast(Any, error)(details={"cause": f"no handler for {action[:_MAX_CAUSE_LENGTH]}"})

    async def parse_payload(self, message: Any, length: int) -> dict[str, Any]:
        """Validate a payload and return its fields, keys in snake case.

        Args:
            message: A call of the library, or a result whose action is set.
            length: Length of the message as it arrived [bytes or characters].

        Raises:
            OCPPError: The payload breaks the schema.
        """
        await _messages.validate_payload(message, self.version)
        return _library.camel_to_snake_case(message.payload)

    def report_answered(self) -> None:
        """Called when a CALL has been answered."""

    def report_refused(self, error: OCPPError) -> None:
        """Called when a CALL is answered with a CALLERROR because it could not be understood."""

    def report_unreadable(self, error: Exception, length: int) -> None:
        """Called for a message that is not OCPP; `length` is in bytes or characters."""
        fields = {"charger_id": self.charger_id, "reason": type(error).__name__, "length": length}
        _logger.warning("an OCPP message cannot be read", extra=fields)

    async def send_call(self, request: Any) -> Any:
        """Send a request after those that wait already, and return the library's result.

        Args:
            request: A call of the library, such as `ocpp.v16.call.Reset`.

        Raises:
            OcppCallError: There is no usable result; its class says why.
        """
        action = type(request).__name__
        call = _messages.Call(str(uuid4()), action, _to_payload(request))
        try:
            await _messages.validate_payload(call, self.version)
        except OCPPError:
            raise InvalidCallError(f"OCPP {self.version} cannot express that") from None
        async with self._one_call:
            answer = await self._exchange(call)
        try:
            return getattr(self.results, action)(**answer)
        except TypeError:
            raise InvalidAnswerError(answer) from None

    async def _exchange(self, call: Any) -> dict[str, Any]:
        if self.is_closed:
            raise NotConnectedError("not connected")
        pending = _PendingCall(call.unique_id, call.action, asyncio.get_running_loop().create_future())
        self._pending = pending
        try:
            async with asyncio.timeout(self._answer_s):
                async with self._sending:
                    await self._websocket.send(call.to_json())
                answer = await pending.answer
        except TimeoutError:
            raise NoAnswerError(f"no answer within {self._answer_s:g} s") from None
        except ConnectionClosed:
            answer = None
        finally:
            self._pending = None
        if answer is None:
            raise NoAnswerError("the connection ended before the answer")
        return answer

    async def _resolve_pending(self, message: Any, pending: _PendingCall, length: int) -> None:
        """Pass an answer to its caller; it is validated here, so that no later message overtakes a long one."""
        answer, error = None, None
        if isinstance(message, messages.CallError):
            error = CallRefusedError(str(cast(Any, message).error_code)[:_MAX_CAUSE_LENGTH])
        else:
            message.action = pending.action
            try:
                answer = await self.parse_payload(message, length)
            except (OCPPError, RecursionError):
                error = InvalidAnswerError(message.payload)
        if pending.answer.done():
            return
        if error is None:
            pending.answer.set_result(answer)
        else:
            pending.answer.set_exception(error)

    async def _send_result(self, call: Any, handler: Callable[..., Any], arguments: dict[str, Any]) -> None:
        """Run the handler and send its result, or InternalError where it fails.

        Raises:
            OCPPError: The result breaks the schema.
        """
        try:
            response = handler(**arguments)
            if isawaitable(response):
                response = await response
        except Exception as error:
            # Without the message: it may hold a driver's token.
            _logger.exception("an OCPP message could not be handled", extra={"charger_id": self.charger_id})
            await self._websocket.send(call.create_call_error(error).to_json())
            return
        answer = call.create_call_result(_to_payload(response))
        await _messages.validate_payload(answer, self.version)
        await self._websocket.send(answer.to_json())

    async def _refuse_unreadable(self, raw_message: str | bytes, error: Exception) -> None:
        """Send a CALLERROR for what cannot be read, if at least the unique id can; the connection stays."""
        self.report_unreadable(error, len(raw_message))
        found = _UNIQUE_ID.match(raw_message) if isinstance(raw_message, str) else None
        if found is not None:
            # OCPP-J 1.6, 4.2.3, and 2.0.1 part 4, 4.3: the same error has two names.
            code = "FormationViolation" if self.version == "1.6" else "FormatViolation"
            await self._send_error(found[1], code, "the message cannot be read", {})

    async def _send_error(self, unique_id: str, code: str, description: str, details: dict[str, Any]) -> None:
        await self._websocket.send(_messages.CallError(unique_id, code, description, details).to_json())


def _to_payload(content: Any) -> Any:
    return _library.snake_to_camel_case(_library.remove_nones(_library.serialize_as_dict(content)))
