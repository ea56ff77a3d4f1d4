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
from local_gateway.gateway.authorize import Grant, Refusal, denied
from local_gateway.gateway.backend import Fetched
from local_gateway.gateway.call import Call, finished, read_body
from local_gateway.gateway.checks import Checks, shut
from local_gateway.gateway.faults import fault_text
from local_gateway.gateway.mcp_arguments import NO_PART_OF_A_PATH, Outgoing, Unusable, outgoing
from local_gateway.gateway.mcp_messages import Failure, Message
from local_gateway.gateway.metrics import Finished, MetricsLog
from local_gateway.gateway.passage import Passage
from local_gateway.gateway.routing import Match, Miss, Router
from local_gateway.gateway.served import Resource, ServedApi, ServedMcpServer, ServedTool, Snapshot
from wso2_terms import mcp
from wso2_terms.codes import NOT_FOUND
from wso2_terms.mcp import Wso2Version

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?P<port>:[0-9]{1,5})?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class McpFront:
    """Serves every MCP server of the gateway."""

    def __init__(
        self,
        checks: Checks,
        passage: Passage,
        metrics: MetricsLog,
        *,
        issuer: Callable[[], str],
        hostname: str,
        max_request_bytes: int,
        version: Wso2Version,
    ) -> None:
        self._checks = checks
        self._passage = passage
        self._metrics = metrics
        self._issuer = issuer
        self._hostname = hostname
        self._max_request_bytes = max_request_bytes
        self._version = version
        self._own_headers = passage.own_headers

    async def answer(
        self, call: Call, server: ServedMcpServer, resource: Resource, router: Router, snapshot: Snapshot
    ) -> web.StreamResponse | Refusal:
        """Answer a call of a server that is open.

        Args:
            call: the call.
            server: the server.
            resource: which of its resources.
            router: finds the API behind.
            snapshot: the state that the call began with.
        """
        if resource.target == mcp.METADATA_RESOURCE:
            return self._metadata(call, server)
        if resource.verb == "GET":
            return mcp_messages.failure(mcp.SSE_NOT_SUPPORTED, None, HTTPStatus.METHOD_NOT_ALLOWED)
        body = await read_body(call.request, self._max_request_bytes)
        if isinstance(body, Refusal):
            return body
        message = mcp_messages.read_message(call.request.content_type, body, self._version)
        if isinstance(message, Failure):
            return mcp_messages.failure(message.error, message.message_id, HTTPStatus.BAD_REQUEST)
        tool = _tool_of(message, server) if message.method == mcp.TOOLS_CALL else None
        granted = self._checks.admit(call, server, _checked_for(message, server, resource, tool), snapshot)
        if isinstance(granted, Refusal):
            return granted
        if tool is None:
            return _answered(message, server, self._version)
        if isinstance(tool, mcp.RpcError):
            return mcp_messages.error(message, tool)
        asked = _asked(message, tool, self._own_headers)
        if isinstance(asked, Outgoing):
            within = _Within(server, tool, granted, asked)
            return await self._called(call, message, within, router, snapshot)
        return mcp_messages.error(message, mcp.build_invalid_params_error(asked.reason))

    async def _called(
        self, call: Call, message: Message, within: "_Within", router: Router, snapshot: Snapshot
    ) -> web.StreamResponse:
        """Call the API behind in process, and note it as the call of its own that it is."""
        started_s = time.perf_counter()
        tool = within.tool
        found = router.find(tool.verb, snapshot.contexts.get(tool.api_id, "") + within.asked.path)
        if isinstance(found, Match) and found.resource.target != tool.target:
            # An argument made the path that of another operation, which the tool was not allowed for.
            return mcp_messages.error(message, mcp.build_invalid_params_error(NO_PART_OF_A_PATH))
        behind = call.within(tool.verb)
        answer = await self._behind(behind, found, within, snapshot)
        call.backend_s = behind.backend_s
        if self._metrics.is_on:
            self._metrics.add(_noted(behind, answer, time.perf_counter() - started_s))
        if isinstance(answer, Refusal):
            return mcp_messages.result(message, mcp.build_tool_result(fault_text(answer), is_error=True))
        return _tool_answer(message, answer)

    async def _behind(
        self, behind: Call, found: Match | Miss, within: "_Within", snapshot: Snapshot
    ) -> Fetched | Refusal:
        if isinstance(found, Miss):
            return Refusal(found.fault)
        if not isinstance(found.api, ServedApi):
            return Refusal(NOT_FOUND)
        behind.served, behind.template = found.api, found.resource.target
        # Deny policies hold here too: who closes an API means every way to it.
        refused = shut(found.api, "https") or denied(found.api, within.grant, behind.client_address, snapshot)
        if refused is not None:
            return refused
        withheld = frozenset({within.server.authorization_header.lower()})
        return await self._passage.fetch(behind, found.api, within.grant, within.asked, withheld)

    def _metadata(self, call: Call, server: ServedMcpServer) -> web.Response:
        base = f"{call.request.scheme}://{self._public_host(call.request.host)}{server.context}"
        return web.json_response(
            {
                "resource": base + mcp.MCP_RESOURCE,
                "authorization_servers": [self._issuer()],
                "scopes_supported": list(server.scopes),
            }
        )

    def _public_host(self, given: str) -> str:
        # A host that is not this gateway's is not repeated: clients take the address from here.
        found = _HOST.fullmatch(given)
        if found is None:
            return self._hostname
        return given if found["name"] in {self._hostname, *_LOOPBACK} else self._hostname + (found["port"] or "")


