"""Answers calls at an MCP server: the handshake, the list of tools, and tools, whose calls go on to the API behind.

No session is kept: each message stands for itself. Who may call is decided by the checks that APIs have as well; the
API behind a tool must be deployed and open, its own subscriptions, scopes and limits are not asked.
Source: WSO2 API Manager 4.6 (McpInitHandler, McpMediator; carbon-apimgt pull request 13360 for the pass behind).
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web

from local_gateway.gateway import mcp_messages
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
from local_gateway.gateway.mcp_messages import InvalidMessage, Message
from local_gateway.gateway.metrics import MetricsEvent, MetricsLog
from local_gateway.gateway.routing import RouteMatch, RouteNotFound, Router
from local_gateway.gateway.routing_model import GatewayApi, GatewayMcpServer, GatewayTool, Principal, Resource, Snapshot
from wso2_terms import mcp
from wso2_terms.codes import NOT_FOUND
from wso2_terms.mcp import Wso2Version

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?P<port>:[0-9]{1,5})?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class McpHandler:
    """Serves every MCP server of the gateway."""

    def __init__(
        self,
        admission: AdmissionControl,
        forwarder: Forwarder,
        metrics: MetricsLog,
        *,
        issuer: Callable[[], str],
        hostname: str,
        max_request_bytes: int,
        version: Wso2Version,
    ) -> None:
        self._admission = admission
        self._forwarder = forwarder
        self._metrics = metrics
        self._issuer = issuer
        self._hostname = hostname
        self._max_request_bytes = max_request_bytes
        self._version = version
        self._reserved_headers = forwarder.reserved_headers

    async def answer(
        self, call: Call, server: GatewayMcpServer, resource: Resource, router: Router, snapshot: Snapshot
    ) -> web.StreamResponse | Rejection:
        """Answer a call of a server that is open.

        Args:
            call: the call.
            server: the server.
            resource: which of its resources.
            router: finds the API behind.
            snapshot: the state that the call began with.
        """
        if resource.target == mcp.METADATA_RESOURCE:
            return self._build_metadata_response(call, server)
        if resource.verb == "GET":
            return mcp_messages.build_failure_response(mcp.SSE_NOT_SUPPORTED, None, HTTPStatus.METHOD_NOT_ALLOWED)
        body = await read_body(call.request, self._max_request_bytes)
        if isinstance(body, Rejection):
            return body
        message = mcp_messages.parse_message(call.request.content_type, body, self._version)
        if isinstance(message, InvalidMessage):
            return mcp_messages.build_failure_response(message.error, message.message_id, HTTPStatus.BAD_REQUEST)
        tool = _find_tool(message, server) if message.method == mcp.TOOLS_CALL else None
        granted = self._admission.admit(call, server, _select_resource(message, server, resource, tool), snapshot)
        if isinstance(granted, Rejection):
            return granted
        if tool is None:
            return _answer_method(message, server, self._version)
        if isinstance(tool, mcp.RpcError):
            return mcp_messages.build_error_response(message, tool)
        asked = _build_request(message, tool, self._reserved_headers)
        if isinstance(asked, BackendRequest):
            within = _ToolCall(server, tool, granted, asked)
            return await self._call_tool(call, message, within, router, snapshot)
        return mcp_messages.build_error_response(message, mcp.build_invalid_params_error(asked.reason))

    async def _call_tool(
        self, call: Call, message: Message, tool_call: "_ToolCall", router: Router, snapshot: Snapshot
    ) -> web.StreamResponse:
        """Call the API behind in process, and note it as the call of its own that it is."""
        started_s = time.perf_counter()
        tool = tool_call.tool
        route = router.find(tool.verb, snapshot.contexts.get(tool.api_id, "") + tool_call.request.path)
        if isinstance(route, RouteMatch) and route.resource.target != tool.target:
            # An argument made the path that of another operation, which the tool was not allowed for.
            return mcp_messages.build_error_response(message, mcp.build_invalid_params_error(INVALID_PATH_ARGUMENT))
        api_call = call.create_subcall(tool.verb)
        answer = await self._call_api(api_call, route, tool_call, snapshot)
        call.backend_s = api_call.backend_s
        if self._metrics.is_on:
            self._metrics.add(_build_metrics_event(api_call, answer, time.perf_counter() - started_s))
        if isinstance(answer, Rejection):
            return mcp_messages.build_result_response(
                message, mcp.build_tool_result(format_fault(answer), is_error=True)
            )
        return _build_tool_response(message, answer)

    async def _call_api(
        self, api_call: Call, route: RouteMatch | RouteNotFound, tool_call: "_ToolCall", snapshot: Snapshot
    ) -> BackendResponse | Rejection:
        if isinstance(route, RouteNotFound):
            return Rejection(route.fault)
        if not isinstance(route.product, GatewayApi):
            return Rejection(NOT_FOUND)
        api_call.product, api_call.template = route.product, route.resource.target
        # Deny policies hold here too: who closes an API means every way to it.
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
                "authorization_servers": [self._issuer()],
                "scopes_supported": list(server.scopes),
            }
        )

    def _find_public_host(self, given: str) -> str:
        # A host that is not this gateway's is not repeated: clients take the address from here.
        found = _HOST.fullmatch(given)
        if found is None:
            return self._hostname
        return given if found["name"] in {self._hostname, *_LOOPBACK} else self._hostname + (found["port"] or "")


@dataclass(frozen=True, slots=True)
class _ToolCall:
    """A tool call that may pass, on its way to the API behind."""

    server: GatewayMcpServer
    tool: GatewayTool
    principal: Principal
    request: BackendRequest


def _find_tool(message: Message, server: GatewayMcpServer) -> GatewayTool | mcp.RpcError:
    if message.params is None:
        return mcp.build_invalid_request_error("Missing params field")
    name = mcp_messages.to_text(message.params.get("name"))
    if not name:
        return mcp.build_invalid_request_error("Missing toolName field")
    return server.tools.get(name, mcp.TOOL_MISSING)


def _select_resource(
    message: Message, server: GatewayMcpServer, resource: Resource, tool: GatewayTool | mcp.RpcError | None
) -> Resource:
    """For what a message is checked: its tool, the list of tools, or nothing at all."""
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
            return mcp_messages.build_result_response(message, server.tool_list)
        case mcp.PING | mcp.PROMPTS_LIST | mcp.RESOURCES_LIST | mcp.RESOURCE_TEMPLATES_LIST:
            # Of what a server does not have it gives no list, not even an empty one.
            return mcp_messages.build_result_response(message, {})
        case _:
            return mcp_messages.build_error_response(message, mcp.METHOD_MISSING)


def _answer_initialize(message: Message, server: GatewayMcpServer, version: Wso2Version) -> web.Response:
    if message.params is None:
        return mcp_messages.build_error_response(message, mcp.build_invalid_request_error("Missing params field"))
    requested = mcp_messages.to_text(message.params.get("protocolVersion"))
    if not requested:
        return mcp_messages.build_error_response(message, mcp.build_missing_protocol_error(version))
    if version is Wso2Version.V4_6 and requested != mcp.PROTOCOL_VERSION:
        return mcp_messages.build_error_response(message, mcp.build_unsupported_protocol_error(requested))
    return mcp_messages.build_result_response(message, mcp.build_initialize_result(server.name, server.version))


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
    return mcp_messages.build_result_response(message, mcp.build_tool_result(text, is_error=is_error))


def _build_backend_failure(message: Message, error: mcp.RpcError) -> web.Response:
    return mcp_messages.build_failure_response(error, message.message_id, HTTPStatus.INTERNAL_SERVER_ERROR)


def _build_metrics_event(api_call: Call, answer: BackendResponse | Rejection, latency_s: float) -> MetricsEvent:
    if isinstance(answer, Rejection):
        return build_metrics_event(api_call, answer.fault.http_status, answer, latency_s, 0)
    return build_metrics_event(api_call, answer.status, None, latency_s, len(answer.body or b""))
