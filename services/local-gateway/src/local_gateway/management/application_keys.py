"""Consumer keys: of applications (Developer Portal REST API v3, with their export), and of clients that register.

Source: WSO2 API Manager 4.6, devportal-api.yaml, ApplicationsApiServiceImpl: a second key generation is rejected with
901409, and GET returns the secret again. ExportUtils (carbon-apimgt): the archive has one folder `owner-name` with one
document, in which consumer secrets are encoded in base64. RegistrationServiceImpl (dynamic client registration v0.17,
with which the bootstrap gets a client): an existing client of the same name and owner is returned unchanged, including
its secret.
"""

import io
import json
import uuid
import zipfile
from base64 import b64encode

from aiohttp import web
from pydantic import Field

from local_gateway.management.devportal import BASE, ApplicationsApi, find_owned_application, list_application_clients
from local_gateway.management.rest import (
    Caller,
    ManagementContext,
    Payload,
    RestError,
    RouteTable,
    authenticate_basic,
    read_flag,
    read_payload,
)
from local_gateway.oauth import OAuthServer
from local_gateway.state import Application, Document, KeyType, OAuthClient
from local_gateway.tokens import generate_secret

KEY_MANAGER = "Resident Key Manager"
_SCOPES = ("apim:app_manage", "apim:subscribe")
_SERVED_GRANTS = ("client_credentials", "password")


class _KeyRequest(Payload):
    key_type: KeyType
    grant_types_to_be_supported: list[str]
    callback_url: str = ""
    scopes: list[str] = Field(default=[])
    validity_time: str | int | None = None
    additional_properties: dict[str, object] = Field(default={})


class ApplicationKeysApi:
    """Handlers of `…/generate-keys` and `…/oauth-keys`."""

    def __init__(self, context: ManagementContext, oauth: OAuthServer) -> None:
        self._context = context
        self._oauth = oauth

    def routes(self) -> list[web.RouteDef]:
        """Return the routes with the scopes that they require."""
        routes = RouteTable(self._context, f"{BASE}/applications/{{application_id}}")
        routes.add("POST", "/generate-keys", self.generate, _SCOPES)
        routes.add("GET", "/oauth-keys", self.list_keys, _SCOPES)
        routes.add("GET", "/oauth-keys/{key_mapping_id}", self.get_key, _SCOPES)
        routes.add("POST", "/oauth-keys/{key_mapping_id}/regenerate-secret", self.regenerate_secret, _SCOPES)
        return routes.definitions

    async def generate(self, request: web.Request, caller: Caller) -> web.Response:
        application = find_owned_application(self._context, request, caller)
        payload = await read_payload(request, _KeyRequest)
        if any(
            c.key_type == payload.key_type for c in list_application_clients(self._context, application.application_id)
        ):
            raise RestError.conflict(
                f"Key Mappings already exists for application {application.name} and key manager {KEY_MANAGER}", 901409
            )
        client = self._create_client(application, payload)
        self._context.state.clients[client.client_id] = client
        self._context.store.save()
        body = build_key_body(client)
        if "client_credentials" in client.grant_types:
            token = self._oauth.issue_client_token(client, payload.scopes)
            body["token"] = {
                "accessToken": token["access_token"],
                "tokenScopes": token["scope"].split(),
                "validityTime": token["expires_in"],
            }
        return web.json_response(body)

    async def list_keys(self, request: web.Request, caller: Caller) -> web.Response:
        application = find_owned_application(self._context, request, caller)
        keys = [
            build_key_body(client) for client in list_application_clients(self._context, application.application_id)
        ]
        return web.json_response({"count": len(keys), "list": keys})

    async def get_key(self, request: web.Request, caller: Caller) -> web.Response:
        return web.json_response(build_key_body(self._find_client(request, caller)))

    async def regenerate_secret(self, request: web.Request, caller: Caller) -> web.Response:
        client = self._find_client(request, caller)
        client.client_secret = generate_secret()
        self._context.store.save(affects_routing=False)
        return web.json_response({"consumerKey": client.client_id, "consumerSecret": client.client_secret})

    def _find_client(self, request: web.Request, caller: Caller) -> OAuthClient:
        application = find_owned_application(self._context, request, caller)
        mapping_id = request.match_info["key_mapping_id"]
        for client in list_application_clients(self._context, application.application_id):
            if client.key_mapping_id == mapping_id:
                return client
        raise RestError.not_found("Key mapping", mapping_id)

    def _create_client(self, application: Application, payload: _KeyRequest) -> OAuthClient:
        return OAuthClient(
            client_id=generate_secret(),
            client_secret=generate_secret(),
            name=f"{application.owner}_{application.name}_{payload.key_type}",
            owner=application.owner,
            grant_types=[grant for grant in payload.grant_types_to_be_supported if grant in _SERVED_GRANTS],
            callback_url=payload.callback_url,
            application_id=application.application_id,
            key_mapping_id=str(uuid.uuid4()),
            key_type=payload.key_type,
            validity_s=self._parse_validity_s(payload),
        )

    def _parse_validity_s(self, payload: _KeyRequest) -> int:
        # In WSO2 the additional property is the client's lifetime and validityTime only that of the first token; the
        # callers of this gateway always set both to the same value.
        given = payload.additional_properties.get("application_access_token_expiry_time", payload.validity_time)
        if given in (None, "", "N/A"):
            return self._context.deployment.app_access_token_validity_s
        try:
            validity_s = int(str(given))
        except ValueError as error:
            raise RestError(400, "The validity time is a whole number of seconds") from error
        if validity_s <= 0:
            raise RestError(400, "The validity time is positive")
        return validity_s


