"""Answers calls of MCP servers: handshake, list of tools, and tool calls, which are forwarded to the API of the tool.

No session is kept: each message is independent, one per body, and has an id except for one notification. Calls pass the
same admission control as calls of APIs. The API of a tool must be deployed and available; its own subscriptions, scopes
and limits are not checked. 4.6 rejects an unknown method before authentication, 4.7 after it.
Source: WSO2 API Manager 4.6 (McpInitHandler, McpMediator, MCPRequestDeserializer, MCPUtils.validateRequest,
_mcp_failure_handler_; carbon-apimgt pull request 13360 for the call of the API).
"""

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn, cast

from aiohttp import web

from local_gateway.gateway.admission import AdmissionControl, check_availability, check_deny_policies
from local_gateway.gateway.backend import BackendResponse
from local_gateway.gateway.call import Call, build_metrics_event, read_body
from local_gateway.gateway.faults import Rejection, format_fault
from local_gateway.gateway.forwarder import Forwarder
from local_gateway.gateway.mcp_arguments import (
    INVALID_PATH_ARGUMENT,
    BackendRequest,
    InvalidArguments,
    build_backend_request,
)
from local_gateway.gateway.metrics import MetricsEvent, MetricsLog
from local_gateway.gateway.routing import RouteMatch, RouteNotFound, Router
from local_gateway.gateway.routing_model import GatewayApi, GatewayMcpServer, GatewayTool, Principal, Resource, Snapshot
from local_gateway.state import Store
from wso2_terms import mcp
from wso2_terms.codes import NOT_FOUND
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


_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?P<port>:[0-9]{1,5})?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class McpHandler:
    """Answers the calls of every MCP server of the gateway."""

    def __init__(
        self,
        admission: AdmissionControl,
        forwarder: Forwarder,
        metrics: MetricsLog,
        *,
        store: Store,
        hostname: str,
        max_request_bytes: int,
        version: Wso2Version,
    ) -> None:
        self._admission = admission
        self._forwarder = forwarder
        self._metrics = metrics
        self._store = store
        self._hostname = hostname
        self._max_request_bytes = max_request_bytes
        self._version = version
        self._reserved_headers = forwarder.reserved_headers

    async def answer(
        self, call: Call, server: GatewayMcpServer, resource: Resource, router: Router, snapshot: Snapshot
    ) -> web.StreamResponse | Rejection:
        """Answer a call of an available server.

        Args:
            call: The call.
            server: The called server.
            resource: The called resource of the server.
            router: Router that finds the API of a tool.
            snapshot: The snapshot that the call started with.
        """
        if resource.target == mcp.METADATA_RESOURCE:
            return self._build_metadata_response(call, server)
        if resource.verb == "GET":
            return build_failure_response(mcp.SSE_NOT_SUPPORTED, None, HTTPStatus.METHOD_NOT_ALLOWED)
        body = await read_body(call.request, self._max_request_bytes)
        if isinstance(body, Rejection):
            return body
        message = parse_message(call.request.content_type, body, self._version)
        if isinstance(message, InvalidMessage):
            return build_failure_response(message.error, message.message_id, HTTPStatus.BAD_REQUEST)
        tool = _find_tool(message, server) if message.method == mcp.TOOLS_CALL else None
        principal = self._admission.admit(call, server, _select_resource(message, server, resource, tool), snapshot)
        if isinstance(principal, Rejection):
            return principal
        if tool is None:
            return _answer_method(message, server, self._version)
        if isinstance(tool, mcp.RpcError):
            return build_error_response(message, tool)
        request = _build_request(message, tool, self._reserved_headers)
        if isinstance(request, BackendRequest):
            tool_call = _ToolCall(server, tool, principal, request)
            return await self._call_tool(call, message, tool_call, router, snapshot)
        return build_error_response(message, mcp.build_invalid_params_error(request.reason))

    async def _call_tool(
        self, call: Call, message: Message, tool_call: "_ToolCall", router: Router, snapshot: Snapshot
    ) -> web.StreamResponse:
        """Call the API of a tool in process; the metrics log records it as a call of its own."""
        started_s = time.perf_counter()
        tool = tool_call.tool
        route = router.find(tool.verb, snapshot.contexts.get(tool.api_id, "") + tool_call.request.path)
        if isinstance(route, RouteMatch) and route.resource.target != tool.target:
            # The arguments lead to another operation than the one that the caller was authorized for.
            return build_error_response(message, mcp.build_invalid_params_error(INVALID_PATH_ARGUMENT))
        api_call = call.create_subcall(tool.verb)
        answer = await self._call_api(api_call, route, tool_call, snapshot)
        call.backend_s = api_call.backend_s
        if self._metrics.is_on:
            self._metrics.add(_build_metrics_event(api_call, answer, time.perf_counter() - started_s))
        if isinstance(answer, Rejection):
            return build_result_response(message, mcp.build_tool_result(format_fault(answer), is_error=True))
        return _build_tool_response(message, answer)

    async def _call_api(
        self, api_call: Call, route: RouteMatch | RouteNotFound, tool_call: "_ToolCall", snapshot: Snapshot
    ) -> BackendResponse | Rejection:
        if isinstance(route, RouteNotFound):
            return Rejection(route.fault)
        if not isinstance(route.product, GatewayApi):
            return Rejection(NOT_FOUND)
        api_call.product, api_call.template = route.product, route.resource.target
        # Deny policies of the API apply to its tools as well.
        rejection = check_availability(route.product, "https") or check_deny_policies(
            route.product, tool_call.principal, api_call.client_address, snapshot
        )
        if rejection is not None:
            return rejection
        withheld = frozenset({tool_call.server.authorization_header.lower()})
        return await self._forwarder.fetch(api_call, route.product, tool_call.principal, tool_call.request, withheld)

    def _build_metadata_response(self, call: Call, server: GatewayMcpServer) -> web.Response:
        base = f"{call.request.scheme}://{self._find_public_host(call.request.host)}{server.context}"
        return web.json_response(
            {
                "resource": base + mcp.MCP_RESOURCE,
                "authorization_servers": [self._store.state.issuer],
                "scopes_supported": list(server.scopes),
            }
        )

    def _find_public_host(self, given: str) -> str:
        # Clients take the server's address from this document, so a foreign Host header must not appear in it.
        found = _HOST.fullmatch(given)
        if found is None:
            return self._hostname
        return given if found["name"] in {self._hostname, *_LOOPBACK} else self._hostname + (found["port"] or "")


