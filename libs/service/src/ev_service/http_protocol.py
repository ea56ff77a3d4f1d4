"""uvicorn's HTTP protocol with bounds: `uvicorn main:app --http ev_service.http_protocol:HttpProtocol --backlog 128`.

uvicorn itself bounds neither the time for a request's head and body, nor for reading an answer, nor the number of
connections (its `limit_concurrency` refuses whoever comes last, an operator included).
"""

import asyncio
from typing import Any, cast
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from ev_service.connections import REQUEST_TIMEOUT, Connection, ConnectionBounds, ListenerSettings
from ev_service.settings import load

_STATE_KEY = "connection"
_bounds: WeakKeyDictionary[ServerState, ConnectionBounds] = WeakKeyDictionary()


class HttpProtocol(HttpToolsProtocol):
    """One connection to a service, within the bounds of `ListenerSettings`."""

    _connection: Connection | None = None
    _is_receiving = False
    """Whether a part of a request has arrived, and not its end."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if server_state not in _bounds:
            _bounds[server_state] = ConnectionBounds(load(ListenerSettings).limits(), "http")
        self._bounds = _bounds[server_state]
        self._unanswered: list[RequestResponseCycle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._connection = self._bounds.open(self, self.client[0] if self.client else "")
        if self._connection is None:
            self.abort()
        else:
            self._connection.expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and let no request on it be answered any more."""
        if self._connection is not None:
            self._bounds.close(self._connection)
        # uvicorn knows the last request alone; with several sent at once, another is being answered.
        for cycle in self._unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        self._is_receiving = True
        if self._connection is not None:
            self._connection.receive()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Let the application reach the connection."""
        self._is_receiving = True
        super().on_message_begin()
        self.scope.setdefault("state", {})[_STATE_KEY] = self._connection

    def on_headers_complete(self) -> None:
        """The head of a request is complete."""
        if self._connection is not None:
            self._connection.begin_request()
        super().on_headers_complete()
        self._unanswered.append(self.cycle)

    def on_message_complete(self) -> None:
        """The body of a request is complete, perhaps after its answer."""
        self._is_receiving = False
        super().on_message_complete()
        self._end_request()

    def on_response_complete(self) -> None:
        """An answer is written."""
        self._unanswered = [cycle for cycle in self._unanswered if not cycle.response_complete]
        super().on_response_complete()
        self._end_request()

    def pause_writing(self) -> None:
        """The client does not read its answer."""
        if self._connection is not None:
            self._connection.pause_writing()
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client reads on."""
        if self._connection is not None:
            self._connection.resume_writing()
        super().resume_writing()

    @property
    def is_busy(self) -> bool:
        """Whether a whole request is being answered."""
        cycle = self._last_cycle
        return not self._is_receiving and cycle is not None and not cycle.response_complete

    def time_out(self) -> None:
        """Answer 408 to a request that does not arrive; close a connection on which none has begun."""
        if self.transport.is_closing():
            return
        cycle = self._last_cycle
        is_answering = cycle is not None and cycle.response_started and not cycle.response_complete
        if self._is_receiving and not is_answering:
            self.transport.write(REQUEST_TIMEOUT)
        self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    def _should_upgrade_to_ws(self) -> bool:
        # None of the services speaks WebSocket here, and a connection handed on would leave the bounds.
        return False

    @property
    def _last_cycle(self) -> RequestResponseCycle | None:
        # None before the first request, which uvicorn's own annotation leaves out.
        return self.cycle

    def _end_request(self) -> None:
        if self._connection is not None and self.cycle.response_complete and not self._is_receiving:
            self._connection.end_request()


class UnprovenQueue:
    """ASGI middleware that begins one request of an unproven caller in each pass of the event loop.

    Without it, a pass serves every connection that has a request ready. Somebody with many connections then takes
    nearly all of the time, and a caller with a right to be here, whose request needs several passes, waits for all of
    the others in each of them.

    Args:
        app: the application behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, at once where its connection is proven."""
        connection = _connection_of(scope)
        if scope["type"] == "http" and (connection is None or not connection.is_proven):
            await self._wait(connection)
        await self._app(scope, receive, send)

    async def _wait(self, connection: Connection | None) -> None:
        if connection is not None:
            connection.is_queued = True
        try:
            async with self._turn:
                await asyncio.sleep(0)
        finally:
            if connection is not None:
                connection.is_queued = False


def prove_connection(request: Request) -> None:
    """Note that the caller has shown a right to be here: they do not queue, and are closed last."""
    connection = _connection_of(request.scope)
    if connection is not None:
        connection.is_proven = True


def _connection_of(scope: Scope) -> Connection | None:
    return scope.get("state", {}).get(_STATE_KEY)
