"""Readings over MCP: calls a tool and parses its text, after the server's tools have been checked.

There is no handshake: the gateway keeps no session, every message stands for itself. A result's text is data only: it
is parsed as a reading or rejected, never followed as an instruction.
Source: WSO2 API Manager 4.6.0 (one JSON response per POST, no session, text content only, ids as text in errors)
and the Model Context Protocol, revision 2025-06-18.
"""

import json
from dataclasses import dataclass
from itertools import count
from typing import Any, cast

from charging_agent.gateway.calls import (
    ApiRequest,
    EmbeddedError,
    FailureReason,
    GatewayCallError,
    ProtocolName,
    PublishedApi,
    R,
    ReadingApi,
    RequestSender,
)
from charging_agent.gateway.tool_allowlist import ToolAllowlist
from wso2_terms import codes, mcp
from wso2_terms.mcp import TOOLS_LIST
from wso2_terms.tools import Tool

HEADERS = {
    # The specification requires both; 4.6 answers in JSON only, and streams are not read.
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": mcp.PROTOCOL_VERSION,
}
"""Headers of every message."""

_INTERNAL_ERROR = -32603
_NOT_JSON = str(mcp.build_not_json_error("").data).partition(".")[0]
_STATUS_BY_ERROR = {mcp.METHOD_NOT_FOUND: 404, mcp.INVALID_PARAMS: 404, _INTERNAL_ERROR: 502}

_TOOL_NOT_APPROVED = FailureReason.NOT_FOUND
"""The approved tool is missing or has changed."""
_RECHECK_REASONS = frozenset({FailureReason.NOT_FOUND, FailureReason.GATEWAY_DOWN, FailureReason.INVALID_READING})
"""Failures after which a server may have been replaced, restarted or changed."""


def build_list_request(number: int) -> bytes:
    """Build a request for the list of tools."""
    return _build_request(number, mcp.TOOLS_LIST, {})


def build_call_request(number: int, tool: str) -> bytes:
    """Build a call of a tool without arguments."""
    return _build_request(number, mcp.TOOLS_CALL, {"name": tool, "arguments": {}})


def parse_tools(body: bytes, number: int) -> tuple[Tool, ...]:
    """Parse the tools of a `tools/list` response.

    Args:
        body: of an answer with status 200.
        number: of the request that it answers.

    Raises:
        EmbeddedError: it is a failure.
        ValueError: it is no answer to this request, or not the whole list.
    """
    result = _parse_result(body, number)
    if result.get("nextCursor"):
        raise ValueError("a list in several parts")
    tools = tuple(_parse_tool(entry) for entry in _require_list(result.get("tools")))
    if len({tool.name for tool in tools}) < len(tools):
        raise ValueError("two tools of one name")
    return tools


def parse_text(body: bytes, number: int) -> str:
    """Parse the text of a `tools/call` response.

    Args:
        body: of an answer with status 200.
        number: of the request that it answers.

    Raises:
        EmbeddedError: the call or what is behind the tool failed.
        ValueError: it is no answer to this request, or not one text.
    """
    result = _parse_result(body, number)
    contents = _require_list(result.get("content"))
    # Anything but a plain false is a failure: no reading is taken in doubt.
    if result.get("isError", False) is not False:
        raise _tool_error(_parse_text_content(contents[0]) if contents else "")
    if len(contents) != 1:
        raise ValueError(f"{len(contents)} contents where one is the reading")
    return _parse_text_content(contents[0])


def _build_request(number: int, method: str, params: dict[str, object]) -> bytes:
    return json.dumps({"jsonrpc": mcp.JSONRPC_VERSION, "id": number, "method": method, "params": params}).encode()


def _parse_result(body: bytes, number: int) -> dict[str, Any]:
    message = _require_object(json.loads(body.decode()))
    if "error" in message:
        raise EmbeddedError(_http_status(_require_object(message["error"])), body)
    # Failures come with their id as text; results are not trusted to do otherwise.
    if str(message.get("id")) != str(number):
        raise ValueError("the answer to another request")
    return _require_object(message.get("result"))


def _http_status(error: dict[str, Any]) -> int:
    """The HTTP status that the same failure has over REST."""
    code, data = error.get("code"), error.get("data")
    if data == mcp.TOOL_MISSING.data:
        return 404
    # A service answers with problem+json when it has no reading, which the gateway takes for no JSON.
    if isinstance(data, str) and data.startswith(_NOT_JSON):
        return 500
    return _STATUS_BY_ERROR.get(code, 400) if isinstance(code, int) else 400


