"""The agent's token flow beside Authlib's client: 100 callers at once, one token endpoint that takes 50 ms.

Both are asked for the same things in the same run, each against an endpoint of its own kind on loopback; the agent
fetches readings as it always does, Authlib's client gets the same resource. Run it: `python tests/bench/tokens.py`.
"""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn

# Its client is httpx2's wherever that is installed, as here, where the MCP SDK needs it; the agent's is httpx's.
from authlib.integrations.httpx_client import AsyncOAuth2Client
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from charging_agent.gateway.budget import CallBudget, CallLimit
from charging_agent.gateway.client import GatewayClient, RetryPlan
from charging_agent.gateway.tokens import EnvironmentOrFileCredentials, TokenCache, TokenEndpoint
from charging_agent.readings.apis import GRID
from ev_service.clock import SteppedClock

CALLERS = 100
_ANSWER_S, _SLOW_ANSWER_S = 0.05, 1.0
_START = datetime(2026, 6, 21, 12, tzinfo=UTC)
_READING = {
    "site_id": "bench",
    "timestamp": "2026-06-21T12:00:00Z",
    "source": "bench",
    "load_percent": 61.0,
    "load_kw": 61.0,
    "limit_kw": 100.0,
}
_RESOURCE = GRID


class Server:
    """A token endpoint and a resource behind it, as slow or as broken as a case wants."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = 0
        self.answer_s = _ANSWER_S
        self.life_s = 3600
        self.is_failing = False
        self.refused = ""

    async def token(self, _: Request) -> Response:
        self.requests += 1
        await asyncio.sleep(self.answer_s)
        if self.is_failing:
            return Response(status_code=500)
        content = {"access_token": f"token-{self.requests}", "expires_in": self.life_s, "token_type": "Bearer"}
        return JSONResponse(content)

    async def resource(self, request: Request) -> Response:
        if request.headers.get("authorization") == f"Bearer {self.refused}":
            return JSONResponse({"code": "900901"}, 401)
        return JSONResponse(_READING)


@contextmanager
def serving() -> Generator[Server]:
    """Serve from a thread of its own, so that a blocked caller does not block the endpoint."""
    state = Server()
    routes = [Route("/token", state.token, methods=["POST"]), Route(_RESOURCE.path, state.resource)]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="critical", backlog=512))
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        state.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield state
        finally:
            server.should_exit = True
            thread.join()


class AgentClient:
    """The agent's own way to call: one token for the process, on a clock that the case moves."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clock = SteppedClock(_START)
        self._http = httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False)
        source = EnvironmentOrFileCredentials(SecretStr("id"), SecretStr("secret"), None, None)
        endpoint = TokenEndpoint(
            self._http, url=f"{server.url}/token", scopes="bench:read", source=source, clock=self._clock
        )
        self._tokens = TokenCache(endpoint, self._clock)
        budget = CallBudget(CallLimit(requests=None))
        plan = RetryPlan(attempts=1, attempt_timeout_s=30, max_requests=CALLERS)
        self._client = GatewayClient(
            self._http, self._tokens, budgets={_RESOURCE.name: budget}, clock=self._clock, plan=plan
        )

    async def call(self) -> None:
        await self._client.fetch(_RESOURCE)

    async def hold_token(self, *, life_s: int, left_s: int) -> None:
        """Hold a token of that life with so much of it left."""
        self._server.life_s = life_s
        await self.call()
        self._clock.advance(life_s - left_s)

    async def close(self) -> None:
        await self._tokens.stop()
        await self._http.aclose()


class AuthlibClient:
    """Authlib's client as its documentation has it, with the first token fetched when there is none."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._url = f"{server.url}/token"
        self._client: Any = AsyncOAuth2Client(
            "id", "secret", token_endpoint=self._url, grant_type="client_credentials", timeout=30, trust_env=False
        )

    async def call(self) -> None:
        if not self._client.token:
            await self._client.fetch_token(self._url, grant_type="client_credentials")
        answer = await self._client.get(self._server.url + _RESOURCE.path)
        answer.raise_for_status()

    async def hold_token(self, *, life_s: int, left_s: int) -> None:
        """Hold a token with so much of its life left; Authlib knows no more of it than its end."""
        self._server.life_s = life_s
        await self._client.fetch_token(self._url, grant_type="client_credentials")
        self._client.token["expires_at"] = int(time.time()) + left_s

    async def close(self) -> None:
        await self._client.aclose()


Client = AgentClient | AuthlibClient
Case = Callable[[Server, Client], Awaitable[dict[str, float]]]


async def _cold(server: Server, client: Client) -> dict[str, float]:
    errors, _ = await _all_call(client)
    return {"cold_requests": server.requests, "cold_errors": errors}


async def _failing_endpoint(server: Server, client: Client) -> dict[str, float]:
    await client.hold_token(life_s=200, left_s=30)
    server.is_failing = True
    errors, _ = await _all_call(client)
    return {"failing_endpoint_errors": errors}


async def _slow_renewal(server: Server, client: Client) -> dict[str, float]:
    await client.hold_token(life_s=200, left_s=30)
    server.answer_s = _SLOW_ANSWER_S
    _, wall_s = await _all_call(client)
    return {"slow_renewal_wait_s": round(wall_s, 3)}


async def _refused_token(server: Server, client: Client) -> dict[str, float]:
    await client.hold_token(life_s=3600, left_s=1800)
    before, server.refused = server.requests, f"token-{server.requests}"
    errors, _ = await _all_call(client)
    return {"refused_token_requests": server.requests - before, "refused_token_errors": errors}


async def _short_life(server: Server, client: Client) -> dict[str, float]:
    await client.hold_token(life_s=30, left_s=29)
    before = server.requests
    await _all_call(client)
    return {"short_life_requests": server.requests - before}


async def _all_call(client: Client) -> tuple[int, float]:
    started = time.perf_counter()
    outcomes = await asyncio.gather(*(client.call() for _ in range(CALLERS)), return_exceptions=True)
    return sum(isinstance(outcome, BaseException) for outcome in outcomes), time.perf_counter() - started


CASES: tuple[Case, ...] = (_cold, _failing_endpoint, _slow_renewal, _refused_token, _short_life)


def measure() -> dict[str, float]:
    """Token requests, errors and waits of 100 callers at once, of the agent and of Authlib's client.

    Returns:
        Each case's values with the prefix `agent_` and `authlib_`: `…_requests` to the token endpoint, `…_errors`
        of the callers, `…_wait_s` [s] until the last of them had its answer.
    """
    # Failing endpoints are the point of this bench, not news.
    logging.getLogger("charging_agent").setLevel(logging.CRITICAL)
    return asyncio.run(_measure())


async def _measure() -> dict[str, float]:
    measured: dict[str, float] = {}
    makers: dict[str, Callable[[Server], Client]] = {"agent": AgentClient, "authlib": AuthlibClient}
    for case in CASES:
        for name, make in makers.items():
            with serving() as server:
                client = make(server)
                values = await case(server, client)
                await client.close()
            measured |= {f"{name}_{key}": value for key, value in values.items()}
    return measured


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
