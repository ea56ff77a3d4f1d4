"""OAuth 2.0 endpoints: `/oauth2/token`, `/oauth2/revoke`, `/oauth2/jwks` and discovery.

Authlib validates the requests; this module provides it with clients, users and tokens.
"""

# Authlib has no type annotations: its values are unknown to the checker in this module only.
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportMissingParameterType=false, reportIncompatibleMethodOverride=false

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from aiohttp import web
from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidClientError, InvalidGrantError, OAuth2Request
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant, ResourceOwnerPasswordCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7009 import RevocationEndpoint

from local_gateway.state import GatewayState, OAuthClient, Store
from local_gateway.tokens import AccessToken, TokenService
from local_gateway.users import UserStore, grant_scopes
from wso2_terms.basic_credentials import decode_client
from wso2_terms.deployment import DeploymentSettings

TOKEN_PATH = "/oauth2/token"
REVOKE_PATH = "/oauth2/revoke"
JWKS_PATH = "/oauth2/jwks"
DISCOVERY_PATH = "/oauth2/token/.well-known/openid-configuration"

_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


class OAuthServer(AuthorizationServer):
    """Authlib's authorization server, backed by the gateway's clients, users and tokens."""

    def __init__(self, store: Store, users: UserStore, tokens: TokenService, deployment: DeploymentSettings) -> None:
        super().__init__()
        self._store = store
        self._tokens = tokens
        self._users = users
        self._always_allowed = [re.compile(pattern) for pattern in deployment.allowed_scopes]
        self._grant_unregistered = not deployment.restrict_unassigned_scopes
        self.register_client_auth_method("client_secret_basic", _authenticate_basic)
        self.register_grant(_ClientCredentials)
        self.register_grant(_Password)
        self.register_endpoint(_Revocation(self, tokens))

    def query_client(self, client_id: str) -> "_ClientAdapter | None":
        client = self._store.state.clients.get(client_id)
        return None if client is None else _ClientAdapter(client)

    def authenticate_user(self, name: str, password: str) -> str | None:
        """Return the user's name if the password is correct."""
        return name if self._users.verify(name, password) else None

    def generate_token(
        self,
        grant_type: str,
        client: "_ClientAdapter",
        user: str | None = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        return self._issue(client.record, user, (scope or "").split())

    def issue_client_token(self, client: OAuthClient, scopes: list[str]) -> dict[str, Any]:
        """Issue a token by client credentials without a request: WSO2 returns one together with new keys."""
        return self._issue(client, None, scopes)

    def _issue(self, record: OAuthClient, user: str | None, requested: list[str]) -> dict[str, Any]:
        name = user or record.owner
        granted = grant_scopes(
            requested,
            self._users.get_roles(name),
            build_scope_bindings(self._store.state),
            always_allowed=self._always_allowed,
            grant_unregistered=self._grant_unregistered,
        )
        token = self._tokens.issue(record, name, granted, for_application=user is None)
        return {
            "access_token": token,
            "scope": " ".join(granted),
            "token_type": "Bearer",
            "expires_in": record.validity_s,
        }

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """Do nothing: `TokenService` stores a token when it issues it."""

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Do nothing: there are no receivers."""

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Any:
        return web.json_response(body, status=status, headers={k: v for k, v in headers if k != "Content-Type"})

    async def handle_token(self, request: web.Request) -> web.Response:
        """Answer `POST /oauth2/token`."""
        return cast("web.Response", self.create_token_response(await _read_request(request)))

    async def handle_revoke(self, request: web.Request) -> web.Response:
        """Answer `POST /oauth2/revoke`."""
        response = self.create_endpoint_response(_Revocation.ENDPOINT_NAME, await _read_request(request))
        return cast("web.Response", response)


def build_scope_bindings(state: GatewayState) -> dict[str, frozenset[str]]:
    """Return the roles, in lower case, of every scope that an API or MCP server registers."""
    return {
        listed["scope"]["name"]: frozenset(role.lower() for role in listed["scope"].get("bindings", []))
        for product in state.products()
        for listed in product.data.get("scopes", [])
    }


def build_discovery_document(issuer: str, base_url: str) -> dict[str, Any]:
    """Return the OpenID Connect discovery document.

    Args:
        issuer: Claim `iss` of the tokens.
        base_url: URL under which the caller reached this server.
    """
    return {
        "issuer": issuer,
        "token_endpoint": base_url + TOKEN_PATH,
        "revocation_endpoint": base_url + REVOKE_PATH,
        "jwks_uri": base_url + JWKS_PATH,
        "grant_types_supported": [ClientCredentialsGrant.GRANT_TYPE, ResourceOwnerPasswordCredentialsGrant.GRANT_TYPE],
        "token_endpoint_auth_methods_supported": _AUTH_METHODS,
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
    }


class _ClientAdapter:
    """A client in the form that Authlib expects."""

    def __init__(self, record: OAuthClient) -> None:
        self.record = record

    def check_client_secret(self, secret: str) -> bool:
        return hmac.compare_digest(secret.encode(), self.record.client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in _AUTH_METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.record.grant_types


def _authenticate_basic(
    query_client: Callable[[str], _ClientAdapter | None], request: OAuth2Request
) -> _ClientAdapter | None:
    # Authlib's own method does not decode a plus sign as a space, as form encoding requires.
    given = decode_client((request.headers or {}).get("Authorization", ""))
    if given is None or not all(given):
        return None
    client = query_client(given[0])
    if client is None:
        raise InvalidClientError(status_code=401, description="The client does not exist on this server.")
    return client if client.check_client_secret(given[1]) else None


class _ClientCredentials(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = _AUTH_METHODS


class _Password(ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = _AUTH_METHODS

    def authenticate_user(self, username: str, password: str) -> str:
        user = self.server.authenticate_user(username, password)
        if user is None:
            raise InvalidGrantError(f"Authentication failed for {username}")
        return user


class _Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = _AUTH_METHODS

    def __init__(self, server: AuthorizationServer, tokens: TokenService) -> None:
        super().__init__(server)
        self._tokens = tokens

    def query_token(self, token_string: str, token_type_hint: str | None) -> "_TokenAdapter | None":
        token = self._tokens.verify(token_string)
        return None if token is None else _TokenAdapter(token)

    def revoke_token(self, token: "_TokenAdapter", request: OAuth2Request) -> None:
        self._tokens.revoke(token.token)


class _TokenAdapter:
    """A token in the form that Authlib expects."""

    def __init__(self, verified: AccessToken) -> None:
        self.token = verified

    def check_client(self, client: _ClientAdapter) -> bool:
        return self.token.client_id == client.record.client_id


class _Request(OAuth2Request):
    """An aiohttp request with its body, in the form that Authlib expects."""

    def __init__(self, request: web.Request, form: dict[str, str]) -> None:
        super().__init__(request.method, str(request.url), headers=request.headers)
        self._form = form
        self.payload = BasicOAuth2Payload(form)

    @property
    def args(self) -> Mapping[str, str]:
        return {}

    @property
    def form(self) -> Mapping[str, str]:
        return self._form


async def _read_request(request: web.Request) -> OAuth2Request:
    posted = await request.post()
    return _Request(request, {name: value for name, value in posted.items() if isinstance(value, str)})
