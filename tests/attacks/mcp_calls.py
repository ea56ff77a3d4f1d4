"""Calls at MCP servers, and how their answers are told."""

import json
from typing import Any

import httpx
from tests.attacks import own_api
from tests.attacks.attack_run import AttackRun

from wso2_provisioning.verification.formatting import format_status, parse_body
from wso2_terms.mcp import JSONRPC_VERSION, MCP_RESOURCE, TOOLS_CALL
from wso2_terms.mcp_project import McpServer

OWN_PATH = own_api.SERVER_VERSIONED_CONTEXT + MCP_RESOURCE
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def server_path(server: McpServer) -> str:
    """Where a server takes messages."""
    return server.versioned_context + MCP_RESOURCE


def post_message(
    run: AttackRun, path: str, content: bytes, token: str | None, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Post bytes to a server."""
    return run.call(token, path, method="POST", headers=_HEADERS | (headers or {}), content=content)


def send_request(run: AttackRun, path: str, method: str, token: str | None, **params: Any) -> httpx.Response:
    """Send one message."""
    message: dict[str, Any] = {"jsonrpc": JSONRPC_VERSION, "id": 1, "method": method}
    return post_message(run, path, json.dumps(message | ({"params": params} if params else {})).encode(), token)


def call_tool(run: AttackRun, path: str, tool: str, token: str | None, **arguments: Any) -> httpx.Response:
    """Call a tool."""
    return send_request(run, path, TOOLS_CALL, token, name=tool, arguments=arguments)


def format_mcp_response(answer: httpx.Response) -> str:
    """Tell what a server answered: a result, a tool's own error, a JSON-RPC error, or the gateway's fault."""
    match parse_body(answer):
        case {"result": {"isError": True}}:
            return "tool error"
        case {"result": {**_result}}:
            return "result"
        case {"error": {"code": int(code)}}:
            return f"error {code}"
        case _:
            return format_status(answer)
