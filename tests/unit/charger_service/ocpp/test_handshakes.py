"""Clients of the OCPP port that never prove themselves, and chargers that connect among them."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

HALF = b"GET /CP-16 HTTP/1.1\r\nHost: x\r\n"


class Strangers:
    """Connections that send something and wait."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.readers: list[asyncio.StreamReader] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, sent: bytes, times: int = 1) -> None:
        for _ in range(times):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            self.readers.append(reader)
            self._writers.append(writer)
            writer.write(sent)
            await asyncio.sleep(0)

    async def leave(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


@pytest.fixture
async def strangers_of() -> Any:
    async with AsyncExitStack() as stack:

        def strangers(site: Any) -> Strangers:
            made = Strangers(site.port)
            stack.push_async_callback(made.leave)
            return made

        yield strangers


async def test_half_a_handshake_is_answered_with_408(open_site: Any, strangers_of: Any) -> None:
    site = await open_site(ocpp_handshake_s=0.1)
    strangers = strangers_of(site)

    await strangers.connect(HALF)

    async with asyncio.timeout(5):
        assert (await strangers.readers[0].read()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", HALF])
async def test_chargers_connect_among_many_half_handshakes(open_site: Any, strangers_of: Any, sent: bytes) -> None:
    site = await open_site(ocpp_handshakes_per_address=4)
    strangers = strangers_of(site)
    await strangers.connect(sent, times=60)

    charger = await site.booted("CP-16")

    assert await charger.call("Heartbeat", {})


async def test_a_charger_that_is_connected_is_not_closed_for_half_handshakes(open_site: Any, strangers_of: Any) -> None:
    site = await open_site(ocpp_handshakes_per_address=4, ocpp_handshake_s=0.1)
    charger = await site.booted("CP-16")

    await strangers_of(site).connect(HALF, times=60)
    await asyncio.sleep(0.2)

    assert await charger.call("Heartbeat", {})


async def test_all_registered_chargers_may_connect_at_once_from_one_address(open_site: Any) -> None:
    evses = {f"CP-{number}": (1,) for number in range(60)}
    site = await open_site(evses)

    chargers = await asyncio.gather(*(site.connect(charger_id) for charger_id in evses))

    assert len(chargers) == 60
