"""The official Python SDK at the local gateway: tools listed and called, refusals seen, and what does not work."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx2
import pytest
from mcp import Client, ClientSession, MCPError, types
from mcp.client.streamable_http import streamable_http_client

from wso2_provisioning.applications import ASSISTANT, EVAPP
from wso2_terms.mcp import PROTOCOL_VERSION
from wso2_terms.tools import Tool, compare_tools, read_tools_lock

if TYPE_CHECKING:
    from tests.integration.mcp_clients.conftest import Site

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LOCK = read_tools_lock(Path(__file__).parents[3] / "wso2" / "mcp-servers" / "tools.lock")
ENERGY = {"solar": "getSolarStatus", "battery": "getBatteryStatus", "grid": "getGridLoad"}
SUBJECTS = (*ENERGY, "agent")
LIMIT = 10
"""Calls a minute of one application at one server: plan Energy10PerMin."""
ME = types.Implementation(name="counterpart", version="1")


class Refusals:
    """The answers that the SDK turns into "Server returned an error response", with status, body and headers.

    Its errors carry none of these (mcp 2.3.0); a hook on the HTTP client that it is given sees them all.
    """

    def __init__(self) -> None:
        self.seen: list[httpx2.Response] = []

    async def note(self, answer: httpx2.Response) -> None:
        if answer.status_code >= 400:
            await answer.aread()
            self.seen.append(answer)

    @property
    def last(self) -> httpx2.Response:
        return self.seen[-1]

    @property
    def code(self) -> str:
        return str(self.last.json()["code"])


@asynccontextmanager
async def http_client(site: "Site", token: str, refusals: Refusals) -> AsyncGenerator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    hooks = {"response": [refusals.note]}
    async with httpx2.AsyncClient(verify=site.trust, headers=headers, event_hooks=hooks, trust_env=False) as http:
        yield http


@asynccontextmanager
async def session(
    site: "Site", subject: str, token: str, refusals: Refusals | None = None
) -> AsyncGenerator[ClientSession]:
    """A session of the one revision that 4.6 speaks; the SDK's own handshake offers the newest and no other."""
    async with (
        http_client(site, token, refusals or Refusals()) as http,
        streamable_http_client(site.url(subject), http_client=http) as (read, write),
        ClientSession(read, write) as opened,
    ):
        offer = types.InitializeRequestParams(
            protocol_version=PROTOCOL_VERSION, capabilities=types.ClientCapabilities(), client_info=ME
        )
        agreed = await opened.send_request(types.InitializeRequest(params=offer), types.InitializeResult)
        opened.adopt(agreed)
        await opened.send_notification(types.InitializedNotification())
        yield opened


async def call_tool_as_text(opened: ClientSession, tool: str, arguments: dict[str, Any] | None = None) -> Any:
    """What a tool answers: JSON, as text."""
    result = await opened.call_tool(tool, arguments or {})
    assert not result.is_error
    assert result.structured_content is None
    [content] = result.content
    assert isinstance(content, types.TextContent)
    return json.loads(content.text)


def token_for(site: "Site", subject: str) -> str:
    return site.token(ASSISTANT if subject == "agent" else EVAPP, f"{subject}:tools")


async def test_the_gateway_agrees_on_the_revision_it_is_offered_and_says_who_it_is(site: "Site") -> None:
    async with session(site, "solar", token_for(site, "solar")) as opened:
        agreed = opened.initialize_result

        assert agreed is not None
        assert (agreed.protocol_version, agreed.server_info.name) == (PROTOCOL_VERSION, "SolarMCP")
        assert agreed.capabilities.tools is not None
        assert (agreed.capabilities.resources, agreed.capabilities.prompts) == (None, None)


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_a_server_lists_the_tools_that_were_approved(site: "Site", subject: str) -> None:
    async with session(site, subject, token_for(site, subject)) as opened:
        listed = (await opened.list_tools()).tools

    approved = LOCK[f"{subject.capitalize()}MCP-1.0.0"]
    assert compare_tools(approved, [Tool(one.name, one.description or "", one.input_schema) for one in listed]) == ()
    assert [one.name for one in listed if one.annotations or one.output_schema] == []


