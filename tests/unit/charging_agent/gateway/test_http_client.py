"""Requests that nobody waits for any more: they end by themselves and keep neither a place in the pool nor a socket."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from charging_agent.gateway.http_client import GatewayTransport, RequestRunner
from ev_service.certificates import Server, make_servers
from ev_service.key_files import pem, write_pair
from ev_service.trust import Authorities

pytestmark = pytest.mark.anyio

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Site:
    """Certificates of two authorities in a folder, and whom the client trusts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self.pems: dict[str, bytes] = {}
        for name in ("first", "second"):
            authority, (pair,) = make_servers(name, [Server("localhost", ["localhost"])], datetime.now(UTC))
            write_pair(folder, name, pair)
            self.pems[name] = pem(authority)
        self.trust("first")

    def trust(self, *names: str) -> None:
        self.ca_file.write_bytes(b"".join(self.pems[name] for name in names))

    def tls(self, name: str = "first") -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}-key.pem")
        return context

    @asynccontextmanager
    async def client(self, port: int) -> AsyncGenerator[tuple[httpx.AsyncClient, GatewayTransport]]:
        transport = GatewayTransport(Authorities(self.ca_file, "WSO2_CA_FILE"))
        async with httpx.AsyncClient(base_url=f"https://localhost:{port}", transport=transport) as http:
            yield http, transport


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(certificates: Site) -> Site:
    certificates.trust("first")
    return certificates


