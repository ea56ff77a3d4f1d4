"""The inspector's command line and the official conformance suite at the local gateway.

Both run on the Node of the lock, from a lock of their own that holds versions and hashes; npm brings them into pytest's
cache. Their SDK is held at the newest version that offers the one revision which 4.6 speaks.
"""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml
from tests.integration.mcp_clients.node_tools import NodeTools, inspect

from wso2_provisioning.applications import ASSISTANT
from wso2_terms.tools import Tool, compare_tools, read_tools_lock

if TYPE_CHECKING:
    from tests.integration.mcp_clients.conftest import Site

# The first of them may wait for the stack and for npm.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

HERE = Path(__file__).parent / "node"
EXPECTED_FAILURES = HERE / "expected-failures.yml"
TOOLS_LOCK = Path(__file__).parents[3] / "wso2" / "mcp-servers" / "tools.lock"
CONFORMANCE = Path("@modelcontextprotocol", "conformance", "dist", "index.js")
STEP_S = 7.0
"""What the clock moves on before each call of the suite: more than a tenth of the minute in which ten may be made."""


def test_the_inspector_lists_the_tools_that_were_approved(node_tools: NodeTools, site: "Site") -> None:
    done = inspect(node_tools, site, site.token(ASSISTANT, "agent:tools"), "tools/list")

    assert done.returncode == 0, done.stderr
    listed = [Tool(one["name"], one["description"], one["inputSchema"]) for one in json.loads(done.stdout)["tools"]]
    assert compare_tools(read_tools_lock(TOOLS_LOCK)["AgentMCP-1.0.0"], listed) == ()


def test_the_inspector_calls_a_tool_with_arguments(node_tools: NodeTools, site: "Site") -> None:
    call = ("tools/call", "--tool-name", "list_decisions", "--tool-arg", "limit=1")
    done = inspect(node_tools, site, site.token(ASSISTANT, "agent:tools"), *call)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["isError"] is False
    assert len(json.loads(result["content"][0]["text"])["decisions"]) == 1


def test_the_inspector_shows_the_refusal_of_a_call_without_a_token(node_tools: NodeTools, site: "Site") -> None:
    done = inspect(node_tools, site, "", "tools/list")

    assert done.returncode != 0
    assert "900902" in done.stderr


def test_the_conformance_suite_fails_where_it_is_expected_and_nowhere_else(
    node_tools: NodeTools, site: "Site", tmp_path: Path
) -> None:
    suite = (node_tools.modules / CONFORMANCE, "server", "--url", site.url("agent"), "--suite", "all")
    preload = ("--import", (HERE / "through_the_gateway.mjs").as_uri())
    with passing_time(site) as before_each_call:
        done = node_tools.run(
            *preload,
            *suite,
            *("--expected-failures", EXPECTED_FAILURES, "--output-dir", tmp_path),
            NODE_EXTRA_CA_CERTS=str(site.ca_file),
            ACCESS_TOKEN=site.token(ASSISTANT, "agent:tools"),
            BEFORE_EACH_CALL=before_each_call,
        )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    checks = [check for path in tmp_path.glob("*/checks.json") for check in json.loads(path.read_text())]
    assert {"server-initialize", "ping", "tools-list"} <= {one["id"] for one in checks if one["status"] == "SUCCESS"}
    # Expected are failures of the protocol, not those of a caller whom the gateway turns away.
    turned_away = [
        one for one in checks if any(code in json.dumps(one) for code in ("HTTP 401", "HTTP 403", "HTTP 429"))
    ]
    assert turned_away == []


def test_every_expected_failure_is_a_scenario_of_the_suite(node_tools: NodeTools) -> None:
    listed = node_tools.run(node_tools.modules / CONFORMANCE, "list").stdout

    expected = cast("dict[str, list[str]]", yaml.safe_load(EXPECTED_FAILURES.read_text(encoding="utf-8")))["server"]
    assert [one for one in expected if f"- {one} " not in listed] == []


@contextmanager
def passing_time(site: "Site") -> Generator[str]:
    """An address at which each call moves the clock on, one after the other."""

    class Clock(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.pass_time(STEP_S)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Clock) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
