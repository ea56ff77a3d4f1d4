"""A listener of ours in both event loops: clients that begin a TLS handshake, or nothing, and one who goes on."""

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ev_service.connections import REQUEST_TIMEOUT, Connection, ConnectionBounds, ConnectionLimits
from ev_service.listening import Listener

QUICK = ConnectionLimits(total=16, per_address=8, handshake_s=0.2, header_s=0.2, idle_s=0.2)
SLOW = ConnectionLimits(total=16, per_address=8, handshake_s=30, header_s=30)


class Greeting(asyncio.Protocol):
    """Answers the first bytes with a greeting and closes."""

    is_busy = False

    def __init__(self, connection: Connection, bounds: ConnectionBounds) -> None:
        self._connection, self._bounds = connection, bounds

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._connection.peer = self
        self._connection.expect_request()

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"hello")
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounds.close(self._connection)

    def time_out(self) -> None:
        self._transport.write(REQUEST_TIMEOUT)
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    named = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = named.serial_number(1).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    usable = dated.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    folder: Path = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(usable.sign(key, SHA256()).public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=folder / "cert.pem")


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    if request.param == "uvloop":
        if sys.platform == "win32":
            pytest.skip("Windows has no uvloop")
        from uvloop import new_event_loop
    else:
        new_event_loop = asyncio.new_event_loop

    def run_in_loop(scenario: Any) -> None:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(scenario)

    return run_in_loop


class Listening:
    def __init__(self, limits: ConnectionLimits, context: ssl.SSLContext | None = None) -> None:
        self.bounds = ConnectionBounds(limits, "test")
        self.listener = Listener(
            "127.0.0.1", 0, lambda connection: Greeting(connection, self.bounds), self.bounds, context
        )
        self.silent: list[socket.socket] = []

    async def __aenter__(self) -> "Listening":
        await self.listener.start_serving()
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self.silent:
            client.close()
        self.listener.close()
        await self.listener.wait_closed()
        async with asyncio.timeout(5):
            while len(self.bounds):
                await asyncio.sleep(0.01)

    async def connect_silently(self, times: int, sent: bytes = b"") -> None:
        loop = asyncio.get_running_loop()
        for _ in range(times):
            client = socket.socket()
            client.setblocking(False)
            self.silent.append(client)
            await loop.sock_connect(client, ("127.0.0.1", self.listener.port))
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(client, sent)

    async def ask(self, context: ssl.SSLContext | None) -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.listener.port, ssl=context, server_hostname=None if context is None else "localhost"
        )
        writer.write(b"x")
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        return answer


# The first record of a ClientHello, without its rest.
HALF_HELLO = bytes.fromhex("1603010200010001fc0303")


@pytest.mark.parametrize("sent", [b"", HALF_HELLO], ids=["nothing", "half a hello"])
def test_half_handshakes_are_closed_in_time_and_leave_nothing(run: Any, tls: Any, sent: bytes) -> None:
    async def scenario() -> None:
        async with Listening(QUICK, tls[0]) as listening:
            await listening.connect_silently(4, sent)
            async with asyncio.timeout(5):
                while not len(listening.bounds):
                    await asyncio.sleep(0.005)
                while len(listening.bounds):
                    await asyncio.sleep(0.01)
            assert await listening.ask(tls[1]) == b"hello"

    run(scenario())


@pytest.mark.parametrize("is_tls", [True, False])
def test_whoever_goes_on_is_served_among_many_that_do_not(run: Any, tls: Any, is_tls: bool) -> None:
    server, client = tls if is_tls else (None, None)

    async def scenario() -> None:
        async with Listening(SLOW, server) as listening:
            await listening.connect_silently(60)
            assert await listening.ask(client) == b"hello"
            assert len(listening.bounds) <= SLOW.per_address

    run(scenario())


def test_a_plain_connection_that_sends_nothing_ends_in_time(run: Any) -> None:
    async def scenario() -> None:
        async with Listening(QUICK) as listening:
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.listener.port)
            async with asyncio.timeout(5):
                assert await reader.read() == REQUEST_TIMEOUT
            writer.close()
            await writer.wait_closed()

    run(scenario())


def test_a_listener_that_is_closed_gives_its_port_back(run: Any) -> None:
    async def scenario() -> None:
        async with Listening(SLOW) as listening:
            port = listening.listener.port
            assert (listening.listener.is_serving(), len(listening.listener.sockets)) == (True, 1)
        assert (listening.listener.is_serving(), listening.listener.sockets) == (False, ())
        socket.create_server(("127.0.0.1", port)).close()

    run(scenario())
