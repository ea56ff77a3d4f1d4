"""Real sockets: a server that hangs, cuts the line or trickles, as no transport of a test's own can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from charging_agent.gateway.calls import FailureReason, GatewayCallError
from charging_agent.gateway.client import GatewayClient, RetryPlan
from charging_agent.readings.apis import GRID

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import World

pytestmark = pytest.mark.anyio

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(behaviour: Behaviour) -> AsyncGenerator[str]:
    """Behave so on every connection; the address is a free one on loopback."""
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        handlers.add(current)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await behaviour(reader, writer)
        except (asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        listening.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def trouble_with(world: World, base_url: str) -> FailureReason:
    """The trouble of one fetch from that address, with the token of the fake gateway."""
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as http:
        client = GatewayClient(
            http,
            world.tokens,
            budgets=world.budgets,
            clock=world.clock,
            plan=RetryPlan(attempts=2, deadline_s=0.3, attempt_timeout_s=0.08),
        )
        with pytest.raises(GatewayCallError) as failed:
            await client.fetch(GRID)
    return failed.value.reason


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def cut_before_the_answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def cut_within_the_answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"site_id"')
    await writer.drain()


async def no_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await writer.drain()


async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("behaviour", "trouble"),
    [
        (hang, FailureReason.TIMEOUT),
        (trickle, FailureReason.TIMEOUT),
        (cut_before_the_answer, FailureReason.GATEWAY_DOWN),
        (cut_within_the_answer, FailureReason.GATEWAY_DOWN),
        (no_http, FailureReason.GATEWAY_DOWN),
    ],
)
async def test_a_server_that_misbehaves_is_told_in_one_word(
    world: World, behaviour: Behaviour, trouble: FailureReason
) -> None:
    async with server(behaviour) as base_url:
        assert await trouble_with(world, base_url) is trouble


async def test_nobody_listening_means_that_the_gateway_is_down(world: World) -> None:
    async with server(hang) as base_url:
        pass

    assert await trouble_with(world, base_url) is FailureReason.GATEWAY_DOWN


async def test_a_line_that_is_cut_once_is_repeated(world: World) -> None:
    connections = 0

    async def cut_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            writer.transport.abort()
            return
        body = httpx.Response(200, json=world.gateway.reading(GRID.path)).content
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async with server(cut_once) as base_url, httpx.AsyncClient(base_url=base_url, trust_env=False) as http:
        client = GatewayClient(http, world.tokens, budgets=world.budgets, clock=world.clock, plan=RetryPlan())

        assert (await client.fetch(GRID)).load_percent == 61.0