@dataclass(frozen=True, slots=True)
class _Within:
    """A tool call that may pass, on its way to the API behind."""

    server: ServedMcpServer
    tool: ServedTool
    grant: Grant
    asked: Outgoing


def _tool_of(message: Message, server: ServedMcpServer) -> ServedTool | mcp.RpcError:
    if message.params is None:
        return mcp.build_invalid_request_error("Missing params field")
    name = mcp_messages.text_of(message.params.get("name"))
    if not name:
        return mcp.build_invalid_request_error("Missing toolName field")
    return server.tools.get(name, mcp.TOOL_MISSING)


def _checked_for(
    message: Message, server: ServedMcpServer, resource: Resource, tool: ServedTool | mcp.RpcError | None
) -> Resource:
    """For what a message is checked: its tool, the list of tools, or nothing at all."""
    if isinstance(tool, ServedTool):
        return tool.resource
    return resource if message.method in mcp.OPEN_METHODS else server.listing


def _asked(message: Message, tool: ServedTool, own_headers: frozenset[str]) -> Outgoing | Unusable:
    arguments: object = (message.params or {}).get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        return Unusable("arguments is no object")
    return outgoing(tool.target, tool.arguments, cast("Mapping[str, Any]", arguments or {}), own_headers)


def _answered(message: Message, server: ServedMcpServer, version: Wso2Version) -> web.Response:
    match message.method:
        case mcp.INITIALIZED:
            return web.Response(status=HTTPStatus.ACCEPTED)
        case mcp.INITIALIZE:
            return _initialized(message, server, version)
        case mcp.TOOLS_LIST:
            return mcp_messages.result(message, server.listed)
        case mcp.PING | mcp.PROMPTS_LIST | mcp.RESOURCES_LIST | mcp.RESOURCE_TEMPLATES_LIST:
            # Of what a server does not have it gives no list, not even an empty one.
            return mcp_messages.result(message, {})
        case _:
            return mcp_messages.error(message, mcp.METHOD_MISSING)


def _initialized(message: Message, server: ServedMcpServer, version: Wso2Version) -> web.Response:
    if message.params is None:
        return mcp_messages.error(message, mcp.build_invalid_request_error("Missing params field"))
    requested = mcp_messages.text_of(message.params.get("protocolVersion"))
    if not requested:
        return mcp_messages.error(message, mcp.build_missing_protocol_error(version))
    if version is Wso2Version.V4_6 and requested != mcp.PROTOCOL_VERSION:
        return mcp_messages.error(message, mcp.build_unsupported_protocol_error(requested))
    return mcp_messages.result(message, mcp.build_initialize_result(server.name, server.version))


def _tool_answer(message: Message, answer: Fetched) -> web.Response:
    found = answer.content_type.lower()
    if "application/json" not in found:
        return _backend_failure(message, mcp.build_not_json_error(answer.content_type))
    if answer.body is None:
        return _backend_failure(
            message, mcp.build_invalid_request_error("The response is larger than this gateway passes on")
        )
    try:
        text = answer.body.decode()
    except UnicodeDecodeError:
        return _backend_failure(message, mcp.build_invalid_request_error("The response is no JSON"))
    is_error = not HTTPStatus(200) <= answer.status < HTTPStatus(300)
    if not text:
        text = f"Error occurred during tool call. HTTP Status Code: {answer.status}" if is_error else ""
    return mcp_messages.result(message, mcp.build_tool_result(text, is_error=is_error))


def _backend_failure(message: Message, wrong: mcp.RpcError) -> web.Response:
    return mcp_messages.failure(wrong, message.message_id, HTTPStatus.INTERNAL_SERVER_ERROR)


def _noted(behind: Call, answer: Fetched | Refusal, latency_s: float) -> Finished:
    if isinstance(answer, Refusal):
        return finished(behind, answer.fault.http_status, answer, latency_s, 0)
    return finished(behind, answer.status, None, latency_s, len(answer.body or b""))
