"""Application of the management listener, and the Gateway REST API v2: readiness and deployed artifacts.

Source: WSO2 API Manager 4.6, gateway-api.yaml and ServerStartupHealthcheckApiServiceImpl.
"""

from aiohttp import web

from local_gateway.keys import SigningKey
from local_gateway.management import soap_users
from local_gateway.management.admin import AdminApi
from local_gateway.management.application_keys import (
    ApplicationExportApi,
    ApplicationKeysApi,
    build_registration_routes,
)
from local_gateway.management.devportal import ApplicationsApi
from local_gateway.management.mcp_servers import McpServersApi
from local_gateway.management.publisher import PublisherApi
from local_gateway.management.rest import (
    Caller,
    LoginDelays,
    ManagementContext,
    RestError,
    RouteTable,
    create_delay_middleware,
    handle_errors,
)
from local_gateway.management.subscriptions import SubscriptionsApi
from local_gateway.management.throttling import ThrottlingPoliciesApi
from local_gateway.oauth import (
    DISCOVERY_PATH,
    JWKS_PATH,
    REVOKE_PATH,
    TOKEN_PATH,
    OAuthServer,
    build_discovery_document,
)

GATEWAY_BASE = "/api/am/gateway/v2"
HEALTH_PATH = f"{GATEWAY_BASE}/server-startup-healthcheck"
_ADMIN = ("apim:admin",)


class GatewayInfoApi:
    """Handlers of the Gateway REST API."""

    def __init__(self, context: ManagementContext) -> None:
        self._context = context

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; the health check needs no credentials."""
        routes = RouteTable(self._context, GATEWAY_BASE)
        routes.add("GET", "/api-artifact", self.get_artifact, _ADMIN)
        return [web.get(HEALTH_PATH, self.get_health), *routes.definitions]

    async def get_health(self, request: web.Request) -> web.Response:
        # This process starts to listen only after it has loaded everything, so it is always ready here.
        return web.Response()

    async def get_artifact(self, request: web.Request, caller: Caller) -> web.Response:
        name, version = request.query.get("apiName"), request.query.get("version")
        for product in self._context.state.products():
            if product.name == name and product.version == version and product.deployed_revision is not None:
                return web.json_response({"api": [product.context]})
        raise RestError(404, f"API {name} {version} is not deployed")


def create_management_app(context: ManagementContext, key: SigningKey, max_import_bytes: int) -> web.Application:
    """Create the application of the management listener.

    Args:
        context: State and services of the operations.
        key: Key whose public half is published in `/oauth2/jwks`.
        max_import_bytes: Largest accepted body [byte].
    """
    slow = create_delay_middleware(LoginDelays())
    app = web.Application(middlewares=[slow, handle_errors], client_max_size=max_import_bytes)
    applications = ApplicationsApi(context)
    oauth = OAuthServer(context.store, context.users, context.tokens, context.deployment)

    async def jwks(_: web.Request) -> web.Response:
        return web.json_response(key.build_jwks())

    async def discovery(request: web.Request) -> web.Response:
        return web.json_response(build_discovery_document(context.state.issuer, str(request.url.origin())))

    app.add_routes(
        [
            web.post(TOKEN_PATH, oauth.handle_token),
            web.post(REVOKE_PATH, oauth.handle_revoke),
            web.get(JWKS_PATH, jwks),
            web.get(DISCOVERY_PATH, discovery),
            *build_registration_routes(context),
            *soap_users.routes(context),
            *GatewayInfoApi(context).routes(),
            *PublisherApi(context).routes(),
            *McpServersApi(context).routes(),
            # Before the routes of single applications, which would match `export` as an id.
            *ApplicationExportApi(context, applications).routes(),
            *applications.routes(),
            *SubscriptionsApi(context).routes(),
            *ApplicationKeysApi(context, oauth).routes(),
            *ThrottlingPoliciesApi(context).routes(),
            *AdminApi(context).routes(),
        ]
    )
    return app
