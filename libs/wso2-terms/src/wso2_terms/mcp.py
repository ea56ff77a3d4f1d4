"""What a WSO2 gateway says as an MCP server: methods, error codes, wordings, the shapes of its answers.

Pure data and the building of JSON objects: whoever answers like the gateway sends these, whoever calls it reads them.
Source: WSO2 API Manager 4.6.0 (carbon-apimgt gateway: McpInitHandler, McpMediator, MCPUtils, MCPPayloadGenerator), the
same classes of 9.33.90, which `tests/contract/wso2_oracle` runs, and the Model Context Protocol, revision 2025-06-18.
"""

from dataclasses import dataclass
from enum import StrEnum

PROTOCOL_VERSION = "2025-06-18"
"""The only revision that a generated MCP server of 4.6.0 agrees to; 4.7 answers with it whatever it is offered."""
JSONRPC_VERSION = "2.0"

MCP_RESOURCE = "/mcp"
"""Where messages are posted, below the server's context and version."""
METADATA_RESOURCE = "/.well-known/oauth-protected-resource"
"""Where a server says who issues its tokens; below context and version too, and not where RFC 9728 puts it."""


class Wso2Version(StrEnum):
    """A version of API Manager, where MCP servers of one differ from those of the next."""

    V4_6 = "4.6"
    V4_7 = "4.7"


INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"
PING = "ping"
TOOLS_LIST = "tools/list"
TOOLS_CALL = "tools/call"
PROMPTS_LIST = "prompts/list"
RESOURCES_LIST = "resources/list"
RESOURCE_TEMPLATES_LIST = "resources/templates/list"

OPEN_METHODS = frozenset({INITIALIZE, INITIALIZED, PING, PROMPTS_LIST, RESOURCES_LIST, RESOURCE_TEMPLATES_LIST})
"""Methods that are answered without a token."""
METHODS = OPEN_METHODS | {TOOLS_LIST, TOOLS_CALL}
"""Every method that is known."""

SERVER_DESCRIPTION = "This is an MCP Server"
"""What every server says of itself in `serverInfo`."""


@dataclass(frozen=True, slots=True)
class RpcError:
    """A JSON-RPC error. data: what is wrong here, as text or as an object."""

    code: int
    message: str
    data: object = None


INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602


def build_invalid_request_error(data: str) -> RpcError:
    """The error of a message that lacks something, or names a tool that is not there."""
    return RpcError(INVALID_REQUEST, "Invalid Request", data)


def build_invalid_params_error(data: str) -> RpcError:
    """The error of arguments that a tool cannot be called with."""
    return RpcError(INVALID_PARAMS, "Invalid params", data)


def build_method_not_found_error(method: str) -> RpcError:
    """The error of a method that is not known, in 4.6; 4.7 has `METHOD_MISSING`."""
    return RpcError(METHOD_NOT_FOUND, "Method not found", f"Method {method} not found")


def build_missing_protocol_error(version: Wso2Version) -> RpcError:
    """The answer to `initialize` without a revision."""
    return build_invalid_request_error(
        f"Missing {'or empty ' if version is Wso2Version.V4_7 else ''}protocolVersion field"
    )


def build_unsupported_protocol_error(requested: str) -> RpcError:
    """The answer of 4.6 to `initialize` for any revision but one."""
    data = {"requested": requested, "supported": [PROTOCOL_VERSION]}
    return RpcError(INVALID_PARAMS, "Unsupported protocol version", data)


def build_not_json_error(content_type: str) -> RpcError:
    """The error of a backend's answer that does not call itself JSON, problem+json among them."""
    found = content_type or "null"
    return build_invalid_request_error(
        f"Unsupported content type in the response. Expected: application/json, Found: {found}"
    )


MALFORMED = build_invalid_request_error("Invalid or Malformed JSON-RPC payload found")
TOOL_MISSING = build_invalid_request_error("The requested tool does not exist")
METHOD_MISSING = RpcError(METHOD_NOT_FOUND, "Method not found", "Method not found")
SSE_NOT_SUPPORTED = build_invalid_request_error("Server-Sent Events (SSE) not supported")


def build_result(message_id: object, result: object) -> dict[str, object]:
    """The answer to a request, with its id as it came."""
    return {"jsonrpc": JSONRPC_VERSION, "id": message_id, "result": result}


def build_error(message_id: object, error: RpcError) -> dict[str, object]:
    """The answer to a request that was understood and is not met.

    Args:
        message_id: its id, which stands in the answer where its parameters are wrong; every other error has none.
        error: what is wrong.
    """
    known_id = message_id if error.code == INVALID_PARAMS else None
    return {"jsonrpc": JSONRPC_VERSION, "id": known_id, "error": _build_error_object(error), "result": None}


def build_failure(message_id: str | int | None, error: RpcError) -> dict[str, object]:
    """The answer to a message that is refused before anybody asks who calls, and to a backend's that is no JSON.

    Args:
        message_id: its id as far as it is known; it is written **as text** whatever it was, and `null`, as text, where
            there was none.
        error: what is wrong.
    """
    id_text = "null" if message_id is None else str(message_id)
    return {"jsonrpc": JSONRPC_VERSION, "id": id_text, "error": _build_error_object(error)}


def _build_error_object(error: RpcError) -> dict[str, object]:
    return {"message": error.message, "data": error.data, "code": error.code}


def build_initialize_result(name: str, version: str) -> dict[str, object]:
    """What a server answers to `initialize`: tools and nothing else, and their list does not change."""
    return {
        "protocolVersion": PROTOCOL_VERSION,
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": name, "version": version, "description": SERVER_DESCRIPTION},
    }


def build_tool_result(text: str, *, is_error: bool) -> dict[str, object]:
    """What a tool call gives: the backend's body as text, never as structured content."""
    return {"isError": is_error, "content": [{"type": "text", "text": text}]}
