"""Reads what a client posts to an MCP server, and writes what it gets.

Pure but for making response objects.
Source: WSO2 API Manager 4.6 (McpInitHandler, MCPUtils.validateRequest, _mcp_failure_handler_): one message in a body,
each with an id but for one notification; methods are known or refused before anybody asks who calls.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from aiohttp import web

from wso2_terms import mcp

Id = str | int


@dataclass(frozen=True, slots=True)
class Message:
    """A request whose method is known; `message_id` is None for the one notification there is."""

    message_id: Id | None
    method: str
    params: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that is none, and its id as far as it is known."""

    error: mcp.RpcError
    message_id: Id | None = None


def read_message(content_type: str, body: bytes | None) -> Message | Failure:
    """Read a body."""
    if not body or content_type != "application/json":
        return Failure(mcp.invalid_request("No JSON-RPC payload found"))
    try:
        # Decoded here: json would take other encodings than UTF-8 for bytes, so that two readers might differ.
        read = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return Failure(mcp.MALFORMED)
    return _checked(cast("dict[str, Any]", read)) if isinstance(read, dict) else Failure(mcp.MALFORMED)


def _checked(read: dict[str, Any]) -> Message | Failure:
    version, method, given_id, params = (read.get(name) for name in ("jsonrpc", "method", "id", "params"))
    message_id = given_id if isinstance(given_id, str | int) and not isinstance(given_id, bool) else None
    if not version:
        return Failure(mcp.invalid_request("Missing jsonrpc field"), message_id)
    if version != mcp.JSONRPC_VERSION:
        return Failure(mcp.invalid_request("Invalid JSON-RPC version"), message_id)
    if not isinstance(method, str) or not method:
        return Failure(mcp.invalid_request("Missing method field"), message_id)
    if method not in mcp.METHODS:
        return Failure(mcp.method_not_found(method), message_id)
    if message_id is None and (method != mcp.INITIALIZED or given_id is not None):
        return Failure(mcp.invalid_request("Missing id field"))
    if params is not None and not isinstance(params, dict):
        return Failure(mcp.MALFORMED, message_id)
    return Message(message_id, method, cast("Mapping[str, Any] | None", params))


def result(message: Message, value: object) -> web.Response:
    """The answer to a request."""
    return _json(mcp.result_body(message.message_id, value))


def error(message: Message, wrong: mcp.RpcError) -> web.Response:
    """The answer to a request that was understood and can not be met; its id as it came."""
    return _json(mcp.error_body(message.message_id, wrong))


def failure(wrong: mcp.RpcError, message_id: Id | None, status: int) -> web.Response:
    """The answer in WSO2's failure shape, its id as text.

    Args:
        wrong: what is wrong.
        message_id: as far as it is known.
        status: HTTP status. WSO2's own is doubtful here, see docs/local-gateway.md.
    """
    return _json(mcp.error_body("null" if message_id is None else str(message_id), wrong), status)


def _json(body: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(body), status=status, content_type="application/json")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
