"""The ports that chargers connect to: who is let in, and over what.

Security profile 1 (plain, HTTP Basic) on one port, profile 2 (TLS, HTTP Basic) on the other.
"""

import asyncio
import logging
import ssl
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
from charger_service.settings import OcppSettings
from ev_service.connections import REQUEST_TIMEOUT, Connection, ConnectionBounds, ConnectionLimits
from ev_service.errors import ConfigurationError
from ev_service.listening import Listener

MOST_FRAME_BYTES = 64 << 10
"""Longest message [bytes]; the longest that is asked for, a charger's configuration, has a few thousand."""
_MOST_WAITING = 16
_PING_S = 20.0
_CLOSE_S = 2.0
_PROTOCOL_ERROR = 1002
# Beside the registered chargers, which may all connect anew at once and from one address.
_SPARE_HANDSHAKES = 32

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
    door = _Door(central, sha256_by_charger, settings)
    async with AsyncExitStack() as stack:
        host = "0.0.0.0" if settings.ocpp_allow_remote else "127.0.0.1"  # noqa: S104
        plain = await door.open(stack, host, settings.ocpp_port, None)
        tls = None
        if (context := _tls_context(settings)) is not None:
            tls = await door.open(stack, "0.0.0.0", settings.ocpp_tls_port, context)  # noqa: S104
        _logger.info("open for chargers", extra={"plain_port": plain, "tls_port": tls})
        yield OpenPorts(plain, tls)


class _ChargerConnection(ServerConnection):
    """A connection that counts as a handshake until the charger has proved who it is."""

    def __init__(self, connection: Connection, bounds: ConnectionBounds, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connection = connection
        self._bounds = bounds

    is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.peer = self
        self._connection.expect_request()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounds.close(self._connection)
        super().connection_lost(exc)

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
    def __init__(self, central: CentralSystem, sha256_by_charger: Mapping[str, str], settings: OcppSettings) -> None:
        self._central = central
        self._bounds = ConnectionBounds(_limits(settings, len(sha256_by_charger)), "ocpp")
        try:
            self._passwords = Passwords(sha256_by_charger)
        except ValueError as error:
            raise ConfigurationError(f"CHARGERS_FILE: password_sha256: {error}") from error

    async def open(self, stack: AsyncExitStack, host: str, port: int, context: ssl.SSLContext | None) -> int:
        # The bounds end a handshake that takes too long, with an answer.
        server = serve(self._attend, process_request=self._let_in, open_timeout=None, logger=_handshake_logger)

        def connect(connection: Connection) -> ServerConnection:
            return _ChargerConnection(
                connection,
                self._bounds,
                ServerProtocol(select_subprotocol=_choose, max_size=MOST_FRAME_BYTES, logger=_handshake_logger),
                server,
                ping_interval=_PING_S,
                ping_timeout=_PING_S,
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
        charger_id = identity(request.path)
        if charger_id is None or not self._passwords.knows(charger_id):
            return self._refuse(connection, HTTPStatus.NOT_FOUND, "unknown_charger")
        said = request.headers.get_all("Authorization")
        if not self._passwords.accepts(charger_id, said[0] if len(said) == 1 else None):
            _logger.warning("a charger's password is wrong", extra={"charger_id": charger_id})
            response = self._refuse(connection, HTTPStatus.UNAUTHORIZED, "wrong_password")
            response.headers["WWW-Authenticate"] = 'Basic realm="OCPP"'
            return response
        assert isinstance(connection, _ChargerConnection)
        connection.prove()
        return None

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, reason: str) -> Response:
        self._central.metrics.refused.labels(reason).inc()
        return connection.respond(status, f"{status.phrase}\n")

    async def _attend(self, connection: ServerConnection) -> None:
        charger_id = identity(connection.request.path) if connection.request is not None else None
        if connection.subprotocol is None or charger_id is None:
            # OCPP-J: the handshake is completed without a subprotocol, and then closed.
            self._central.metrics.refused.labels("no_subprotocol").inc()
            await connection.close(_PROTOCOL_ERROR, "no subprotocol in common")
            return
        try:
            await self._central.attend(charger_id, connection)
        except Exception:
            _logger.exception("a charger's connection failed", extra={"charger_id": charger_id})


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


def _tls_context(settings: OcppSettings) -> ssl.SSLContext | None:
    certificate, key = settings.tls_cert_file, settings.tls_key_file
    if certificate is None or key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"CHARGERS_TLS_CERT_FILE and its key cannot be used: {error}") from error
    return context