@pytest.mark.parametrize(("subject", "tool"), ENERGY.items())
async def test_an_energy_tool_answers_with_its_reading(site: "Site", subject: str, tool: str) -> None:
    async with session(site, subject, token_for(site, subject)) as opened:
        reading = await call_tool_as_text(opened, tool)

    assert reading["site_id"] == "greensboro"
    assert reading["timestamp"].endswith("Z")


async def test_an_assistant_asks_for_a_decision_and_has_it_explained(site: "Site") -> None:
    site.let_the_agent_look()
    async with session(site, "agent", token_for(site, "agent")) as opened:
        decided = await call_tool_as_text(opened, "optimize_charging")
        listed = await call_tool_as_text(opened, "list_decisions", {"limit": 1})
        explained = await call_tool_as_text(opened, "explain_decision", {"decision_id": decided["decision_id"]})
        status = await call_tool_as_text(opened, "site_status")

    assert listed["decisions"][0]["decision_id"] == decided["decision_id"]
    assert status["latest_decision"]["decision_id"] == decided["decision_id"]
    assert decided["decision_id"] in json.dumps(explained)
    assert decided["charging_power_kw"] >= 0


async def test_the_error_for_a_tool_that_does_not_exist_has_no_id_and_is_never_matched(site: "Site") -> None:
    async with session(site, "agent", token_for(site, "agent")) as opened:
        with pytest.raises(MCPError) as waited:
            await opened.call_tool("start_charging", {}, read_timeout_seconds=0.2)

    assert waited.value.error.code == types.REQUEST_TIMEOUT


@pytest.mark.parametrize("token", ["", "no-token"])
async def test_without_a_right_token_tools_are_neither_listed_nor_called(site: "Site", token: str) -> None:
    refusals = Refusals()
    async with session(site, "solar", token, refusals) as opened:
        with pytest.raises(MCPError, match="error response"):
            await opened.list_tools()
        with pytest.raises(MCPError, match="error response"):
            await opened.call_tool("getSolarStatus", {})

    assert [answer.status_code for answer in refusals.seen] == [401, 401]
    assert refusals.code in ("900901", "900902")


@pytest.mark.parametrize(
    ("application", "scope", "code"),
    [(EVAPP, "solar:read", "900910"), (ASSISTANT, "agent:tools", "900908")],
    ids=["scope of the API alone", "not subscribed"],
)
async def test_a_token_for_something_else_calls_no_tool(site: "Site", application: Any, scope: str, code: str) -> None:
    refusals = Refusals()
    async with session(site, "solar", site.token(application, scope), refusals) as opened:
        with pytest.raises(MCPError, match="error response"):
            await opened.call_tool("getSolarStatus", {})

    assert (refusals.last.status_code, refusals.code) == (403, code)


async def test_listing_counts_like_a_call_and_the_eleventh_is_refused_until_the_minute_is_over(site: "Site") -> None:
    refusals = Refusals()
    async with session(site, "solar", token_for(site, "solar"), refusals) as opened:
        await opened.list_tools()
        for _ in range(LIMIT - 1):
            await opened.call_tool("getSolarStatus", {})
        with pytest.raises(MCPError, match="error response"):
            await opened.call_tool("getSolarStatus", {})

        assert (refusals.last.status_code, refusals.code) == (429, "900804")
        assert "Retry-After" in refusals.last.headers
        site.pass_time(61)
        assert (await call_tool_as_text(opened, "getSolarStatus"))["site_id"] == "greensboro"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_own_handshake_is_refused_for_the_revision_it_offers(site: "Site", mode: Any) -> None:
    async with http_client(site, token_for(site, "solar"), Refusals()) as http:
        client = Client(streamable_http_client(site.url("solar"), http_client=http), mode=mode)
        with pytest.raises(ExceptionGroup) as failed:
            await client.__aenter__()

    refused = first_of(failed.value)
    assert isinstance(refused, MCPError)
    assert (refused.error.code, refused.error.message) == (types.INVALID_PARAMS, "Unsupported protocol version")
    assert refused.error.data == {"requested": "2025-11-25", "supported": [PROTOCOL_VERSION]}


def first_of(error: BaseException) -> BaseException:
    """The reason behind a task group's failure."""
    while isinstance(error, BaseExceptionGroup):
        [error] = cast("BaseExceptionGroup[BaseException]", error).exceptions
    return error
