"""Plays every situation in this folder through the agent's own calls, once over REST and once over MCP.

A gateway in the same process answers both; whatever was fetched earlier is fetched earlier, whatever stands in the way
is met. The answers must be what the file says, and the same.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from charging_agent.agent import DecisionResult
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.gateway.budget import CallBudget, CallLimit
from charging_agent.gateway.calls import FailureReason, ProtocolName, ReadingApi, RestAdapter
from charging_agent.gateway.client import GatewayClient, RetryPlan
from charging_agent.gateway.mcp import McpAdapter
from charging_agent.gateway.tokens import Token, TokenCache, TokenError
from charging_agent.gateway.tool_allowlist import ToolAllowlist
from charging_agent.readings.apis import SOURCES
from charging_agent.readings.assessment import AgeLimits
from charging_agent.readings.fetch_priority import CallPlan
from charging_agent.readings.observer import Observation, Observer
from charging_agent.web.schemas import build_decision_answer
from ev_service.clock import SteppedClock
from ev_service.units import utc_text
from wso2_terms import codes
from wso2_terms.mcp import build_result, build_tool_result
from wso2_terms.tools import Tool

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 6, 21, 12, tzinfo=UTC)
SCENARIOS = sorted(Path(__file__).parent.glob("*.json"))
UNSAID: dict[str, dict[str, Any]] = {
    "solar": {},
    "battery": {"capacity_kwh": 100.0},
    "grid": {"load_kw": 61.0, "limit_kw": 100.0},
}
NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}
MET_BY = {
    "blocked": codes.SUBSCRIPTION_BLOCKED,
    "forbidden": codes.SCOPE_MISSING,
    "not_subscribed": codes.NOT_SUBSCRIBED,
    "throttled": codes.SUBSCRIPTION_THROTTLED,
    "backend_failed": codes.CONNECTION_FAILED,
    "gateway_down": codes.UNCLASSIFIED,
    "not_found": codes.NOT_FOUND,
}


class Situation:
    """One situation before a gateway of its own."""

    def __init__(self, protocol: ProtocolName, scenario: Mapping[str, Any]) -> None:
        self.readings: Mapping[str, dict[str, Any]] = {
            name: given or {} for name, given in scenario["readings"].items()
        }
        earlier = [self.age_s(name) for name in UNSAID if self.is_held(name)]
        self.clock = SteppedClock(NOW - timedelta(seconds=max(earlier, default=0.0)))
        self.errors = scenario["expected"].get("errors", {})
        budgets = {api.name: CallBudget(CallLimit(None)) for api in SOURCES}
        approved = {
            api.publication("mcp").artifact_name: {api.operation_id: Tool(api.operation_id, "", NO_ARGUMENTS)}
            for api in SOURCES
        }
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self.reply), base_url="https://gateway.test")
        self.client = GatewayClient(
            self.http,
            TokenCache(self, self.clock, lambda: self.clock.now().timestamp()),
            budgets=budgets,
            clock=self.clock,
            plan=RetryPlan(attempts=1, attempt_timeout_s=0.05),
            adapter=RestAdapter()
            if protocol == "rest"
            else McpAdapter(ToolAllowlist(approved, list(approved), self.clock)),
            monotonic_s=lambda: self.clock.now().timestamp(),
        )
        self.observer = Observer(self.client, self.clock, AgeLimits(), 6, CallPlan(budgets, AgeLimits()))

    def age_s(self, name: str) -> float:
        return float(self.readings[name].get("age_s", 0.1))

    def is_held(self, name: str) -> bool:
        """Whether the reading was fetched before the decision."""
        given = self.readings[name]
        return bool(self.fields(name)) and (not given.get("is_new", True) or "trouble" in given)

    def fields(self, name: str) -> dict[str, Any]:
        return {key: value for key, value in self.readings[name].items() if key not in ("age_s", "is_new", "trouble")}

    def trouble(self, name: str) -> str | None:
        return self.readings[name].get("trouble") or (None if self.fields(name) else self.errors.get(name, "not_found"))

    async def request_token(self) -> Token:
        now = self.clock.now()
        if now == NOW and "token_unavailable" in {self.trouble(name) for name in UNSAID}:
            raise TokenError(FailureReason.TOKEN_UNAVAILABLE, "down")
        # It dies before the decision, so that whatever the endpoint then does is met.
        return Token("token", now, now + timedelta(seconds=0.05))

    async def reply(self, request: httpx.Request) -> httpx.Response:
        api = next(api for api in SOURCES if request.url.path in (api.path, api.publication("mcp").path))
        asked: dict[str, Any] = json.loads(request.content) if request.method == "POST" else {}
        if asked.get("method") == "tools/list":
            tool = {"name": api.operation_id, "inputSchema": NO_ARGUMENTS}
            return httpx.Response(200, json=build_result(asked["id"], {"tools": [tool]}))
        refused = await self._refusal(api.subject)
        if refused is not None:
            return refused
        said = json.dumps(self._reading(api))
        content = json.dumps(build_result(asked["id"], build_tool_result(said, is_error=False))) if asked else said
        return httpx.Response(200, content=content)

    async def _refusal(self, name: str) -> httpx.Response | None:
        now = self.clock.now()
        if now == NOW:
            trouble = self.trouble(name)
        else:
            is_its_moment = self.is_held(name) and now == NOW - timedelta(seconds=self.age_s(name))
            trouble = None if is_its_moment else "not_found"
        if trouble == "timeout":
            await asyncio.Event().wait()
        fault = MET_BY.get(trouble or "")
        return None if fault is None else httpx.Response(fault.http_status, json={"code": fault.code})

    def _reading(self, api: ReadingApi[Any]) -> dict[str, Any]:
        at = utc_text(NOW - timedelta(seconds=self.age_s(api.subject)))
        said = {"site_id": "site", "timestamp": at, "source": "test"}
        return said | UNSAID[api.subject] | self.fields(api.subject)

    async def decided(self) -> dict[str, Any]:
        held = {self.age_s(name) for name in UNSAID if self.is_held(name)}
        for age_s in sorted(held, reverse=True):
            self.clock.advance((NOW - timedelta(seconds=age_s) - self.clock.now()).total_seconds())
            await self.observer.observe()
        self.clock.advance((NOW - self.clock.now()).total_seconds())
        observation = await self.observer.observe()
        await self.observer.stop()
        await self.http.aclose()
        return self._answer(observation)

    def _answer(self, observation: Observation) -> dict[str, Any]:
        decision = DecisionPipeline().decide(observation.decision_inputs()).decision
        told = DecisionResult(str(uuid4()), NOW, decision, observation)
        return build_decision_answer(told, "site").model_dump(mode="json", exclude={"decision_id"})


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
async def test_a_decision_is_the_same_over_rest_and_over_mcp(file: Path) -> None:
    scenario = json.loads(file.read_bytes())
    expected = scenario["expected"]

    over_rest = await Situation("rest", scenario).decided()
    over_mcp = await Situation("mcp", scenario).decided()

    assert over_mcp == over_rest
    names = ("rule", "action", "charging_power_kw", "degraded")
    assert {name: over_mcp[name] for name in names} == {name: expected[name] for name in names}
    readings = over_mcp["readings"]
    assert {name: readings[name]["status"] for name in expected.get("statuses", {})} == expected.get("statuses", {})
    assert {name: readings[name]["error"] for name in expected.get("errors", {})} == expected.get("errors", {})
