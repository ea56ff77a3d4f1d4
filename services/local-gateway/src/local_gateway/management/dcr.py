"""Dynamic client registration v0.17, with which the bootstrap gets a client for its own calls.

Source: WSO2 API Manager 4.6 (RegistrationServiceImpl): an existing client of the same name and owner is returned
unchanged, including its secret.
"""

import json

from aiohttp import web

from local_gateway.management.rest import ManagementContext, Payload, RestError, authenticate_basic, read_payload
from local_gateway.state import OAuthClient
from local_gateway.tokens import generate_secret

PATH = "/client-registration/v0.17/register"
_SERVED_GRANTS = ("client_credentials", "password")


class _Registration(Payload):
    client_name: str
    owner: str
    grant_type: str = ""
    callback_url: str = ""
    saas_app: bool = False


def routes(context: ManagementContext) -> list[web.RouteDef]:
    """Return the route of the only operation."""

    async def register(request: web.Request) -> web.Response:
        return await _register(context, request)

    return [web.post(PATH, register)]


async def _register(context: ManagementContext, request: web.Request) -> web.Response:
    user = authenticate_basic(context, request)
    if user is None:
        raise RestError(401, "Unauthenticated request", message="")
    payload = await read_payload(request, _Registration)
    if not payload.owner or payload.owner != user:
        raise RestError(400, "Invalid application owner; only the caller may own the client")
    known = (
        client
        for client in context.state.clients.values()
        if client.application_id is None and client.name == payload.client_name
    )
    client = next(known, None)
    if client is not None and client.owner != user:
        raise RestError(403, "A client of this name belongs to another user")
    if client is None:
        client = _create_client(payload)
        context.state.clients[client.client_id] = client
        context.store.save(affects_routing=False)
    return web.json_response(_build_client_body(client))


def _create_client(payload: _Registration) -> OAuthClient:
    requested = payload.grant_type.split()
    return OAuthClient(
        client_id=generate_secret(),
        client_secret=generate_secret(),
        name=payload.client_name,
        owner=payload.owner,
        grant_types=[grant for grant in _SERVED_GRANTS if grant in requested],
        callback_url=payload.callback_url,
    )


def _build_client_body(client: OAuthClient) -> dict[str, object]:
    attributes = {"grant_types": " ".join(client.grant_types), "redirect_uris": client.callback_url}
    return {
        "callBackURL": client.callback_url,
        "clientName": client.name,
        "clientId": client.client_id,
        "clientSecret": client.client_secret,
        "isSaasApplication": True,
        "appOwner": client.owner,
        "jsonString": json.dumps(attributes),
        "jsonAppAttribute": "{}",
        "applicationUUID": client.client_id,
        "tokenType": "JWT",
    }
