"""Listeners of the gateway: aiohttp's protocol with limits on connections and on the time for a request."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ev_service.connections import REQUEST_TIMEOUT, Connection, ConnectionBounds, ConnectionLimits
from ev_service.listening import Listener

# Malformed requests must not fill the log with tracebacks; failures of the gateway are logged by the handlers.
_protocol_logger = logging.getLogger(f"{__name__}.protocol")
_protocol_logger.setLevel(logging.CRITICAL)

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class BoundedProtocol(web.RequestHandler):
    """Protocol of one connection, which reports its progress to the connection limits."""

    __slots__ = ("_bounds", "_has_unread_body", "_request", "connection")

    def __init__(self, server: web.Server, connection: Connection, bounds: ConnectionBounds, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self.connection = connection
        self._bounds = bounds
        self._request: web.BaseRequest | None = None
        self._has_unread_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection after the TLS handshake."""
        self.connection.peer = self
        self.connection.expect_request()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the connection."""
        self._bounds.close(self.connection)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Report and process received data."""
        self.connection.receive()
        super().data_received(data)

    def pause_writing(self) -> None:
        """Report that the client does not read its answer."""
        self.connection.pause_writing()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Report that the client reads again."""
        self.connection.resume_writing()
        super().resume_writing()

    def begin(self, request: web.BaseRequest) -> None:
        """Report that the head of a request is complete."""
        self._request = request
        self._has_unread_body = False
        self.connection.begin_request()

    def end(self) -> None:
        """Report that a request is answered, possibly before its body was received."""
        self._has_unread_body = self._request is not None and not self._request.content.is_eof()
        self._request = None
        self.connection.end_request()

    @property
    def is_busy(self) -> bool:
        """Whether a completely received request is being answered."""
        return self._request is not None and self._request.content.is_eof()

    def time_out(self) -> None:
        """Answer 408 if a request is incomplete and unanswered, then close the connection."""
        if self.transport is None or self.transport.is_closing():
            return
        if self.connection.is_receiving and not self._has_unread_body:
            self.transport.write(REQUEST_TIMEOUT)
        self.transport.close()

    def abort(self) -> None:
        """Close the connection immediately."""
        if self.transport is not None:
            self.transport.abort()


def prove_connection(request: web.BaseRequest) -> None:
    """Mark the connection of an authenticated caller: it is closed last if there are too many connections."""
    if isinstance(request.protocol, BoundedProtocol):
        request.protocol.connection.is_proven = True


async def delay_response(request: web.BaseRequest, delay_s: float) -> None:
    """Delay an answer; the connection may meanwhile be closed in favour of another one.

    Args:
        request: The answered request.
        delay_s: The delay [s].
    """
    protocol = request.protocol
    if isinstance(protocol, BoundedProtocol):
        protocol.connection.is_queued = True
    try:
        await asyncio.sleep(delay_s)
    finally:
        if isinstance(protocol, BoundedProtocol):
            protocol.connection.is_queued = False


async def listen(
    server: web.Server, address: tuple[str, int], limits: ConnectionLimits, tls: ssl.SSLContext | None, **options: Any
) -> Listener:
    """Listen on one port with its own connection limits.

    Args:
        server: Server that answers the requests.
        address: IP address and port.
        limits: Connection limits and timeouts.
        tls: TLS context, None for a plain port.
        options: Options of aiohttp's protocol.

    Raises:
        OSError: The port cannot be listened on.
    """
    bounds = ConnectionBounds(limits, f"port {address[1]}")

    def connect(connection: Connection) -> asyncio.Protocol:
        options.update(access_log=None, keepalive_timeout=limits.idle_s, logger=_protocol_logger)
        return BoundedProtocol(server, connection, bounds, **options)

    listener = Listener(*address, connect, bounds, tls)
    await listener.start_serving()
    return listener


def track_requests(handler: Handler) -> Handler:
    """Wrap a handler so that the connection knows when a request begins and ends."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        protocol = request.protocol
        assert isinstance(protocol, BoundedProtocol)
        protocol.begin(request)
        try:
            return await handler(request)
        finally:
            protocol.end()

    return answer
