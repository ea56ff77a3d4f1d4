"""Parses the messages that clients post to an MCP server and builds the responses.

Source: WSO2 API Manager 4.6 (McpInitHandler, MCPRequestDeserializer, MCPUtils.validateRequest, _mcp_failure_handler_):
one message per body, each with an id except for one notification; `jsonrpc` is ignored. 4.6 rejects an unknown method
before authentication, 4.7 after it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from aiohttp import web

from wso2_terms import mcp
from wso2_terms.mcp import Wso2Version

MessageId = str | int
_LARGEST_ID = 2**63


@dataclass(frozen=True, slots=True)
class Message:
    """A JSON-RPC request or notification."""

    message_id: MessageId | None
    """The id; None only for the notification `notifications/initialized`."""

    method: str
    """Name of the method."""

    params: Mapping[str, Any] | None
    """The parameters, None if absent."""


@dataclass(frozen=True, slots=True)
class InvalidMessage:
    """Result of parsing a body that is not a valid message."""

    error: mcp.RpcError
    """The error to return."""

    message_id: MessageId | None = None
    """The id of the message, None if it could not be read."""


def parse_message(content_type: str, body: bytes | None, version: Wso2Version) -> Message | InvalidMessage:
    """Parse a body as the given version of the product does."""
    if not body or content_type != "application/json":
        return InvalidMessage(mcp.build_invalid_request_error("No JSON-RPC payload found"))
    try:
        # json.loads would accept other encodings than UTF-8 for bytes, which the backend might read differently.
        document = json.loads(body.decode(), parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return InvalidMessage(mcp.MALFORMED)
    return (
        _validate_message(cast("dict[str, Any]", document), version)
        if isinstance(document, dict)
        else InvalidMessage(mcp.MALFORMED)
    )


def _validate_message(document: dict[str, Any], version: Wso2Version) -> Message | InvalidMessage:
    given, params, message_id = document.get("method"), document.get("params"), _parse_id(document.get("id"))
    if isinstance(given, dict | list) or not isinstance(params, dict | None):
        return InvalidMessage(mcp.MALFORMED, message_id)
    method = to_text(given)
    if not method:
        return InvalidMessage(mcp.build_invalid_request_error("Missing method field"), message_id)
    if version is Wso2Version.V4_6 and method not in mcp.METHODS:
        return InvalidMessage(mcp.build_method_not_found_error(method), message_id)
    if message_id is None and method != mcp.INITIALIZED:
        return InvalidMessage(mcp.build_invalid_request_error("Missing id field"))
    return Message(message_id, method, cast("Mapping[str, Any] | None", params))


def to_text(value: object) -> str | None:
    """Return the text that WSO2 reads for a JSON value: numbers and booleans as written, None for null."""
    return value if isinstance(value, str) else None if value is None else json.dumps(value)


def _parse_id(given: object) -> MessageId | None:
    """Return the id: a text, or a number without its fraction; None for anything else."""
    if isinstance(given, str):
        return given
    if not isinstance(given, int | float) or isinstance(given, bool) or not math.isfinite(given):
        return None
    return int(given) if -_LARGEST_ID <= given < _LARGEST_ID else None


def build_result_response(message: Message, value: object) -> web.Response:
    """Build the response to a successful request."""
    return _build_json_response(mcp.build_result(message.message_id, value))


def build_error_response(message: Message, error: mcp.RpcError) -> web.Response:
    """Build the response to a valid request that cannot be fulfilled."""
    return _build_json_response(mcp.build_error(message.message_id, error))


def build_failure_response(error: mcp.RpcError, message_id: MessageId | None, status: int) -> web.Response:
    """Build a response in WSO2's failure format, with the id as text.

    Args:
        error: The error.
        message_id: The id as far as it is known.
        status: HTTP status. WSO2's own status is doubtful here, see docs/local-gateway.md.
    """
    return _build_json_response(mcp.build_failure(message_id, error), status)


def _build_json_response(body: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(body), status=status, content_type="application/json")


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
