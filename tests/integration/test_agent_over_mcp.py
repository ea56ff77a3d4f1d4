"""The agent over MCP on the real stack: services, local gateway and bootstrap as processes, over TLS."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from charging_agent.app import create_app
from charging_agent.settings import AgentSettings, GatewaySettings
from local_stack.controls import build_provisioning_settings
from local_stack.environment import free_ports, make_passwords, select_system_variables
from local_stack.stack import ARTIFACTS, ROOT, Stack, StackPlan, running
from wso2_provisioning.admin import DenyTarget
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.provision import SWITCH_SCOPES, Wso2
from wso2_terms.tools import Tool, read_tools_lock, write_tools_lock

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

LOCK = ARTIFACTS / "mcp-servers" / "tools.lock"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    plan = StackPlan(
        free_ports(), make_passwords(), tmp_path_factory.mktemp("stack") / "state", {"AGENT_PROTOCOL": "mcp"}
    )
    with running(plan, lambda _step: None) as started:
        yield started


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def get(stack: Stack, path: str) -> httpx.Response:
    return httpx.get(f"{stack.plan.agent_url}{path}", trust_env=False, timeout=10)


def approve(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    files = {f"WSO2_{name.upper()}_FILE": str(stack.plan.credentials / name) for name in ("client_id", "client_secret")}
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "tools_approve.py", *arguments],
        env=select_system_variables(os.environ) | stack.plan.client_environment() | files,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@asynccontextmanager
async def agent_with_lock(stack: Stack, lock: Path) -> AsyncGenerator[httpx.AsyncClient]:
    """A second agent on the same application that goes by another lock."""
    plan = stack.plan
    app = create_app(
        AgentSettings(protocol="mcp", tools_lock_file=lock, device="second", period_s=3600),
        GatewaySettings(
            client_id_file=plan.credentials / "client_id",
            client_secret_file=plan.credentials / "client_secret",
            token_url=f"{plan.management_url}/oauth2/token",
            gateway_url=plan.gateway_url,
            ca_file=plan.ca_file,
        ),
    )
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://agent.test") as client,
    ):
        yield client


async def test_a_decision_comes_through_the_mcp_servers(stack: Stack) -> None:
    readings = get(stack, "/optimize-charging").json()["readings"]
    metrics = get(stack, "/metrics").text

    assert {reading["status"] for reading in readings.values()} <= {"fresh", "cached"}
    for name in ("SolarMCP", "BatteryMCP", "GridMCP"):
        assert f'agent_gateway_calls_total{{api="{name}",outcome="200"}}' in metrics
        assert f'agent_tools_refused{{server="{name}-1.0.0"}} 0.0' in metrics
    assert 'api="GridAPI"' not in metrics


async def test_the_running_gateway_lists_exactly_the_approved_tools(stack: Stack) -> None:
    compared = approve(stack, "--live", "--check")

    assert compared.returncode == 0, compared.stdout + compared.stderr


async def test_tools_that_differ_from_the_lock_are_refused_and_said_so(stack: Stack, tmp_path: Path) -> None:
    approved = {server: dict(tools) for server, tools in read_tools_lock(LOCK).items()}
    tool = approved["GridMCP-1.0.0"]["getGridLoad"]
    approved["GridMCP-1.0.0"]["getGridLoad"] = Tool(tool.name, "Something else.", tool.input_schema)
    write_tools_lock(tmp_path / "tools.lock", approved)

    async with agent_with_lock(stack, tmp_path / "tools.lock") as client:
        decision = (await client.get("/optimize-charging")).json()
        health = await client.get("/health")

    assert (decision["action"], decision["readings"]["grid"]["error"]) == ("pause", "not_found")
    assert decision["readings"]["solar"]["status"] in ("fresh", "cached")
    assert health.status_code == 503
    assert "GridMCP-1.0.0 is refused (getGridLoad: changed (description))" in json.dumps(health.json())


async def test_a_deny_policy_blocks_the_agent_at_once(stack: Stack) -> None:
    plan = stack.plan
    with HttpClient(plan.ca_file) as http:
        admin = Wso2(http, build_provisioning_settings(plan), admin_scopes=SWITCH_SCOPES).admin
        policy = admin.deny(DenyTarget.for_application(EVAPP.owner, EVAPP.name))
        try:
            # The stack's agent may have spent half of its minute; one that has just started has not.
            async with agent_with_lock(stack, LOCK) as client:
                decision = (await client.get("/optimize-charging")).json()
        finally:
            admin.remove_deny_policy(policy.condition_id)

    assert (decision["charging_power_kw"], decision["readings"]["grid"]["error"]) == (0.0, "blocked")
