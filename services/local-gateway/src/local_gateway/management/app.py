"""Puts the management listener's operations together."""

from aiohttp import web

from local_gateway.management import dcr, soap_users
from local_gateway.management.admin import Administration
from local_gateway.management.application_export import ApplicationExport
from local_gateway.management.application_keys import ApplicationKeys
from local_gateway.management.devportal import Applications
from local_gateway.management.failures import FailedCredentials, slow_failures
from local_gateway.management.gateway_info import GatewayInfo
from local_gateway.management.mcp_servers import McpServers
from local_gateway.management.publisher import Publisher
from local_gateway.management.rest import Desk, rest_errors
from local_gateway.management.subscriptions import Subscriptions
from local_gateway.management.throttling import ThrottlingPolicies
from local_gateway.oauth import (
    DISCOVERY_PATH,
    JWKS_PATH,
    REVOKE_PATH,
    TOKEN_PATH,
    OAuthServer,
    discovery_document,
)
from local_gateway.signing import SigningKey


def management_app(desk: Desk, key: SigningKey, max_import_bytes: int) -> web.Application:
    """The management listener's application.

    Args:
        desk: what its operations work with.
        key: its public half is shown in `/oauth2/jwks`.
        max_import_bytes: largest body that is taken.
    """
    slow = slow_failures(FailedCredentials())
    app = web.Application(middlewares=[slow, rest_errors], client_max_size=max_import_bytes)
    applications = Applications(desk)
    oauth = OAuthServer(desk.store, desk.users, desk.tokens, desk.deployment)

    async def jwks(_: web.Request) -> web.Response:
        return web.json_response(key.jwks())

    async def discovery(request: web.Request) -> web.Response:
        return web.json_response(discovery_document(desk.state.issuer, str(request.url.origin())))

    app.add_routes(
        [
            web.post(TOKEN_PATH, oauth.on_token),
            web.post(REVOKE_PATH, oauth.on_revoke),
            web.get(JWKS_PATH, jwks),
            web.get(DISCOVERY_PATH, discovery),
            *dcr.routes(desk),
            *soap_users.routes(desk),
            *GatewayInfo(desk).routes(),
            *Publisher(desk).routes(),
            *McpServers(desk).routes(),
            # Before those of single applications: `export` is no id.
            *ApplicationExport(desk, applications).routes(),
            *applications.routes(),
            *Subscriptions(desk).routes(),
            *ApplicationKeys(desk, oauth).routes(),
            *ThrottlingPolicies(desk).routes(),
            *Administration(desk).routes(),
        ]
    )
    return app
