"""The ports that chargers connect to: who is let in, and over what.

Security profile 1 (plain, HTTP Basic) on one port, profile 2 (TLS, HTTP Basic) on the other.
"""

import logging
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from charger_service.ocpp.central import SUBPROTOCOLS, CentralSystem
from charger_service.ocpp.security import Passwords, identity
from charger_service.settings import OcppSettings
from ev_service.errors import ConfigurationError

MOST_FRAME_BYTES = 64 << 10
"""Longest message [bytes]; the longest that is asked for, a charger's configuration, has a few thousand."""
_MOST_WAITING = 16
_PING_S = 20.0
_CLOSE_S = 2.0
_PROTOCOL_ERROR = 1002

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
        ConfigurationError: a hash, a port or the certificate can not be used.
    """
    door = _Door(central, sha256_by_charger)
    async with AsyncExitStack() as stack:
        host = "0.0.0.0" if settings.ocpp_allow_remote else "127.0.0.1"  # noqa: S104
        plain = await door.open(stack, host, settings.ocpp_port, None)
        tls = None
        if (context := _tls_context(settings)) is not None:
            tls = await door.open(stack, "0.0.0.0", settings.ocpp_tls_port, context)  # noqa: S104
        _logger.info("open for chargers", extra={"plain_port": plain, "tls_port": tls})
        yield OpenPorts(plain, tls)


class _Door:
    def __init__(self, central: CentralSystem, sha256_by_charger: Mapping[str, str]) -> None:
        self._central = central
        try:
            self._passwords = Passwords(sha256_by_charger)
        except ValueError as error:
            raise ConfigurationError(f"CHARGERS_FILE: password_sha256: {error}") from error

    async def open(self, stack: AsyncExitStack, host: str, port: int, context: ssl.SSLContext | None) -> int:
        listening = serve(
            self._attend,
            host,
            port,
            ssl=context,
            process_request=self._let_in,
            select_subprotocol=_chosen,
            compression=None,
            max_size=MOST_FRAME_BYTES,
            max_queue=_MOST_WAITING,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            close_timeout=_CLOSE_S,
            logger=_handshake_logger,
        )
        try:
            server: Server = await stack.enter_async_context(listening)
        except OSError as error:
            raise ConfigurationError(f"port {port} for chargers cannot be opened: {error.strerror}") from error
        return int(next(iter(server.sockets)).getsockname()[1])

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


def _chosen(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The newest version that the charger offers; OCPP-J has the handshake completed also where there is none."""
    return next((Subprotocol(name) for name in SUBPROTOCOLS if name in offered), None)


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
