"""Publisher REST API v4: MCP servers created from an API of this gateway.

Source: WSO2 API Manager 4.6, publisher-api.yaml, McpServersApiServiceImpl. Servers created from a definition, proxies
of other servers and the import of archives are not supported.
"""

from collections.abc import Mapping
from typing import Any, cast

from aiohttp import web

from local_gateway.management import mcp_catalogue
from local_gateway.management.products import build_product_info, search_products
from local_gateway.management.publisher import BASE
from local_gateway.management.rest import Caller, ManagementContext, RestError, RouteTable, paginate, read_json
from local_gateway.management.revisions import EndpointScopes, RevisionsApi
from local_gateway.state import Document, McpServerRecord

_AUTHORS = ("apim:mcp_server_create", "apim:mcp_server_publish", "apim:mcp_server_manage")
_VIEW = ("apim:mcp_server_view", "apim:mcp_server_manage", "apim:mcp_server_import_export")
_LIST = (*_VIEW, "apim:mcp_server_list_view")
_CREATE = ("apim:mcp_server_create", "apim:mcp_server_manage")
_DELETE = ("apim:mcp_server_delete", "apim:mcp_server_manage", "apim:mcp_server_import_export")
_SURFACE = EndpointScopes(
    path="/mcp-servers",
    id_query="mcpServerId",
    state=("apim:mcp_server_view", *_AUTHORS),
    revise=(*_AUTHORS, "apim:mcp_server_import_export"),
    deploy=_AUTHORS,
    publish=("apim:mcp_server_publish", "apim:mcp_server_manage", "apim:mcp_server_import_export"),
)


class McpServersApi:
    """Handlers of the API."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes with the scopes that they require."""
        routes = RouteTable(self._context, BASE)
        routes.add("GET", "/mcp-servers", self.list_servers, _LIST)
        routes.add("POST", "/mcp-servers/generate-from-api", self.add_server, _CREATE)
        RevisionsApi(self._context, _SURFACE, self._find).add_to(routes)
        routes.add("GET", "/mcp-servers/{server_id}", self.get_server, _VIEW)
        routes.add("PUT", "/mcp-servers/{server_id}", self.change_server, _AUTHORS)
        routes.add("DELETE", "/mcp-servers/{server_id}", self.delete_server, _DELETE)
        return routes.definitions

    async def list_servers(self, request: web.Request, caller: Caller) -> web.Response:
        servers = search_products(self._context.state.mcp_servers.values(), request.query.get("query", ""))
        kind = {"type": "MCP", "subtype": mcp_catalogue.SUBTYPE}
        entries = [
            {**build_product_info(server), **kind, "updatedTime": str(server.updated_at_ms)} for server in servers
        ]
        return web.json_response(paginate(request, entries))

    async def add_server(self, request: web.Request, caller: Caller) -> web.Response:
        server = mcp_catalogue.create_server(self._context, await _read_server(request), caller.name)
        return web.json_response(_build_server_body(server), status=201)

    async def get_server(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(_build_server_body(self._find_requested(request)))

    async def change_server(self, request: web.Request, caller: Caller) -> web.Response:
        server = self._find_requested(request)
        mcp_catalogue.update_server(self._context, server, await _read_server(request))
        return web.json_response(_build_server_body(server))

    async def delete_server(self, request: web.Request, caller: Caller) -> web.Response:
        mcp_catalogue.delete_server(self._context, self._find_requested(request))
        return web.Response()

    def _find_requested(self, request: web.Request) -> McpServerRecord:
        return self._find(request.match_info["server_id"])

    def _find(self, server_id: str) -> McpServerRecord:
        server = self._context.state.mcp_servers.get(server_id)
        if server is None:
            raise RestError.not_found("MCP Server", server_id)
        return server


async def _read_server(request: web.Request) -> Mapping[str, Any]:
    body = await read_json(request)
    if not isinstance(body, dict):
        raise RestError(400, "The body is not an MCP server")
    return cast("Mapping[str, Any]", body)


def _build_server_body(server: McpServerRecord) -> Document:
    return {
        **server.data,
        **build_product_info(server),
        "isRevision": False,
        "lastUpdatedTime": str(server.updated_at_ms),
    }