def build_key_body(client: OAuthClient) -> Document:
    """Return a consumer key as the REST API writes it, including the secret."""
    return {
        "keyMappingId": client.key_mapping_id,
        "keyManager": KEY_MANAGER,
        "consumerKey": client.client_id,
        "consumerSecret": client.client_secret,
        "supportedGrantTypes": client.grant_types,
        "callbackUrl": client.callback_url,
        "keyState": "APPROVED",
        "keyType": client.key_type,
        "mode": "CREATED",
        "groupId": None,
        "token": None,
        "additionalProperties": {"application_access_token_expiry_time": client.validity_s},
    }


_EXPORT_SCOPES = ("apim:app_import_export",)


class ApplicationExportApi:
    """Handler of `/applications/export`, for callers who may export any application."""

    def __init__(self, context: ManagementContext, applications: ApplicationsApi) -> None:
        self._context = context
        self._applications = applications

    def routes(self) -> list[web.RouteDef]:
        """Return the route; it has to be added before those of single applications."""
        routes = RouteTable(self._context, BASE)
        routes.add("GET", "/applications/export", self.export, _EXPORT_SCOPES)
        return routes.definitions

    async def export(self, request: web.Request, caller: Caller) -> web.Response:
        owner, name = request.query.get("appOwner"), request.query.get("appName")
        if not owner or not name:
            raise RestError(400, "appOwner and appName are needed")
        for application in self._context.state.applications.values():
            if (application.owner, application.name) == (owner, name):
                document = self._build_document(application, with_keys=read_flag(request, "withKeys", default=False))
                is_json = request.query.get("format", "YAML").upper() == "JSON"
                return web.Response(body=_write_archive(application, document, is_json), content_type="application/zip")
        raise RestError.not_found("Application", name)

    def _build_document(self, application: Application, *, with_keys: bool) -> Document:
        described = self._applications.build_application_body(application)
        if with_keys:
            described["keys"] = [
                body | {"consumerSecret": b64encode(body["consumerSecret"].encode()).decode()}
                for body in map(build_key_body, list_application_clients(self._context, application.application_id))
            ]
        products = {product.product_id: product for product in self._context.state.products()}
        subscribed = [
            {
                "apiId": {
                    "providerName": products[subscription.api_id].provider,
                    "apiName": products[subscription.api_id].name,
                    "version": products[subscription.api_id].version,
                },
                "throttlingPolicy": subscription.throttling_policy,
            }
            for subscription in self._context.state.subscriptions.values()
            if subscription.application_id == application.application_id
        ]
        data = {"applicationInfo": described, "subscribedAPIs": subscribed}
        return {"type": "application", "version": "v4.6.0", "data": data}


def _write_archive(application: Application, document: Document, is_json: bool) -> bytes:
    # JSON is a subset of YAML.
    text = json.dumps(document)
    folder = f"{application.owner}-{application.name}"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{folder}/application.{'json' if is_json else 'yaml'}", text)
    return content.getvalue()


REGISTRATION_PATH = "/client-registration/v0.17/register"


class _Registration(Payload):
    client_name: str
    owner: str
    grant_type: str = ""
    callback_url: str = ""
    saas_app: bool = False


def build_registration_routes(context: ManagementContext) -> list[web.RouteDef]:
    """Return the route of the only operation."""

    async def register(request: web.Request) -> web.Response:
        return await _register(context, request)

    return [web.post(REGISTRATION_PATH, register)]


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
