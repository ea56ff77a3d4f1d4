"""Today's clients at a gateway that answers like 4.7: they connect by their own handshake."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client, types
from mcp.client import session
from mcp.client.streamable_http import streamable_http_client
from tests.integration.mcp_clients.node_tools import NodeTools, inspect
from tests.integration.mcp_clients.test_python_sdk import Refusals, http_client

from wso2_provisioning.applications import ASSISTANT, EVAPP
from wso2_terms.mcp import PROTOCOL_VERSION
from wso2_terms.tools import Tool, compare_tools, read_tools_lock

if TYPE_CHECKING:
    from tests.integration.mcp_clients.conftest import Site

# The first of them may wait for the stack and for npm.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TOOLS_LOCK = Path(__file__).parents[3] / "wso2" / "mcp-servers" / "tools.lock"


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_python_sdk_connects_and_calls(
    newer_site: "Site", mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The error to its question has no id, so it waits; ten seconds, were it not for this.
    monkeypatch.setattr(session, "DISCOVER_TIMEOUT_SECONDS", 0.2)
    token = newer_site.token(EVAPP, "solar:tools")
    async with (
        http_client(newer_site, token, Refusals()) as http,
        Client(streamable_http_client(newer_site.url("solar"), http_client=http), mode=mode) as client,
    ):
        listed = (await client.list_tools()).tools
        [content] = (await client.call_tool("getSolarStatus", {})).content

        assert client.protocol_version == PROTOCOL_VERSION
        assert [tool.name for tool in listed] == ["getSolarStatus"]
        assert isinstance(content, types.TextContent)
        assert json.loads(content.text)["site_id"] == "greensboro"


def test_the_inspector_lists_the_tools_that_were_approved(current_tools: NodeTools, newer_site: "Site") -> None:
    done = inspect(current_tools, newer_site, newer_site.token(ASSISTANT, "agent:tools"), "tools/list")

    assert done.returncode == 0, done.stderr
    listed = [Tool(one["name"], one["description"], one["inputSchema"]) for one in json.loads(done.stdout)["tools"]]
    assert compare_tools(read_tools_lock(TOOLS_LOCK)["AgentMCP-1.0.0"], listed) == ()


def test_the_inspector_calls_a_tool(current_tools: NodeTools, newer_site: "Site") -> None:
    call = ("tools/call", "--tool-name", "list_decisions", "--tool-arg", "limit=1")
    done = inspect(current_tools, newer_site, newer_site.token(ASSISTANT, "agent:tools"), *call)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["isError"] is False


def test_the_same_inspector_is_refused_by_4_6(current_tools: NodeTools, site: "Site") -> None:
    done = inspect(current_tools, site, site.token(ASSISTANT, "agent:tools"), "tools/list")

    assert done.returncode != 0
    # What it says is not why: its SDK takes an error with `"result": null` for no message of the protocol.
    assert "Unrecognized key" in done.stderr
