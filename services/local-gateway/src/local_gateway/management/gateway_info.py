"""Gateway REST API v2: is it ready, has an API arrived, is a subscription known.

Source: WSO2 API Manager 4.6, gateway-api.yaml and ServerStartupHealthcheckApiServiceImpl.
"""

from aiohttp import web

from local_gateway.management.rest import Caller, ManagementContext, RestError, RouteTable

BASE = "/api/am/gateway/v2"
HEALTH_PATH = f"{BASE}/server-startup-healthcheck"
_ADMIN = ("apim:admin",)


class GatewayInfoApi:
    """The operations, over the state of this process."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Every operation; the first needs no credentials."""
        routes = RouteTable(self._context, BASE)
        routes.add("GET", "/api-artifact", self.get_artifact, _ADMIN)
        return [web.get(HEALTH_PATH, self.is_ready), *routes.definitions]

    async def is_ready(self, request: web.Request) -> web.Response:
        # This process listens only once everything that it serves is loaded.
        return web.Response()

    async def get_artifact(self, request: web.Request, caller: Caller) -> web.Response:
        name, version = request.query.get("apiName"), request.query.get("version")
        for one in self._context.state.products():
            if one.name == name and one.version == version and one.deployed_revision is not None:
                return web.json_response({"api": [one.context]})
        raise RestError(404, f"API {name} {version} is not deployed")