@asynccontextmanager
async def listening(behave: Behaviour, tls: ssl.SSLContext | None) -> AsyncGenerator[int]:
    """Behave so on every connection; the port is a free one on loopback."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        handlers.add(current)
        current.add_done_callback(handlers.discard)
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await behave(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=512)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(_OK)
        await writer.drain()


async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def trickle_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        writer.write(b"y")
        await writer.drain()
        await asyncio.sleep(0.005)


async def trickle_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"y")
        await writer.drain()
        await asyncio.sleep(0.005)


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def pool_of(transport: GatewayTransport) -> httpcore.AsyncConnectionPool:
    pool = transport._current._pool  # pyright: ignore[reportPrivateUsage]
    assert isinstance(pool, httpcore.AsyncConnectionPool)
    return pool


def busy(transport: GatewayTransport) -> list[str]:
    return [repr(connection) for connection in pool_of(transport).connections if not connection.is_idle()]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


async def attempt(runner: RequestRunner, http: httpx.AsyncClient, deadline_s: float, gives_up_s: float) -> str:
    """One request with its deadline, given up by a caller with a deadline of its own."""
    request = http.build_request("GET", "/", timeout=deadline_s)
    try:
        async with asyncio.timeout(gives_up_s):
            await runner.run(request, deadline_s=deadline_s, max_bytes=100)
    except (httpx.HTTPError, TimeoutError) as error:
        return type(error).__name__
    return "answer"


# More than 2,000 handshakes, both ends in one process.
@pytest.mark.timeout(240)
async def test_2000_attempts_cut_off_around_their_handshake_keep_no_place_and_no_descriptor(site: Site) -> None:
    async with listening(answer, site.tls()) as port, site.client(port) as (http, transport):
        runner = RequestRunner(http)
        # The time that a handshake takes here and now: deadlines lie around it, so that many come at its end.
        started_s = asyncio.get_running_loop().time()
        assert await attempt(runner, http, 10, 10) == "answer"
        handshake_s = asyncio.get_running_loop().time() - started_s
        await pool_of(transport).aclose()
        before = descriptors()
        outcomes: dict[str, int] = {}
        for start in range(0, 2000, 10):
            shares = [0.1 + 3.0 * ((start + number) % 101) / 101 for number in range(10)]
            # Half are cut off by the request's own deadline, half by that of whoever waits for it.
            tries = [
                attempt(runner, http, handshake_s * share, 10)
                if number % 2
                else attempt(runner, http, 1, handshake_s * share)
                for number, share in enumerate(shares)
            ]
            for outcome in await asyncio.gather(*tries):
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
        await until(lambda: not runner._running)  # pyright: ignore[reportPrivateUsage]

        assert busy(transport) == []
        assert not pool_of(transport)._requests  # pyright: ignore[reportPrivateUsage]
        assert sum(count for outcome, count in outcomes.items() if outcome != "answer") > 200, outcomes
        await pool_of(transport).aclose()
        await until(lambda: descriptors() <= before)


@pytest.mark.parametrize("behaviour", ["no handshake", "no answer", "headers", "body"])
async def test_whatever_a_server_holds_up_ends_by_itself_at_the_deadline(site: Site, behaviour: str) -> None:
    behave = {"no handshake": stall, "no answer": stall, "headers": trickle_headers, "body": trickle_body}[behaviour]
    tls = None if behaviour == "no handshake" else site.tls()
    async with listening(behave, tls) as port, site.client(port) as (http, transport):
        runner = RequestRunner(http)

        assert await attempt(runner, http, 0.2, 10) in {"ConnectTimeout", "ReadTimeout"}
        assert await attempt(runner, http, 0.2, 0.05) == "TimeoutError"

        await until(lambda: not runner._running)  # pyright: ignore[reportPrivateUsage]
        assert pool_of(transport).connections == []


async def test_what_is_left_running_is_bounded(site: Site) -> None:
    async with listening(stall, None) as port, site.client(port) as (http, transport):
        runner = RequestRunner(http, max_requests=3)
        outcomes = [await attempt(runner, http, 2, 0.01) for _ in range(5)]

        assert outcomes == ["TimeoutError"] * 3 + ["PoolTimeout"] * 2
        assert len(pool_of(transport).connections) == 3
        await until(lambda: not runner._running)  # pyright: ignore[reportPrivateUsage]
        assert pool_of(transport).connections == []


async def test_a_caller_that_is_cancelled_leaves_the_request_to_its_end(site: Site) -> None:
    reached = asyncio.Event()
    released = asyncio.Event()

    async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reached.set()
        await released.wait()
        writer.write(_OK)
        await writer.drain()
        await reader.read()

    async with listening(answer_late, site.tls()) as port, site.client(port) as (http, transport):
        runner = RequestRunner(http)
        caller = asyncio.create_task(attempt(runner, http, 10, 10))
        await reached.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

        assert len(busy(transport)) == 1
        released.set()
        await until(lambda: not runner._running)  # pyright: ignore[reportPrivateUsage]
        assert busy(transport) == []


async def test_a_changed_authority_counts_for_new_connections_and_cuts_no_request(site: Site) -> None:
    reached, released = asyncio.Event(), asyncio.Event()

    async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        reached.set()
        await released.wait()
        writer.write(_OK)
        await writer.drain()

    async with (
        listening(answer_late, site.tls()) as first,
        listening(answer, site.tls("second")) as second,
        site.client(first) as (http, _),
    ):
        runner = RequestRunner(http)
        running = asyncio.create_task(attempt(runner, http, 10, 10))
        await reached.wait()
        other: dict[str, Any] = {"method": "GET", "url": f"https://localhost:{second}/", "timeout": 10}

        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await runner.run(http.build_request(**other), deadline_s=10, max_bytes=100)
        site.trust("second")
        answered = await runner.run(http.build_request(**other), deadline_s=10, max_bytes=100)
        released.set()

        assert answered.status == 200
        assert await running == "answer"
        # The former authority is trusted no longer, also by nobody's open connection.
        assert await attempt(runner, http, 10, 10) == "ConnectError"


async def test_connections_of_former_authorities_are_closed_once_nobody_can_use_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charging_agent.gateway.http_client._DRAINED_AFTER_S", 0.0)
    async with listening(answer, site.tls()) as port, site.client(port) as (http, transport):
        runner = RequestRunner(http)
        assert await attempt(runner, http, 10, 10) == "answer"
        former = pool_of(transport)
        assert len(former.connections) == 1
        site.trust("first", "second")

        assert [await attempt(runner, http, 10, 10) for _ in range(2)] == ["answer"] * 2

        assert former.connections == []
        assert pool_of(transport) is not former
