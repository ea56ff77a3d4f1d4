"""A service under uvicorn with our protocol: clients that are slow, silent or many, and one who wants an answer."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn
from fastapi import APIRouter, Response
from pydantic import BaseModel

from ev_service.assertion import Caller
from ev_service.clock import SteppedClock
from ev_service.connections import UVICORN_PROTOCOL
from ev_service.errors import AssertionRefusedError
from ev_service.web import create_service, through_gateway

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
# More than the buffers of loopback's sockets hold.
LARGE_BYTES = 12 << 20


class Order(BaseModel):
    kind: str


async def health() -> Mapping[str, str | None]:
    return {}


class AnyAssertion:
    """Lets every call pass that carries an assertion."""

    def verify(self, assertion: str | None, _: str) -> Caller:
        if assertion is None:
            raise AssertionRefusedError("none")
        return Caller("Operator", "operator")

    def warnings(self) -> dict[str, str]:
        return {}


def application(assertion: Any = None) -> uvicorn.Config:
    app = create_service(name="x", description="", clock=SteppedClock(NOON), health=health, assertion=assertion)
    router = APIRouter(dependencies=[through_gateway("/x/1.0.0")])

    @router.put("/order")
    async def order(order: Order) -> Order:
        return order

    @router.get("/large")
    async def large() -> Response:
        return Response(bytes(LARGE_BYTES))

    app.include_router(router)
    return uvicorn.Config(app, http=UVICORN_PROTOCOL, log_config=None, timeout_graceful_shutdown=1)


class Service:
    def __init__(self, port: int) -> None:
        self.port = port
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(sent)
        await writer.drain()
        return reader, writer

    async def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        # Closed for good within the test that opened them.
        await asyncio.gather(*(writer.wait_closed() for writer in self.writers), return_exceptions=True)

    async def answer(self, sent: bytes) -> bytes:
        """Everything until the service closes the connection."""
        reader, _ = await self.connect(sent)
        async with asyncio.timeout(10):
            return await reader.read()

    async def status(self) -> bytes:
        body = b'{"kind":"stop"}'
        head = b"PUT /order HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        return (await self.answer(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)).partition(b"\r\n")[0]


@asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch, assertion: Any = None, **settings: float) -> AsyncGenerator[Service]:
    for name, value in settings.items():
        monkeypatch.setenv(f"LISTENER_{name}".upper(), str(value))
    server = uvicorn.Server(application(assertion))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.005)
        service = Service(listening.getsockname()[1])
        try:
            yield service
        finally:
            await service.abort()
            server.should_exit = True
            await running


async def test_a_head_that_does_not_end_is_answered_with_408(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, header_s=0.1) as service:
        assert (await service.answer(HEAD)).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_does_not_end_is_answered_with_408_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"PUT /order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    async with serving(monkeypatch, body_s=0.1) as service:
        answer = await service.answer(head + b'{"ki')

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answer
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_client_that_leaves_in_its_body_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"PUT /order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    async with serving(monkeypatch) as service:
        _, writer = await service.connect(head + b'{"ki')
        await asyncio.sleep(0.05)
        writer.transport.abort()
        assert await service.status() == b"HTTP/1.1 200 OK"

    assert [record for record in caplog.records if record.exc_info or " 500" in record.getMessage()] == []
    assert [record for record in caplog.records if getattr(record, "status", 200) >= 500] == []


async def test_whoever_sends_nothing_is_closed_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, header_s=0.1) as service:
        assert await service.answer(b"") == b""


async def test_a_body_that_trickles_in_after_its_answer_does_not_hold_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(monkeypatch, header_s=0.2, body_s=0.2) as service:
        reader, writer = await service.connect(HEAD + b"Content-Length: 1000\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        closed = asyncio.create_task(reader.read())
        async with asyncio.timeout(10):
            while not closed.done():
                writer.write(b"x")
                await asyncio.wait([closed], timeout=0.05)
        # Either end of the connection may be seen first.
        assert closed.exception() is None or isinstance(closed.exception(), ConnectionError)


async def test_an_answer_that_is_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(monkeypatch, stall_s=0.1) as service:
        reader, _ = await service.connect(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readline()
        await asyncio.sleep(0.2)

        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            async with asyncio.timeout(10):
                await reader.readexactly(LARGE_BYTES)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        HEAD,
        HEAD + b"\r\n",
        b"PUT /order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["silent", "half a head", "idle after an answer", "half a body", "unread answer"],
)
async def test_whoever_sends_a_whole_request_is_answered_whatever_others_hold(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    async with serving(monkeypatch, max_connections=16, max_connections_per_address=8) as service:
        for _ in range(24):
            await service.connect(sent)

        assert await service.status() == b"HTTP/1.1 200 OK"


async def test_whoever_leaves_with_many_requests_sent_at_once_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(monkeypatch) as service:
        for _ in range(4):
            _, writer = await service.connect((HEAD + b"\r\n") * 50)
            writer.transport.abort()
        assert await service.status() == b"HTTP/1.1 200 OK"

    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_connection_on_which_a_caller_has_passed_outlives_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"kind":"stop"}'
    order = b"PUT /order HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    order += b"X-JWT-Assertion: any\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with serving(monkeypatch, AnyAssertion(), max_connections=16, max_connections_per_address=8) as service:
        reader, writer = await service.connect(order)
        await reader.readuntil(b"}")
        for _ in range(24):
            await service.connect(HEAD)

        writer.write(order)
        assert b"200 OK" in await reader.readuntil(b"}")


async def test_a_websocket_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    async with serving(monkeypatch) as service:
        answer = await service.answer(HEAD + upgrade + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
