"""A gateway in the same process that answers what a test tells it to, and the agent's parts on it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from charging_agent.agent import Agent
from charging_agent.app import create_app
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.gateway.budget import CallBudget, CallLimit
from charging_agent.gateway.calls import Call, CallLog, ProtocolAdapter, ProtocolName, ReadingApi, RestAdapter
from charging_agent.gateway.client import GatewayClient, RetryPlan
from charging_agent.gateway.mcp import McpAdapter
from charging_agent.gateway.tokens import EnvironmentOrFileCredentials, TokenCache, TokenEndpoint
from charging_agent.gateway.tool_allowlist import ToolAllowlist
from charging_agent.ledger.ledger import Ledger
from charging_agent.ledger.record_signing import RunMetadata, build_policy_record
from charging_agent.ledger.recorder import Recorder
from charging_agent.readings.apis import BATTERY, GRID, SOLAR, SOURCES
from charging_agent.readings.assessment import AgeLimits
from charging_agent.readings.fetch_priority import CallPlan
from charging_agent.readings.forecasts import GRID_FORECAST, LoadForecastOutlook
from charging_agent.readings.observer import Observer
from charging_agent.readings.outlook_cache import OutlookCache
from charging_agent.readings.prices import GRID_PRICES, PriceOutlook
from charging_agent.settings import AgentSettings, GatewaySettings
from ev_service.clock import SteppedClock
from ev_service.units import utc_text
from wso2_terms.codes import Fault
from wso2_terms.mcp import build_result, build_tool_result
from wso2_terms.tools import Tool, ToolsLock

NOON = datetime(2026, 6, 21, 12, 0, 20, tzinfo=UTC)
BASE = "https://gateway.test"
TOKEN_URL = f"{BASE}/oauth2/token"
SECRET = "s3cret-of-evapp"
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


class SettableClock(SteppedClock):
    """Stepped, and like a system's clock it can be set back."""

    def set_back(self, seconds: float) -> None:
        self._now -= timedelta(seconds=seconds)


