"""The ports that chargers connect to: who is let in, and over what.

Security profile 1 (plain, HTTP Basic) on one port, profile 2 (TLS, HTTP Basic) on the other.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from charger_service.ocpp.central import SUBPROTOCOLS, CentralSystem
from charger_service.ocpp.security import Passwords, identity
from charger_service.ocpp.tls import ServerCertificate
from charger_service.settings import OcppSettings
from ev_service.connections import REQUEST_TIMEOUT, Connection, ConnectionBounds, ConnectionLimits
from ev_service.errors import ConfigurationError
from ev_service.listening import Listener
from ev_service.logs import SeldomLog
from ev_service.tasks import cancel_and_wait

MOST_MESSAGE_BYTES = 1 << 20
"""Longest message [bytes]: a StopTransaction with the samples of one hour has 140 kB, and a long session has more."""
MOST_UNREAD_BYTES = 32 << 20
"""Parts of messages that all connections together may hold [bytes]; whoever passes it is closed."""
_MOST_WAITING = 2
_PING_S = 20.0
_SILENT_AFTER_S = 40.0
"""A charger that answers pings is gone when nothing has come from it for so long [s]."""
_SILENT_WITHOUT_PONG_S = 180.0
"""One that does not is gone after three of its heartbeats."""
_MESSAGE_TOO_BIG = 1009
_GONE = 1011
_CLOSE_S = 2.0
_PROTOCOL_ERROR = 1002
# Beside the registered chargers, which may all connect anew at once and from one address.
_SPARE_HANDSHAKES = 32
_SHOWN_PATH = 100

_logger = logging.getLogger(__name__)
# A port that anyone can reach logs no traceback for each scan of it.
_handshake_logger = logging.getLogger(f"{__name__}.handshakes")
_handshake_logger.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class OpenPorts:
    """The ports that are open; None: not opened."""

    plain: int
    tls: int | None


@asynccontextmanager
async def serving(
    central: CentralSystem, sha256_by_charger: Mapping[str, str], settings: OcppSettings
) -> AsyncGenerator[OpenPorts]:
    """Let chargers in for as long as this is entered.

    Args:
        central: attends them.
        sha256_by_charger: SHA-256 of each registered charger's password, hexadecimal.
        settings: ports, addresses and certificate.

    Raises:
        ConfigurationError: a hash, a port or the certificate cannot be used.
    """
    certificate = None if settings.tls_cert_file is None else ServerCertificate(settings)
    central.metrics.show_certificate(certificate)
    door = _Door(central, sha256_by_charger, settings, certificate)
    async with AsyncExitStack() as stack:
        host = "0.0.0.0" if settings.ocpp_allow_remote else "127.0.0.1"  # noqa: S104
        plain = await door.open(stack, host, settings.ocpp_port, None)
        tls = None
        if certificate is not None:
            tls = await door.open(stack, "0.0.0.0", settings.ocpp_tls_port, certificate.context)  # noqa: S104
        _logger.info("open for chargers", extra={"plain_port": plain, "tls_port": tls})
        yield OpenPorts(plain, tls)


class _UnreadBytes:
    """Parts of messages that all connections hold [bytes]."""

    def __init__(self) -> None:
        self.total = 0


class _ChargerConnection(ServerConnection):
    """A connection that counts as a handshake until the charger has proved who it is.

    It ends when nothing is heard for long, be it a message or the answer to a ping: some chargers answer no ping.
    """

    def __init__(
        self, connection: Connection, bounds: ConnectionBounds, unread: _UnreadBytes, *arguments: Any, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._connection = connection
        self._bounds = bounds
        self._unread, self._held_bytes = unread, 0
        self._heard_s = time.monotonic()
        self._has_ponged = False

    is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.peer = self
        self._connection.expect_request()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._heard_s = time.monotonic()
        super().data_received(data)
        self._count_unread(len(self.protocol.reader.buffer))
        if self._unread.total > MOST_UNREAD_BYTES and self._held_bytes:
            _logger.warning("a charger's message was given up: too much is being received at once")
            self.protocol.fail(_MESSAGE_TOO_BIG, "too much at once")
            self.send_data()
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._count_unread(0)
        self._bounds.close(self._connection)
        super().connection_lost(exc)

    async def end_when_silent(self) -> None:
        """Close the connection once nothing has been heard for too long; runs as long as the connection does."""
        while True:
            self._has_ponged = self._has_ponged or self.latency > 0
            limit_s = _SILENT_AFTER_S if self._has_ponged else _SILENT_WITHOUT_PONG_S
            left_s = self._heard_s + limit_s - time.monotonic()
            if left_s <= 0:
                _logger.info("a charger fell silent", extra={"silent_s": limit_s})
                await self.close(_GONE, "nothing was heard for too long")
                return
            await asyncio.sleep(min(left_s, _PING_S))

    def _count_unread(self, held_bytes: int) -> None:
        self._unread.total += held_bytes - self._held_bytes
        self._held_bytes = held_bytes

    def prove(self) -> None:
        """The charger is known: its connection is no longer one of those that are bounded."""
        self._bounds.close(self._connection)

    def time_out(self) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(REQUEST_TIMEOUT)
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()


class _Door:
    def __init__(
        self,
        central: CentralSystem,
        sha256_by_charger: Mapping[str, str],
        settings: OcppSettings,
        certificate: ServerCertificate | None,
    ) -> None:
        self._central = central
        self._below = settings.ocpp_path
        self._certificate = certificate
        self._unread = _UnreadBytes()
        self._refusals = SeldomLog(_logger)
        self._bounds = ConnectionBounds(_limits(settings, len(sha256_by_charger)), "ocpp")
        try:
            self._passwords = Passwords(sha256_by_charger)
        except ValueError as error:
            raise ConfigurationError(f"CHARGERS_FILE: password_sha256: {error}") from error

    async def open(self, stack: AsyncExitStack, host: str, port: int, context: ssl.SSLContext | None) -> int:
        # The bounds end a handshake that takes too long, with an answer.
        server = serve(self._attend, process_request=self._let_in, open_timeout=None, logger=_handshake_logger)

        def connect(connection: Connection) -> ServerConnection:
            if context is not None and self._certificate is not None:
                self._certificate.refresh()
            return _ChargerConnection(
                connection,
                self._bounds,
                self._unread,
                ServerProtocol(select_subprotocol=_choose, max_size=MOST_MESSAGE_BYTES, logger=_handshake_logger),
                server,
                ping_interval=_PING_S,
                # Whoever sends anything is there, whether it answers pings or not.
                ping_timeout=None,
                close_timeout=_CLOSE_S,
                max_queue=_MOST_WAITING,
            )

        try:
            listener = Listener(host, port, connect, self._bounds, context)
        except OSError as error:
            raise ConfigurationError(f"port {port} for chargers cannot be opened: {error.strerror}") from error

        async def listen() -> Any:
            await listener.start_serving()
            return listener

        # websockets would have asyncio accept whoever connects, without a bound.
        server.create_server = listen
        await stack.enter_async_context(server)
        return listener.port

    def _let_in(self, connection: ServerConnection, request: Request) -> Response | None:
        charger_id = identity(request.path, self._below)
        if charger_id is None or not self._passwords.knows(charger_id):
            return self._refuse(connection, HTTPStatus.NOT_FOUND, "unknown_charger", request.path)
        said = request.headers.get_all("Authorization")
        if not self._passwords.accepts(charger_id, said[0] if len(said) == 1 else None):
            response = self._refuse(connection, HTTPStatus.UNAUTHORIZED, "wrong_password", request.path)
            response.headers["WWW-Authenticate"] = 'Basic realm="OCPP"'
            return response
        assert isinstance(connection, _ChargerConnection)
        connection.prove()
        return None

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, reason: str, path: str) -> Response:
        self._central.metrics.refused.labels(reason).inc()
        peer: Any = connection.remote_address
        address = str(peer[0]) if peer else "unknown"
        # What follows the path may be anything, a password too.
        fields = {"address": address, "path": path.partition("?")[0][:_SHOWN_PATH], "reason": reason}
        self._refusals.warn("a charger was refused", address, fields)
        return connection.respond(status, f"{status.phrase}\n")

    async def _attend(self, connection: ServerConnection) -> None:
        charger_id = identity(connection.request.path, self._below) if connection.request is not None else None
        if connection.subprotocol is None or charger_id is None:
            # OCPP-J: the handshake is completed without a subprotocol, and then closed.
            self._central.metrics.refused.labels("no_subprotocol").inc()
            await connection.close(_PROTOCOL_ERROR, "no subprotocol in common")
            return
        assert isinstance(connection, _ChargerConnection)
        silence = asyncio.create_task(connection.end_when_silent())
        try:
            await self._central.attend(charger_id, connection)
        except Exception:
            _logger.exception("a charger's connection failed", extra={"charger_id": charger_id})
        finally:
            await cancel_and_wait(silence)


def _choose(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The newest version that the charger offers; OCPP-J has the handshake completed also where there is none."""
    return next((Subprotocol(name) for name in SUBPROTOCOLS if name in offered), None)


def _limits(settings: OcppSettings, registered: int) -> ConnectionLimits:
    per_address = settings.ocpp_handshakes_per_address or registered + _SPARE_HANDSHAKES
    if per_address <= registered:
        _logger.warning("chargers behind one address may have to wait for each other", extra={"chargers": registered})
    return ConnectionLimits(
        total=settings.ocpp_handshakes or 2 * per_address,
        per_address=per_address,
        handshake_s=settings.ocpp_handshake_s,
        header_s=settings.ocpp_handshake_s,
    )
