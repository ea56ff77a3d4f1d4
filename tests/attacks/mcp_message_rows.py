"""What may be said to an MCP server: messages that are none, tools and methods that are not there, arguments."""

import json
from typing import Any

from tests.attacks import own_api
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import summarize, table
from tests.attacks.mcp_calls import OWN_PATH, call_tool, format_mcp_response, post_message, send_request, server_path
from tests.attacks.mcp_rows import tools_token
from tests.attacks.rows import Group, Observation, Row

from wso2_terms import mcp
from wso2_terms.mcp_project import McpServer

_REFUSED = "refused each"


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.MCP,
        ("unknown-tool", "unknown tools, another server's tools", "error -32600 each", _unknown_tool),
        ("unknown-method", "unknown methods", "error -32601 each", _unknown_method),
        ("malformed", "no JSON, no object, a batch, no id, deep nesting", _REFUSED, _try_malformed),
        ("huge-id", "ids of 200 digits and 100 KiB", "serves on", _huge_id),
        ("revision", "unknown protocol revisions", "error -32602 each", _revision),
        ("stream", "GET for a stream", "405, no stream", _stream),
        ("arguments", "additional, mistyped, missing arguments", "error -32602 each", _arguments),
        ("path-argument", "/../ in a path argument", "no other resource", _path_argument),
    )


def _unknown_tool(run: AttackRun) -> Observation:
    token = tools_token(run, own_api.TOOL_SCOPE)
    names = ("nothing", "getSolarStatus", "postLivez", own_api.TOOL.upper(), "", "../getLivez", "__proto__")
    return Observation(summarize(format_mcp_response(call_tool(run, OWN_PATH, name, token)) for name in names))


def _unknown_method(run: AttackRun) -> Observation:
    token = tools_token(run, own_api.TOOL_SCOPE)
    methods = ("tools/delete", "server/discover", "TOOLS/CALL", "tools/call ", "logging/setLevel")
    return Observation(summarize(format_mcp_response(send_request(run, OWN_PATH, method, token)) for method in methods))


def _try_malformed(run: AttackRun) -> Observation:
    token = tools_token(run, own_api.TOOL_SCOPE)
    call: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": mcp.TOOLS_CALL,
        "params": {"name": own_api.TOOL, "arguments": {}},
    }
    bodies = (
        b"",
        b"no json",
        b"null",
        b'"text"',
        json.dumps([call]).encode(),
        json.dumps([call] * 50).encode(),
        json.dumps(call | {"id": None}).encode(),
        json.dumps(call | {"params": [1]}).encode(),
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001,
    )
    answers = [format_mcp_response(post_message(run, OWN_PATH, body, token)) for body in bodies]
    let_through = [answer for answer in answers if not answer.startswith(("error -32", "400", "413"))]
    return Observation("; ".join(let_through) if let_through else _REFUSED, f"{len(bodies)} bodies")


def _huge_id(run: AttackRun) -> Observation:
    token = tools_token(run, own_api.TOOL_SCOPE)
    for value in (b"9" * 200, b'"' + b"x" * 102_400 + b'"'):
        post_message(run, OWN_PATH, b'{"jsonrpc":"2.0","method":"ping","id":' + value + b"}", token)
    after = format_mcp_response(call_tool(run, OWN_PATH, own_api.TOOL, token))
    # A server that answers everything alike has understood none of it.
    unknown = format_mcp_response(send_request(run, OWN_PATH, "nothing/at-all", token))
    return Observation("serves on" if (after, unknown) == ("result", "error -32601") else f"{after}; {unknown}")


def _revision(run: AttackRun) -> Observation:
    versions = ("2024-11-05", "2026-01-01", "1", "latest")
    tries = (_initialize(run, version) for version in versions)
    return Observation(summarize(tries))


def _initialize(run: AttackRun, version: str) -> str:
    client = {"name": "attacker", "version": "1"}
    return format_mcp_response(
        send_request(run, OWN_PATH, mcp.INITIALIZE, None, protocolVersion=version, capabilities={}, clientInfo=client)
    )


def _stream(run: AttackRun) -> Observation:
    answer = run.call(tools_token(run, own_api.TOOL_SCOPE), OWN_PATH, headers={"Accept": "text/event-stream"})
    kind = "a stream" if "event-stream" in answer.headers.get("Content-Type", "") else "no stream"
    return Observation(f"{answer.status_code}, {kind}")


def _arguments(run: AttackRun) -> Observation:
    arguments: tuple[dict[str, Any], ...] = (
        {},
        {"decision_id": {"$ne": None}},
        {"decision_id": ["x"]},
        {"decision_id": "x", "admin": True},
        {"decision_id": "x", "Authorization": "Bearer x"},
    )
    token = _agent_token(run, "Arguments")
    return Observation(summarize(_explain_decision(run, token, given) for given in arguments))


def _path_argument(run: AttackRun) -> Observation:
    values = ("../../metrics", "..%2f..%2fmetrics", "..", "x/../../health", "x?limit=1", "x#", "%2e%2e", "a\r\nX: y")
    token = _agent_token(run, "Paths")
    answers = [_explain_decision(run, token, {"decision_id": value}) for value in values]
    reached = [answer for answer in answers if answer == "result"]
    return Observation("another resource" if reached else "no other resource", "; ".join(sorted(set(answers))))


def _explain_decision(run: AttackRun, token: str, arguments: dict[str, Any]) -> str:
    return format_mcp_response(call_tool(run, server_path(_agent_server(run)), "explain_decision", token, **arguments))


def _agent_token(run: AttackRun, name: str) -> str:
    """A token of an application with a plan of its own: every call is counted, the refused arguments too."""
    tools_token(run, own_api.TOOL_SCOPE)
    application = run.resources.application(name, "AgentMCP")
    return run.token(application, _agent_server(run).scopes[0].scope.name)


def _agent_server(run: AttackRun) -> McpServer:
    return run.stack.artifacts.find_mcp_server("AgentMCP").server