class FakeGateway:
    """Token endpoint and three APIs, healthy until told otherwise.

    A path answers with each of its handlers once, then with its last one for ever.
    """

    def __init__(self, clock: SteppedClock) -> None:
        self.clock = clock
        self.calls: list[str] = []
        self.authorizations: list[str] = []
        self.issued: list[str] = []
        self.token_life_s: float = 3600
        self.delay_s = 0.0
        self._handlers: dict[str, list[Handler]] = {"/oauth2/token": [self.issue]}
        self.lists: list[str] = []
        self.tools = {api.name: [tool_of(api.operation_id)] for api in SOURCES}
        for api in SOURCES:
            self.gives(api.path)

    def calls_to(self, path: str) -> int:
        return self.calls.count(path)

    @property
    def token_requests(self) -> int:
        return self.calls_to("/oauth2/token")

    def says(self, path: str, status: int, body: bytes | Mapping[str, Any] = b"", **headers: str) -> None:
        """Answer with this from now on; `retry_after` is the header Retry-After."""
        self.does(path, _saying(status, body, headers))

    def says_once(self, path: str, status: int, body: bytes | Mapping[str, Any] = b"", **headers: str) -> None:
        """Answer with this the next time, then as before."""
        self._handlers[path].insert(0, _saying(status, body, headers))

    def refuses(self, path: str, fault: Fault) -> None:
        self.says(path, fault.http_status, fault.body())

    def does(self, path: str, handler: Handler) -> None:
        self._handlers[path] = [handler]

    def hangs(self, path: str) -> None:
        async def hang(_: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        self.does(path, hang)

    def gives(self, path: str, **changes: Any) -> None:
        """Give a healthy reading with these fields changed; `age_s` dates it back."""

        async def give(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=json.dumps(self.reading(path, **changes)))

        self.does(path, give)

    def reading(self, path: str, *, age_s: float = 0.0, **changes: Any) -> dict[str, Any]:
        at = datetime.fromtimestamp(self.clock.now().timestamp() - age_s, UTC)
        said: dict[str, Any] = {"site_id": "greensboro", "timestamp": utc_text(at), "source": "simulated"}
        return said | _VALUES[path] | changes

    async def issue(self, _: httpx.Request) -> httpx.Response:
        self.issued.append(f"token-{len(self.issued) + 1}")
        content = {"access_token": self.issued[-1], "expires_in": self.token_life_s, "token_type": "Bearer"}
        return httpx.Response(200, json=content)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.authorizations.append(request.headers["authorization"])
        for api in SOURCES:
            if request.url.path == api.publication("mcp").path:
                return await self._as_mcp_server(request, api)
        return await self._answer(request, request.url.path)

    async def _answer(self, request: httpx.Request, path: str) -> httpx.Response:
        self.calls.append(path)
        handlers = self._handlers[path]
        handler = handlers.pop(0) if len(handlers) > 1 else handlers[0]
        await asyncio.sleep(self.delay_s)
        return await handler(request)

    async def _as_mcp_server(self, request: httpx.Request, api: ReadingApi[Any]) -> httpx.Response:
        """The gateway's own refusals as they are; what comes from behind it, as a tool's result."""
        asked = json.loads(request.content)
        if asked["method"] == "tools/list":
            self.lists.append(api.name)
            return httpx.Response(200, json=build_result(asked["id"], {"tools": self.tools[api.name]}))
        outlooks = {one.operation_id: one for one in (GRID_PRICES, GRID_FORECAST)}
        asked_api = outlooks.get(asked["params"]["name"], api)
        assert asked["params"] == {"name": asked_api.operation_id, "arguments": {}}
        path = asked_api.path
        answer = await self._answer(httpx.Request("GET", BASE + path, headers=request.headers), path)
        content = await answer.aread()
        if (answer.status_code != 200 and answer.status_code < 500) or answer.status_code == 503:
            return answer
        said = build_tool_result(content.decode(errors="replace"), is_error=answer.status_code != 200)
        return httpx.Response(200, json=build_result(asked["id"], said), headers={"activityid": "from-the-gateway"})


def tool_of(name: str, **changes: Any) -> dict[str, Any]:
    """A tool as `tools/list` tells it."""
    return {"name": name, "description": f"What {name} tells.", "inputSchema": NO_ARGUMENTS} | changes


def approve_tools() -> ToolsLock:
    """The tools of the fake gateway as somebody approved them."""
    tools = {api: Tool(api.operation_id, f"What {api.operation_id} tells.", NO_ARGUMENTS) for api in SOURCES}
    return {api.publication("mcp").artifact_name: {tool.name: tool} for api, tool in tools.items()}


_VALUES: dict[str, dict[str, Any]] = {
    SOLAR.path: {"generation_kw": 41.0, "capacity_kwp": 50.0},
    BATTERY.path: {"soc_percent": 83.0, "capacity_kwh": 100.0},
    GRID.path: {"load_percent": 61.0, "load_kw": 61.0, "limit_kw": 100.0},
}


def _saying(status: int, body: bytes | Mapping[str, Any], headers: Mapping[str, str]) -> Handler:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    # Bytes, because a header may hold what the HTTP library would not write.
    named = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}

    async def say(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content, headers=named)

    return say


def maker() -> RunMetadata:
    """Who decides in these tests."""
    return RunMetadata(uuid4(), "0.1.0", "greensboro", build_policy_record(DecisionPipeline(), AgeLimits()))


class Calls(list[Call]):
    """Every attempt, in the order in which they ended."""

    def report_call(self, call: Call) -> None:
        self.append(call)


