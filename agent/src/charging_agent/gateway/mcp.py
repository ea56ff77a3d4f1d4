"""Readings over MCP: calls a tool and parses its text, after the server's tools have been checked.

There is no handshake: the gateway keeps no session, every message stands for itself.
Source: WSO2 API Manager 4.6.0.
"""

from collections.abc import Callable
from functools import partial
from itertools import count

from charging_agent.gateway.call_log import FailureReason, ProtocolName
from charging_agent.gateway.mcp_messages import HEADERS, build_call_request, build_list_request, parse_text, parse_tools
from charging_agent.gateway.protocol import ApiRequest, GatewayCallError, PublishedApi, R, ReadingApi, Send, T
from charging_agent.gateway.tool_allowlist import ToolAllowlist
from wso2_terms.mcp import TOOLS_LIST

_TOOL_NOT_APPROVED = FailureReason.NOT_FOUND
"""The approved tool is missing or has changed."""
_RECHECK_REASONS = frozenset({FailureReason.NOT_FOUND, FailureReason.GATEWAY_DOWN, FailureReason.INVALID_READING})
"""Failures after which a server may have been replaced, restarted or changed."""


class McpAdapter:
    """Speaks to the MCP servers that are made from the APIs.

    Args:
        pins: the tools that were approved.
    """

    protocol: ProtocolName = "mcp"

    def __init__(self, allowlist: ToolAllowlist) -> None:
        self._allowlist = allowlist
        self._numbers = count(1)

    async def fetch(self, api: ReadingApi[R], send: Send) -> R:
        """Fetch one reading; check the server's tools first if that is due."""
        server = api.publication(self.protocol)
        await self._check_tools_if_due(server, send)
        number = next(self._numbers)
        read = partial(_parse_reading, api, number)
        try:
            return await send(
                _build_request(server, api.operation_id, build_call_request(number, api.operation_id), read)
            )
        except GatewayCallError as failure:
            if failure.reason in _RECHECK_REASONS:
                self._allowlist.invalidate(server.artifact_name)
            raise

    def health_error(self) -> str | None:
        """Return which servers are refused, and why."""
        return self._allowlist.health_error()

    async def _check_tools_if_due(self, server: PublishedApi, send: Send) -> None:
        if self._allowlist.is_due(server.artifact_name):
            number = next(self._numbers)
            look = partial(self._check_tools, server, number)
            await send(_build_request(server, TOOLS_LIST, build_list_request(number), look))
        elif self._allowlist.is_refused(server.artifact_name):
            raise GatewayCallError(_TOOL_NOT_APPROVED)

    def _check_tools(self, server: PublishedApi, number: int, body: bytes) -> None:
        self._allowlist.check(server.artifact_name, parse_tools(body, number))
        if self._allowlist.is_refused(server.artifact_name):
            raise GatewayCallError(_TOOL_NOT_APPROVED)


def _build_request(server: PublishedApi, resource: str, content: bytes, read: Callable[[bytes], T]) -> ApiRequest[T]:
    return ApiRequest(server.name, resource, "POST", server.path, read, HEADERS, content, protocol="mcp")


def _parse_reading(api: ReadingApi[R], number: int, body: bytes) -> R:
    return api.model.model_validate_json(parse_text(body, number))
