"""The end of the process: who asked gets an answer, and nothing keeps running."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn

from charging_agent.readings.apis import GRID, SOURCES

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("hurried")
async def test_a_request_in_flight_is_answered_before_the_server_ends_and_no_task_is_left(
    served: AgentApplication,
) -> None:
    for api in SOURCES:
        served.gateway.hangs(api.path)
    before = asyncio.all_tasks()
    server = uvicorn.Server(uvicorn.Config(served.app(), log_config=None, timeout_graceful_shutdown=5))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        await served.until(lambda: server.started)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            asking = asyncio.create_task(client.get("/optimize-charging"))
            await served.until(lambda: len(server.server_state.tasks) == 1)

            server.should_exit = True

            answer = await asking
        await serving

    assert answer.status_code == 200
    assert answer.json()["rule"] == "fail_safe"
    assert asyncio.all_tasks() == before


async def test_an_application_that_ends_in_the_middle_of_everything_leaves_no_task(served: AgentApplication) -> None:
    served.gateway.token_life_s = 100
    before = asyncio.all_tasks()
    async with served.client() as client:
        await client.get("/optimize-charging")
        served.gateway.hangs("/oauth2/token")
        served.gateway.hangs(GRID.path)
        served.clock.advance(85)
        asking = asyncio.create_task(client.get("/optimize-charging"))
        await served.until(lambda: served.gateway.calls_to(GRID.path) == 2)
        await served.until(lambda: served.gateway.token_requests == 2)

    await asyncio.wait([asking], timeout=2)

    assert asking.done()
    assert asyncio.all_tasks() == before