class World:
    """One agent on one fake gateway; `real_s` is the real time that pauses go by."""

    def __init__(self, protocol: ProtocolName = "rest") -> None:
        self.clock = SettableClock(NOON)
        self.real_s = 0.0
        self.calls = Calls()
        self.pins = ToolAllowlist(approve_tools(), list(approve_tools()), self.clock)
        self.adapter: ProtocolAdapter = RestAdapter() if protocol == "rest" else McpAdapter(self.pins)
        self.gateway = FakeGateway(self.clock)
        self.whole = CallBudget(CallLimit(None))
        self.budgets = {api.name: CallBudget(CallLimit(), self.whole) for api in SOURCES}
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self.gateway), base_url=BASE)
        self.source = EnvironmentOrFileCredentials(SecretStr("evapp-id"), SecretStr(SECRET), None, None)
        self.endpoint = TokenEndpoint(
            self.http, url=TOKEN_URL, scopes="solar:read battery:read grid:read", source=self.source, clock=self.clock
        )
        self.tokens = TokenCache(self.endpoint, self.clock, lambda: self.real_s)
        self.use(RetryPlan(), deadline_s=6)

    def hurry(self) -> None:
        """Give up early: for tests in which something hangs. All others must not depend on the machine's speed."""
        self.use(RetryPlan(attempts=2, deadline_s=0.3, attempt_timeout_s=0.05), deadline_s=0.5)

    def use(self, plan: RetryPlan, *, deadline_s: float) -> None:
        """Put the agent together anew with other deadlines [s]."""
        self.client = GatewayClient(
            self.http,
            self.tokens,
            budgets=self.budgets,
            clock=self.clock,
            plan=plan,
            adapter=self.adapter,
            listeners=(self.calls,),
            monotonic_s=lambda: self.real_s,
        )
        timing = {"refresh_s": 300.0, "period_s": 10.0}
        budget, sources = self.budgets[GRID.name], len(SOURCES)
        self.prices = OutlookCache(
            self.client, GRID_PRICES, PriceOutlook.from_prices, budget, self.clock, **timing, sources=sources
        )
        self.load_forecast = OutlookCache(
            self.client, GRID_FORECAST, LoadForecastOutlook.from_forecast, budget, self.clock, **timing, sources=sources
        )
        self.observer = Observer(self.client, self.clock, AgeLimits(), deadline_s, CallPlan(self.budgets, AgeLimits()))
        self.ledger = Ledger(None, maker())
        self.recorder = Recorder(self.ledger, CallLog())
        self.agent = Agent(self.observer, self.recorder, DecisionPipeline(), self.clock, period_s=15)

    async def stop(self) -> None:
        await self.observer.stop()
        await self.ledger.close()
        await self.tokens.stop()
        await self.endpoint.stop()
        await self.client.stop()
        await self.http.aclose()


@pytest.fixture(autouse=True)
def logging_as_before() -> Generator[None]:
    """The application takes over the root logger; give it back to the next test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
async def world() -> AsyncGenerator[World]:
    made = World()
    await made.ledger.open()
    yield made
    await made.stop()


@pytest.fixture(params=["rest", "mcp"])
async def either(request: pytest.FixtureRequest) -> AsyncGenerator[World]:
    """A world for each protocol: what is tested with it holds for both."""
    made = World(request.param)
    await made.ledger.open()
    yield made
    await made.stop()


@pytest.fixture
async def tools() -> AsyncGenerator[World]:
    """A world in which the agent speaks MCP."""
    made = World("mcp")
    await made.ledger.open()
    yield made
    await made.stop()


class AgentApplication:
    """The whole agent as an application on one fake gateway, with the shipped deadlines and short pauses."""

    def __init__(self, **settings: Any) -> None:
        self.clock = SettableClock(NOON)
        self.gateway = FakeGateway(self.clock)
        # Most tests are about decisions; those about chargers switch them on.
        self.settings: dict[str, Any] = {"chargers": False} | settings
        self.gateway_settings = GatewaySettings(
            client_id=SecretStr("evapp-id"), client_secret=SecretStr(SECRET), gateway_url=BASE, token_url=TOKEN_URL
        )

    def app(self) -> FastAPI:
        settings, transport = AgentSettings(**self.settings), httpx.MockTransport(self.gateway)
        return create_app(settings, self.gateway_settings, self.clock, transport)

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[httpx.AsyncClient]:
        """Start the agent, and stop it in the end."""
        app = self.app()
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://agent.test") as client,
        ):
            yield client

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that happens in the background."""
        async with asyncio.timeout(5):
            while not is_so():
                await asyncio.sleep(0.001)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> AgentApplication:
    monkeypatch.setattr("charging_agent.gateway.client._FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("charging_agent.gateway.tokens._FIRST_PAUSE_S", 0.01)
    return AgentApplication()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines a thirtieth of the shipped ones: for tests in which something hangs."""
    quick = RetryPlan(attempts=2, deadline_s=0.13, attempt_timeout_s=0.08)
    monkeypatch.setattr("charging_agent.app.RetryPlan", lambda: quick)
    monkeypatch.setattr("charging_agent.app._OBSERVATION_S", 0.2)
    monkeypatch.setattr("charging_agent.gateway.tokens._TIMEOUT_S", 0.16)