@dataclass(frozen=True, slots=True)
class _ToolCall:
    """An admitted tool call."""

    server: GatewayMcpServer
    tool: GatewayTool
    principal: Principal
    request: BackendRequest
    """The request that its arguments became."""


def _find_tool(message: Message, server: GatewayMcpServer) -> GatewayTool | mcp.RpcError:
    if message.params is None:
        return mcp.build_invalid_request_error("Missing params field")
    name = to_text(message.params.get("name"))
    if not name:
        return mcp.build_invalid_request_error("Missing toolName field")
    return server.tools.get(name, mcp.TOOL_MISSING)


def _select_resource(
    message: Message, server: GatewayMcpServer, resource: Resource, tool: GatewayTool | mcp.RpcError | None
) -> Resource:
    """Return the resource to authorize a message for: its tool, the list of tools, or the open resource itself."""
    if isinstance(tool, GatewayTool):
        return tool.resource
    return resource if message.method in mcp.OPEN_METHODS else server.list_resource


def _build_request(
    message: Message, tool: GatewayTool, reserved_headers: frozenset[str]
) -> BackendRequest | InvalidArguments:
    arguments: object = (message.params or {}).get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        return InvalidArguments("arguments is no object")
    return build_backend_request(
        tool.target, tool.arguments, cast("Mapping[str, Any]", arguments or {}), reserved_headers
    )


def _answer_method(message: Message, server: GatewayMcpServer, version: Wso2Version) -> web.Response:
    match message.method:
        case mcp.INITIALIZED:
            return web.Response(status=HTTPStatus.ACCEPTED)
        case mcp.INITIALIZE:
            return _answer_initialize(message, server, version)
        case mcp.TOOLS_LIST:
            return build_result_response(message, server.tool_list)
        case mcp.PING | mcp.PROMPTS_LIST | mcp.RESOURCES_LIST | mcp.RESOURCE_TEMPLATES_LIST:
            # WSO2 returns an empty object for what a server does not offer, without an empty list in it.
            return build_result_response(message, {})
        case _:
            return build_error_response(message, mcp.METHOD_MISSING)


def _answer_initialize(message: Message, server: GatewayMcpServer, version: Wso2Version) -> web.Response:
    if message.params is None:
        return build_error_response(message, mcp.build_invalid_request_error("Missing params field"))
    requested = to_text(message.params.get("protocolVersion"))
    if not requested:
        return build_error_response(message, mcp.build_missing_protocol_error(version))
    if version is Wso2Version.V4_6 and requested != mcp.PROTOCOL_VERSION:
        return build_error_response(message, mcp.build_unsupported_protocol_error(requested))
    return build_result_response(message, mcp.build_initialize_result(server.name, server.version))


def _build_tool_response(message: Message, answer: BackendResponse) -> web.Response:
    content_type = answer.content_type.lower()
    if "application/json" not in content_type:
        return _build_backend_failure(message, mcp.build_not_json_error(answer.content_type))
    if answer.body is None:
        return _build_backend_failure(
            message, mcp.build_invalid_request_error("The response is larger than this gateway passes on")
        )
    try:
        text = answer.body.decode()
    except UnicodeDecodeError:
        return _build_backend_failure(message, mcp.build_invalid_request_error("The response is no JSON"))
    is_error = not HTTPStatus(200) <= answer.status < HTTPStatus(300)
    if not text:
        text = f"Error occurred during tool call. HTTP Status Code: {answer.status}" if is_error else ""
    return build_result_response(message, mcp.build_tool_result(text, is_error=is_error))


def _build_backend_failure(message: Message, error: mcp.RpcError) -> web.Response:
    return build_failure_response(error, message.message_id, HTTPStatus.INTERNAL_SERVER_ERROR)


def _build_metrics_event(api_call: Call, answer: BackendResponse | Rejection, latency_s: float) -> MetricsEvent:
    if isinstance(answer, Rejection):
        return build_metrics_event(api_call, answer.fault.http_status, answer, latency_s, 0)
    return build_metrics_event(api_call, answer.status, None, latency_s, len(answer.body or b""))
