"""Puts the management listener's operations together."""

from aiohttp import web

from local_gateway.management import dcr, soap_users
from local_gateway.management.admin import AdminApi
from local_gateway.management.application_export import ApplicationExportApi
from local_gateway.management.application_keys import ApplicationKeysApi
from local_gateway.management.devportal import ApplicationsApi
from local_gateway.management.failures import LoginDelays, create_delay_middleware
from local_gateway.management.gateway_info import GatewayInfoApi
from local_gateway.management.mcp_servers import McpServersApi
from local_gateway.management.publisher import PublisherApi
from local_gateway.management.rest import ManagementContext, handle_errors
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
from local_gateway.signing import SigningKey


def create_management_app(context: ManagementContext, key: SigningKey, max_import_bytes: int) -> web.Application:
    """The management listener's application.

    Args:
        context: what its operations work with.
        key: its public half is shown in `/oauth2/jwks`.
        max_import_bytes: largest body that is taken.
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
            *dcr.routes(context),
            *soap_users.routes(context),
            *GatewayInfoApi(context).routes(),
            *PublisherApi(context).routes(),
            *McpServersApi(context).routes(),
            # Before those of single applications: `export` is no id.
            *ApplicationExportApi(context, applications).routes(),
            *applications.routes(),
            *SubscriptionsApi(context).routes(),
            *ApplicationKeysApi(context, oauth).routes(),
            *ThrottlingPoliciesApi(context).routes(),
            *AdminApi(context).routes(),
        ]
    )
    return app
