"""A listener that counts connections when it accepts them, before a TLS handshake has cost or proved anything."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from ev_service.connections import BACKLOG, Connection, ConnectionBounds

_PAUSE_S = 0.05

ProtocolFactory = Callable[[Connection], asyncio.Protocol]
"""Makes the protocol of one connection; in `connection_made` it becomes the connection's peer."""


class Listener(asyncio.AbstractServer):
    """Accepts connections on one port within bounds; stands where asyncio's own server would.

    Args:
        host: IP address.
        port: 0 for a free one.
        factory: makes the protocol of each connection.
        bounds: how many connections, and for how long.
        tls: None for a plain port.

    Raises:
        OSError: the port cannot be listened on.
    """

    def __init__(
        self, host: str, port: int, factory: ProtocolFactory, bounds: ConnectionBounds, tls: ssl.SSLContext | None
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._socket.setblocking(False)
        self._factory = factory
        self._bounds = bounds
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._accepting: asyncio.Task[None] | None = None
        self._opening: set[asyncio.Task[None]] = set()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening socket, none once it is closed."""
        return () if self._socket.fileno() < 0 else (self._socket,)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that it serves in."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return self._accepting is not None

    async def start_serving(self) -> None:
        """Begin to accept connections."""
        if self._accepting is None:
            self._accepting = self._loop.create_task(self._accept())

    async def serve_forever(self) -> None:
        """Accept connections until this is cancelled."""
        await self.start_serving()
        assert self._accepting is not None
        await self._accepting

    def close(self) -> None:
        """Accept no more connections; those that are open stay."""
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
        for opening in self._opening:
            opening.cancel()

    async def wait_closed(self) -> None:
        """Wait until the port is free."""
        # Only now: a loop that still watches the socket must not see its descriptor given to somebody else.
        await asyncio.gather(*self._opening, return_exceptions=True)
        self._socket.close()

    async def _accept(self) -> None:
        while True:
            try:
                accepted, address = await self._loop.sock_accept(self._socket)
            except OSError:
                # No descriptor is left, or the client is gone already.
                self._bounds.make_room()
                await asyncio.sleep(_PAUSE_S)
                continue
            handshake = _Handshake(accepted)
            connection = self._bounds.open(handshake, str(address[0]))
            if connection is None:
                accepted.close()
            else:
                opening = self._loop.create_task(self._open(connection, accepted))
                self._opening.add(opening)
                opening.add_done_callback(self._opening.discard)
            # sock_accept returns at once while connections wait: whoever is connected has its turn in between.
            await asyncio.sleep(0)

    async def _open(self, connection: Connection, accepted: socket.socket) -> None:
        connection.expect_handshake()
        timeout_s = None if self._tls is None else connection.limits.handshake_s
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._factory(connection), accepted, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except BaseException as error:
            self._bounds.close(connection)
            accepted.close()
            # A failed handshake concerns the client alone.
            if not isinstance(error, OSError):
                raise


class _Handshake:
    """A connection whose protocol has not begun."""

    is_busy = False

    def __init__(self, accepted: socket.socket) -> None:
        self._accepted = accepted

    def time_out(self) -> None:
        self.abort()

    def abort(self) -> None:
        # The event loop owns the socket, and learns from this that the connection has ended.
        with contextlib.suppress(OSError):
            self._accepted.shutdown(socket.SHUT_RDWR)