def _tool_error(text: str) -> EmbeddedError:
    """Map the text of a failed tool call: a service's problem+json, a WSO2 fault, or anything else."""
    try:
        problem = _require_object(json.loads(text))
    except (ValueError, RecursionError):
        problem = {}
    status = _embedded_status(problem)
    # The token was valid for the tool. A 401 behind it refuses the gateway itself, so renewing the token does not help.
    return EmbeddedError(500 if status == 401 else status, text.encode(errors="replace"))


def _embedded_status(problem: dict[str, Any]) -> int:
    code = str(problem.get("code"))
    if code in codes.FAULTS_BY_CODE:
        return codes.FAULTS_BY_CODE[code].http_status
    # Routing faults repeat the HTTP status as their code; problem+json has it as a number.
    status = int(code) if code in ("403", "404", "405") else problem.get("status")
    return status if isinstance(status, int) and 400 <= status <= 599 else 500


def _parse_tool(entry: object) -> Tool:
    tool = _require_object(entry)
    name, description = tool.get("name"), tool.get("description", "")
    if not isinstance(name, str) or not isinstance(description, str):
        raise ValueError("a tool without a name, or described by no text")
    return Tool(name, description, _require_object(tool.get("inputSchema")))


def _parse_text_content(content: object) -> str:
    described = _require_object(content)
    text = described.get("text")
    if described.get("type") != "text" or not isinstance(text, str):
        raise ValueError("content that is no text")
    return text


def _require_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("no JSON object where one must be")
    return cast("dict[str, Any]", value)


def _require_list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("no list where one must be")
    return cast("list[object]", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToolCall(ApiRequest[R]):
    """Call of the tool that returns a reading."""

    model: type[R]
    """Model of the reading."""
    number: int
    """Id of the message."""

    def parse_response(self, body: bytes) -> R:
        return self.model.model_validate_json(parse_text(body, self.number))


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToolListRequest(ApiRequest[tuple[Tool, ...]]):
    """Request for the tools of a server, compared with the approved ones."""

    allowlist: ToolAllowlist
    """Approved tools."""
    server: PublishedApi
    """Server that lists them."""
    number: int
    """Id of the message."""

    def parse_response(self, body: bytes) -> tuple[Tool, ...]:
        tools = parse_tools(body, self.number)
        self.allowlist.check(self.server.artifact_name, tools)
        if self.allowlist.is_refused(self.server.artifact_name):
            raise GatewayCallError(_TOOL_NOT_APPROVED)
        return tools


class McpAdapter:
    """Reads the MCP servers that are made from the APIs.

    Args:
        allowlist: the tools that were approved.
    """

    protocol: ProtocolName = "mcp"

    def __init__(self, allowlist: ToolAllowlist) -> None:
        self._allowlist = allowlist
        self._numbers = count(1)

    async def fetch(self, api: ReadingApi[R], sender: RequestSender) -> R:
        """Fetch one reading; check the server's tools first if that is due."""
        server = api.publication(self.protocol)
        if self._allowlist.is_due(server.artifact_name):
            await sender.send_request(self._build_list_request(api, server))
        elif self._allowlist.is_refused(server.artifact_name):
            raise GatewayCallError(_TOOL_NOT_APPROVED)
        number = next(self._numbers)
        call = _ToolCall(
            name=server.name,
            budget_name=api.name,
            resource=api.operation_id,
            method="POST",
            path=server.path,
            headers=HEADERS,
            content=build_call_request(number, api.operation_id),
            protocol=self.protocol,
            model=api.model,
            max_bytes=api.max_bytes,
            number=number,
        )
        try:
            return await sender.send_request(call)
        except GatewayCallError as failure:
            if failure.reason in _RECHECK_REASONS:
                self._allowlist.invalidate(server.artifact_name)
            raise

    def health_error(self) -> str | None:
        """Return which servers are refused, and why."""
        return self._allowlist.health_error()

    def _build_list_request(self, api: ReadingApi[R], server: PublishedApi) -> _ToolListRequest:
        number = next(self._numbers)
        return _ToolListRequest(
            name=server.name,
            budget_name=api.name,
            resource=TOOLS_LIST,
            method="POST",
            path=server.path,
            headers=HEADERS,
            content=build_list_request(number),
            protocol=self.protocol,
            allowlist=self._allowlist,
            server=server,
            number=number,
        )
