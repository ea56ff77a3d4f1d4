"""MCP messages of a WSO2 gateway: methods, error codes, texts and the structure of its answers.

Source: WSO2 API Manager 4.6.0 (carbon-apimgt gateway: McpInitHandler, McpMediator, MCPUtils, MCPPayloadGenerator), the
same classes of 9.33.90, which `tests/contract/wso2_oracle` runs, and the Model Context Protocol, revision 2025-06-18.
"""

from dataclasses import dataclass
from enum import StrEnum

PROTOCOL_VERSION = "2025-06-18"
"""The only revision that an MCP server of 4.6.0 accepts; 4.7 answers every requested revision with it."""
JSONRPC_VERSION = "2.0"

MCP_RESOURCE = "/mcp"
"""Path below context and version that messages are posted to."""
METADATA_RESOURCE = "/.well-known/oauth-protected-resource"
"""Path of the protected resource metadata, below context and version and not where RFC 9728 defines it."""


class Wso2Version(StrEnum):
    """Version of API Manager; MCP servers of different versions answer differently."""

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
"""Methods that need no token."""
METHODS = OPEN_METHODS | {TOOLS_LIST, TOOLS_CALL}
"""All known methods."""

SERVER_DESCRIPTION = "This is an MCP Server"
"""Description of every server in `serverInfo`."""


@dataclass(frozen=True, slots=True)
class RpcError:
    """The error object of a JSON-RPC response."""

    code: int
    """Code of the JSON-RPC error."""

    message: str
    """Short description of the code."""

    data: object = None
    """Details, a text or an object."""


INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602


def build_invalid_request_error(data: str) -> RpcError:
    """Build the error for an incomplete message or an unknown tool."""
    return RpcError(INVALID_REQUEST, "Invalid Request", data)


def build_invalid_params_error(data: str) -> RpcError:
    """Build the error for arguments that a tool cannot be called with."""
    return RpcError(INVALID_PARAMS, "Invalid params", data)


def build_method_not_found_error(method: str) -> RpcError:
    """Build the error for an unknown method in 4.6; 4.7 returns `METHOD_MISSING`."""
    return RpcError(METHOD_NOT_FOUND, "Method not found", f"Method {method} not found")


def build_missing_protocol_error(version: Wso2Version) -> RpcError:
    """Build the error for `initialize` without a revision."""
    return build_invalid_request_error(
        f"Missing {'or empty ' if version is Wso2Version.V4_7 else ''}protocolVersion field"
    )


def build_unsupported_protocol_error(requested: str) -> RpcError:
    """Build the error of 4.6 for `initialize` with another revision."""
    data = {"requested": requested, "supported": [PROTOCOL_VERSION]}
    return RpcError(INVALID_PARAMS, "Unsupported protocol version", data)


def build_not_json_error(content_type: str) -> RpcError:
    """Build the error for a backend's answer whose content type is not JSON, including problem+json."""
    found = content_type or "null"
    return build_invalid_request_error(
        f"Unsupported content type in the response. Expected: application/json, Found: {found}"
    )


MALFORMED = build_invalid_request_error("Invalid or Malformed JSON-RPC payload found")
TOOL_MISSING = build_invalid_request_error("The requested tool does not exist")
METHOD_MISSING = RpcError(METHOD_NOT_FOUND, "Method not found", "Method not found")
SSE_NOT_SUPPORTED = build_invalid_request_error("Server-Sent Events (SSE) not supported")


def build_result(message_id: object, result: object) -> dict[str, object]:
    """Build the response to a successful request; the id is returned unchanged."""
    return {"jsonrpc": JSONRPC_VERSION, "id": message_id, "result": result}


def build_error(message_id: object, error: RpcError) -> dict[str, object]:
    """Build the response to a valid request that cannot be fulfilled.

    Args:
        message_id: Id of the request; only errors about its parameters contain it.
        error: The error.
    """
    known_id = message_id if error.code == INVALID_PARAMS else None
    return {"jsonrpc": JSONRPC_VERSION, "id": known_id, "error": _build_error_object(error), "result": None}


def build_failure(message_id: str | int | None, error: RpcError) -> dict[str, object]:
    """Build the response to a message rejected before authentication, or to a backend's answer that is not JSON.

    Args:
        message_id: Id of the message as far as it is known; it is written **as text** whatever its type, and as
            `null`, also as text, if there is none.
        error: The error.
    """
    id_text = "null" if message_id is None else str(message_id)
    return {"jsonrpc": JSONRPC_VERSION, "id": id_text, "error": _build_error_object(error)}


def _build_error_object(error: RpcError) -> dict[str, object]:
    return {"message": error.message, "data": error.data, "code": error.code}


def build_initialize_result(name: str, version: str) -> dict[str, object]:
    """Build the result of `initialize`: the server offers only tools, and their list does not change."""
    return {
        "protocolVersion": PROTOCOL_VERSION,
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": name, "version": version, "description": SERVER_DESCRIPTION},
    }


def build_tool_result(text: str, *, is_error: bool) -> dict[str, object]:
    """Build the result of a tool call: the backend's body as text, never as structured content."""
    return {"isError": is_error, "content": [{"type": "text", "text": text}]}
