"""Readings over MCP: the tool is called, its text is the reading; nothing is called before the tools were looked at.

Without a handshake: the gateway keeps no session, every message stands for itself.
Source: WSO2 API Manager 4.6.0.
"""

from collections.abc import Callable
from functools import partial
from itertools import count

from charging_agent.gateway.call_log import ProtocolName, Trouble
from charging_agent.gateway.mcp_messages import HEADERS, call_request, list_request, text_in, tools_in
from charging_agent.gateway.protocol import Api, CallFailed, Exchange, Published, R, Send, T
from charging_agent.gateway.tool_allowlist import ToolPins
from wso2_terms.mcp import TOOLS_LIST

_UNAPPROVED = Trouble.NOT_FOUND
"""The tool that was approved is not there, whatever stands in its place."""
_DOUBTFUL = frozenset({Trouble.NOT_FOUND, Trouble.GATEWAY_DOWN, Trouble.INVALID_READING})
"""What is met where a server was replaced, restarted or changed."""


class Mcp:
    """Speaks to the MCP servers that are made from the APIs.

    Args:
        pins: the tools that were approved.
    """

    protocol: ProtocolName = "mcp"

    def __init__(self, pins: ToolPins) -> None:
        self._pins = pins
        self._numbers = count(1)

    async def read(self, api: Api[R], send: Send) -> R:
        """Ask for one reading; for the server's list of tools first, where that is due."""
        server = api.over(self.protocol)
        await self._have_looked(server, send)
        number = next(self._numbers)
        read = partial(_reading, api, number)
        try:
            return await send(_message(server, api.operation_id, call_request(number, api.operation_id), read))
        except CallFailed as failure:
            if failure.trouble in _DOUBTFUL:
                self._pins.doubt(server.root)
            raise

    def health_error(self) -> str | None:
        """Which servers are refused, and why."""
        return self._pins.health_error()

    async def _have_looked(self, server: Published, send: Send) -> None:
        if self._pins.is_due(server.root):
            number = next(self._numbers)
            look = partial(self._look, server, number)
            await send(_message(server, TOOLS_LIST, list_request(number), look))
        elif self._pins.is_refused(server.root):
            raise CallFailed(_UNAPPROVED)

    def _look(self, server: Published, number: int, body: bytes) -> None:
        self._pins.look(server.root, tools_in(body, number))
        if self._pins.is_refused(server.root):
            raise CallFailed(_UNAPPROVED)


def _message(server: Published, resource: str, content: bytes, read: Callable[[bytes], T]) -> Exchange[T]:
    return Exchange(server.name, resource, "POST", server.path, read, HEADERS, content, protocol="mcp")


def _reading(api: Api[R], number: int, body: bytes) -> R:
    return api.model.model_validate_json(text_in(body, number))
