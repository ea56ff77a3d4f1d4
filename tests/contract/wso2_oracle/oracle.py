"""Process with classes of WSO2 API Manager, and a local gateway that gets the same messages.

The classes are those of 9.33.90, between 4.6.0 and 4.7.0; docs/compatibility.md lists the consequences for both.
"""

import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from aiohttp.test_utils import RawTestServer

from ev_service.clock import SteppedClock, SystemClock
from local_gateway.gateway.assertion import AssertionIssuer
from local_gateway.gateway.backend import BackendClient
from local_gateway.gateway.handler import Gateway
from local_gateway.gateway.metrics import MetricsLog
from local_gateway.keys import SigningKey, prepare_key_files
from local_gateway.state import (
    Application,
    GatewayState,
    McpServerRecord,
    OAuthClient,
    Revision,
    Store,
    Subscription,
    create_default_policies,
)
from local_gateway.tokens import TokenService
from wso2_terms.deployment import BackendJwt
from wso2_terms.mcp import Wso2Version

TOOL = {
    "feature": "TOOL",
    "target": "getSolarStatus",
    "description": "What do the solar panels give now?",
    "schemaDefinition": json.dumps(
        {
            "type": "object",
            "properties": {"query_unit": {"type": "string", "enum": ["kW"]}, "path_day": {"type": "string"}},
            "required": ["path_day"],
        }
    ),
    "apiOperationMapping": {
        "apiId": "api-1",
        "apiName": "SolarAPI",
        "apiVersion": "1.0.0",
        "backendOperation": {"target": "/days/{day}", "verb": "GET"},
    },
}
SERVER = {"name": "SolarMCP", "version": "1.0.0", "tool": TOOL}
"""The MCP server that both serve."""


class Oracle:
    """Client of the process that runs the product's classes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, what: str, of: object = "", **more: Any) -> Any:
        """Send a question, as defined in `Answers.java`, and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"ask": what, "of": str(of), **more}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@dataclass(frozen=True)
class GatewayClient:
    """Client of the local gateway's MCP server with a token for it."""

    session: ClientSession
    url: str
    token: str

    async def post(self, text: str, *, with_token: bool) -> tuple[int, Any]:
        """Post a message; return status and JSON of the answer, None for an empty body."""
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if with_token else {}
        )
        async with self.session.post(self.url, data=text.encode(), headers=headers) as answer:
            body = await answer.read()
            return answer.status, json.loads(body) if body else None


@asynccontextmanager
async def run_local_gateway(version: Wso2Version, folder: Path) -> AsyncGenerator[GatewayClient]:
    """Run a local gateway with one MCP server and a subscribed application."""
    clock = SteppedClock(datetime(2026, 6, 21, 12, tzinfo=UTC))
    key = SigningKey.read(prepare_key_files(folder, SystemClock().now()))
    store = Store(_build_state(clock), None)
    tokens = TokenService(store, key, clock)
    backend_client = BackendClient(connect_timeout_s=0.5)
    await backend_client.open()
    gateway = Gateway(
        store=store,
        tokens=tokens,
        clock=clock,
        assertions=AssertionIssuer(key, BackendJwt(enable=False)),
        backend_client=backend_client,
        metrics=MetricsLog(None),
        max_request_bytes=1 << 20,
        version=version,
    )
    token = tokens.issue(store.state.clients["key"], "evapp", ("default",), for_application=True)
    async with RawTestServer(gateway.handle) as server, ClientSession() as session:
        yield GatewayClient(session, str(server.make_url("/solar-mcp/1.0.0/mcp")), token)
    await backend_client.close()


def _build_state(clock: SteppedClock) -> GatewayState:
    now_ms = int(clock.now().timestamp() * 1000)
    data = {
        "name": SERVER["name"],
        "context": "/solar-mcp",
        "version": SERVER["version"],
        "lifeCycleStatus": "PUBLISHED",
        "policies": ["Unlimited"],
        "securityScheme": ["oauth2"],
        "subtypeConfiguration": {"subtype": "EXISTING_API"},
        "operations": [TOOL],
    }
    revision = Revision(
        revision_id="1", number=1, description="", created_at_ms=now_ms, data=data, environments=[{"name": "Default"}]
    )
    server = McpServerRecord(
        server_id="mcp-1",
        provider="admin",
        lifecycle="PUBLISHED",
        data=data,
        revisions=[revision],
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    application = Application(
        application_id="EVApp",
        number=1,
        name="EVApp",
        owner="evapp",
        throttling_policy="Unlimited",
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    client = OAuthClient(
        client_id="key",
        client_secret="secret",
        name="EVApp",
        owner="evapp",
        grant_types=["client_credentials"],
        application_id="EVApp",
        key_mapping_id="map",
    )
    subscription = Subscription(
        subscription_id="sub", application_id="EVApp", api_id="mcp-1", throttling_policy="Unlimited"
    )
    return GatewayState(
        issuer="https://localhost:9443/oauth2/token",
        policies={policy.policy_id: policy for policy in create_default_policies()},
        applications={"EVApp": application},
        clients={"key": client},
        mcp_servers={"mcp-1": server},
        subscriptions={"sub": subscription},
    )
