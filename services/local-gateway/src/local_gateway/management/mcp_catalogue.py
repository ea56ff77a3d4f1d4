"""Creates MCP servers from APIs, changes and deletes them.

Source: WSO2 API Manager 4.6 (McpServersApiServiceImpl, PublisherCommonUtils, OAS3Parser).
"""

import uuid
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel

from local_gateway.management.products import check_no_subscriptions, check_policies, check_scopes, find_existing
from local_gateway.management.rest import ManagementContext, RestError, parse_value
from local_gateway.state import CREATED, ApiRecord, Document, GatewayState, McpServerRecord
from wso2_terms.api_project import ApiScope, Scope
from wso2_terms.mcp_project import ApiOperationMapping, McpServer, ToolOperation
from wso2_terms.tools import to_stored_tool

SUBTYPE = "EXISTING_API"
_SECURITY = ["oauth2", "oauth_basic_auth_api_key_mandatory"]
"""Security schemes of a server whose request names none."""
_FIXED = ("name", "version", "context")
"""Fields that cannot be changed after creation."""


def create_server(context: ManagementContext, body: Mapping[str, Any], provider: str) -> McpServerRecord:
    """Create a server whose tools are operations of an API.

    Args:
        context: State and clock.
        body: WSO2's MCPServer; unknown fields are ignored.
        provider: Owner, if the body names none.

    Raises:
        RestError: The body is invalid; nothing was changed.
    """
    # At creation, names and descriptions of the tools come from the API (OAS3Parser).
    tools = [
        {name: value for name, value in tool.items() if name not in ("target", "description", "schemaDefinition")}
        for tool in _read_tools(body)
    ]
    document = _select_known_fields(body, McpServer) | {"operations": tools}
    data, described = _complete_server(context, {"provider": provider, "lifeCycleStatus": CREATED} | document, CREATED)
    if find_existing(context, described.name, described.version, described.versioned_context) is not None:
        raise RestError.conflict("The API already exists.", 900300)
    _check_server(context, described, None)
    now_ms = context.now_ms()
    server = McpServerRecord(
        server_id=str(uuid.uuid4()),
        provider=described.provider,
        lifecycle=CREATED,
        data=data,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    context.state.mcp_servers[server.server_id] = server
    context.store.save()
    return server


def update_server(context: ManagementContext, server: McpServerRecord, body: Mapping[str, Any]) -> None:
    """Replace the working copy; the deployed revision stays.

    A tool that has a name keeps its description and schema; one that has only an operation gets them from the API.

    Args:
        context: State and clock.
        server: The server to change.
        body: WSO2's MCPServer, complete.

    Raises:
        RestError: The body is invalid; nothing was changed.
    """
    document = _select_known_fields(body, McpServer) | {"operations": _read_tools(body)}
    for name in _FIXED:
        if document.setdefault(name, server.data[name]) != server.data[name]:
            raise RestError(400, f"{name} of an MCP server cannot be changed")
    data, described = _complete_server(context, document | {"provider": server.provider}, server.lifecycle)
    _check_server(context, described, server)
    server.data, server.updated_at_ms = data, context.now_ms()
    context.store.save()


def delete_server(context: ManagementContext, server: McpServerRecord) -> None:
    """Delete a server with its revisions.

    Raises:
        RestError: 409, the server has subscriptions.
    """
    check_no_subscriptions(context, server, "MCP server")
    del context.state.mcp_servers[server.server_id]
    context.store.save()


def list_servers_of_api(state: GatewayState, api: ApiRecord) -> list[McpServerRecord]:
    """Return the MCP servers whose tools call operations of an API."""
    return [
        server
        for server in state.mcp_servers.values()
        if any(tool["apiOperationMapping"]["apiId"] == api.api_id for tool in server.data["operations"])
    ]


def list_tool_operations(state: GatewayState, api: ApiRecord) -> set[tuple[str, str]]:
    """Return path and verb of every operation of an API that a tool calls."""
    operations = [
        tool["apiOperationMapping"]["backendOperation"]
        for server in list_servers_of_api(state, api)
        for tool in server.data["operations"]
    ]
    return {(operation["target"], operation["verb"]) for operation in operations}


def _complete_server(context: ManagementContext, document: Document, lifecycle: str) -> tuple[Document, McpServer]:
    """Return the body with complete tools, and the same parsed."""
    document = {"securityScheme": _SECURITY} | document
    document |= {"lifeCycleStatus": lifecycle, "subtypeConfiguration": {"subtype": SUBTYPE}}
    document["scopes"] = [_read_scope(listed) for listed in _read_list(document, "scopes")]
    if document["operations"]:
        api = _find_underlying_api(context, document["operations"][0])
        tools = [_build_tool(tool, api) for tool in document["operations"]]
        document["operations"] = [tool for tool in tools if tool is not None]
    return document, parse_value(document, McpServer)


def _find_underlying_api(context: ManagementContext, tool: Document) -> ApiRecord:
    """Return the API of the first tool, from which WSO2 creates all of them; it is looked up by its id only."""
    api_id = tool.get("apiOperationMapping", {}).get("apiId", "")
    api = context.state.apis.get(api_id)
    if api is None:
        raise RestError.general(f"Error while creating MCP server: no API {api_id}")
    if api.deployed_revision is None:
        raise RestError(400, f"API {api.name}-{api.version} is not deployed")
    return api


def _build_tool(tool: Document, api: ApiRecord) -> Document | None:
    """Return a tool as it is stored; None if the API has no such operation: WSO2 drops it silently."""
    mapping = tool.get("apiOperationMapping", {}) | {
        "apiId": api.api_id,
        "apiName": api.name,
        "apiVersion": api.version,
        "apiContext": api.context,
    }
    tool = tool | {"apiOperationMapping": mapping}
    stored = to_stored_tool(parse_value(tool, ToolOperation), api.definition)
    if stored is None:
        return None
    return tool | {
        "target": stored.target,
        "description": stored.description,
        "schemaDefinition": stored.schema_definition,
    }


def _check_server(context: ManagementContext, described: McpServer, server: McpServerRecord | None) -> None:
    advanced = (described.throttling_policy, *(tool.throttling_policy for tool in described.operations))
    check_policies(context, described.policies, advanced)
    check_scopes(context, described.scopes, server)
    registered = {listed.scope.name for listed in described.scopes}
    for tool in described.operations:
        if unknown := sorted(set(tool.scopes) - registered):
            raise RestError(400, f"Tool {tool.target} names scope {unknown[0]}, which the server does not have")


def _read_tools(body: Mapping[str, Any]) -> list[Document]:
    tools = [_select_known_fields(tool, ToolOperation) for tool in _read_list(body, "operations")]
    return [tool | {"apiOperationMapping": _read_mapping(tool)} for tool in tools]


def _read_mapping(tool: Document) -> Document:
    mapping = tool.get("apiOperationMapping")
    return _select_known_fields(cast("Document", mapping), ApiOperationMapping) if isinstance(mapping, dict) else {}


def _read_scope(listed: Document) -> Document:
    known = _select_known_fields(listed, ApiScope)
    scope = known.get("scope")
    return known | ({"scope": _select_known_fields(cast("Document", scope), Scope)} if isinstance(scope, dict) else {})


def _select_known_fields(given: Mapping[str, Any], model: type[BaseModel]) -> Document:
    """Return the fields that a model has; null counts as absent."""
    names = {field.alias or name for name, field in model.model_fields.items()}
    return {name: value for name, value in given.items() if name in names and value is not None}


def _read_list(given: Mapping[str, Any], name: str) -> list[Document]:
    listed: object = given.get(name) or []
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in cast("list[object]", listed)):
        raise RestError(400, f"{name} is a list of objects")
    return cast("list[Document]", listed)
