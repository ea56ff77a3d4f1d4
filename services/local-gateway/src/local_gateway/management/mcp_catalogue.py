"""Makes MCP servers from APIs, changes and deletes them.

Works on the state alone and knows no HTTP; refuses with the codes that WSO2's Publisher uses.
Source: WSO2 API Manager 4.6 (McpServersApiServiceImpl, PublisherCommonUtils, OAS3Parser).
"""

import uuid
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel

from local_gateway.lifecycle import CREATED
from local_gateway.management.products import check_policies, check_scopes, check_unsubscribed, namesake
from local_gateway.management.rest import Desk, RestError, conflict, general_error, validated
from local_gateway.state import Api, Document, GatewayState, McpServer
from wso2_terms.api_project import ApiScope, Scope
from wso2_terms.mcp_project import ApiOperationMapping, ToolOperation
from wso2_terms.mcp_project import McpServer as ServerData
from wso2_terms.tools import to_stored_tool

SUBTYPE = "EXISTING_API"
_SECURITY = ["oauth2", "oauth_basic_auth_api_key_mandatory"]
"""How a server made from an API is secured where its maker does not say."""
_FIXED = ("name", "version", "context")
"""What stays as it was created."""


def create(desk: Desk, body: Mapping[str, Any], provider: str) -> McpServer:
    """Make a server whose tools are operations of an API.

    Args:
        desk: state and clock.
        body: WSO2's MCPServer; fields that have no use here are passed over.
        provider: whose it is, where the body does not say.

    Raises:
        RestError: something in it can not be; nothing was changed then.
    """
    # What a tool is called and tells is the API's to say when it is made (OAS3Parser).
    wanted = _known(body, ServerData) | {"operations": [_bare(tool) for tool in _tools(body)]}
    data, described = _described(desk, {"provider": provider, "lifeCycleStatus": CREATED} | wanted, CREATED)
    if namesake(desk, described.name, described.version, described.versioned_context) is not None:
        raise conflict("The API already exists.", 900300)
    _check(desk, described, None)
    now_ms = desk.now_ms()
    server = McpServer(
        server_id=str(uuid.uuid4()),
        provider=described.provider,
        lifecycle=CREATED,
        data=data,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    desk.state.mcp_servers[server.server_id] = server
    desk.store.changed()
    return server


def change(desk: Desk, server: McpServer, body: Mapping[str, Any]) -> None:
    """Replace the working copy; what is deployed stays until a new revision is.

    A tool that comes with its name keeps what it tells; one with nothing but an operation is made from the API.

    Args:
        desk: state and clock.
        server: what is changed.
        body: WSO2's MCPServer, whole.

    Raises:
        RestError: something in it can not be; nothing was changed then.
    """
    wanted = _known(body, ServerData) | {"operations": _tools(body)}
    for name in _FIXED:
        if wanted.setdefault(name, server.data[name]) != server.data[name]:
            raise RestError(400, f"{name} of an MCP server cannot be changed")
    data, described = _described(desk, wanted | {"provider": server.provider}, server.lifecycle)
    _check(desk, described, server)
    server.data, server.updated_at_ms = data, desk.now_ms()
    desk.store.changed()


def remove(desk: Desk, server: McpServer) -> None:
    """Delete a server with its revisions.

    Raises:
        RestError: 409, somebody is subscribed to it.
    """
    check_unsubscribed(desk, server, "MCP server")
    del desk.state.mcp_servers[server.server_id]
    desk.store.changed()


def servers_made_from(state: GatewayState, api: Api) -> list[McpServer]:
    """The MCP servers that offer operations of an API as tools."""
    return [
        server
        for server in state.mcp_servers.values()
        if any(tool["apiOperationMapping"]["apiId"] == api.api_id for tool in server.data["operations"])
    ]


def operations_of_tools(state: GatewayState, api: Api) -> set[tuple[str, str]]:
    """Path and verb of every operation of an API that is offered as a tool."""
    behind = [
        tool["apiOperationMapping"]["backendOperation"]
        for server in servers_made_from(state, api)
        for tool in server.data["operations"]
    ]
    return {(operation["target"], operation["verb"]) for operation in behind}


def _described(desk: Desk, wanted: Document, lifecycle: str) -> tuple[Document, ServerData]:
    """The body with its tools made, and the same as it will be read."""
    wanted = {"securityScheme": _SECURITY} | wanted
    wanted |= {"lifeCycleStatus": lifecycle, "subtypeConfiguration": {"subtype": SUBTYPE}}
    wanted["scopes"] = [_scope(listed) for listed in _list_of(wanted, "scopes")]
    if wanted["operations"]:
        api = _api_behind(desk, wanted["operations"][0])
        made = [_made(tool, api) for tool in wanted["operations"]]
        wanted["operations"] = [tool for tool in made if tool is not None]
    return wanted, validated(wanted, ServerData)


def _api_behind(desk: Desk, tool: Document) -> Api:
    """The API of the first tool, from which WSO2 makes all of them; it is found by its id alone."""
    api_id = tool.get("apiOperationMapping", {}).get("apiId", "")
    api = desk.state.apis.get(api_id)
    if api is None:
        raise general_error(f"Error while creating MCP server: no API {api_id}")
    if api.deployed is None:
        raise RestError(400, f"API {api.name}-{api.version} is not deployed")
    return api


def _made(tool: Document, api: Api) -> Document | None:
    """A tool as it is kept; None where the API has no such operation: WSO2 drops it without a word."""
    mapping = tool.get("apiOperationMapping", {}) | {
        "apiId": api.api_id,
        "apiName": api.name,
        "apiVersion": api.version,
        "apiContext": api.context,
    }
    tool = tool | {"apiOperationMapping": mapping}
    stored = to_stored_tool(validated(tool, ToolOperation), api.definition)
    if stored is None:
        return None
    return tool | {
        "target": stored.target,
        "description": stored.description,
        "schemaDefinition": stored.schema_definition,
    }


def _check(desk: Desk, described: ServerData, server: McpServer | None) -> None:
    advanced = (described.throttling_policy, *(tool.throttling_policy for tool in described.operations))
    check_policies(desk, described.policies, advanced)
    check_scopes(desk, described.scopes, server)
    registered = {listed.scope.name for listed in described.scopes}
    for tool in described.operations:
        if unknown := sorted(set(tool.scopes) - registered):
            raise RestError(400, f"Tool {tool.target} names scope {unknown[0]}, which the server does not have")


def _tools(body: Mapping[str, Any]) -> list[Document]:
    tools = [_known(tool, ToolOperation) for tool in _list_of(body, "operations")]
    return [tool | {"apiOperationMapping": _mapping(tool)} for tool in tools]


def _mapping(tool: Document) -> Document:
    mapping = tool.get("apiOperationMapping")
    return _known(cast("Document", mapping), ApiOperationMapping) if isinstance(mapping, dict) else {}


def _bare(tool: Document) -> Document:
    return {name: value for name, value in tool.items() if name not in ("target", "description", "schemaDefinition")}


def _scope(listed: Document) -> Document:
    known = _known(listed, ApiScope)
    scope = known.get("scope")
    return known | ({"scope": _known(cast("Document", scope), Scope)} if isinstance(scope, dict) else {})


def _known(given: Mapping[str, Any], model: type[BaseModel]) -> Document:
    """The fields that a model knows; null stands for absent."""
    names = {field.alias or name for name, field in model.model_fields.items()}
    return {name: value for name, value in given.items() if name in names and value is not None}


def _list_of(given: Mapping[str, Any], name: str) -> list[Document]:
    listed: object = given.get(name) or []
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in cast("list[object]", listed)):
        raise RestError(400, f"{name} is a list of objects")
    return cast("list[Document]", listed)
