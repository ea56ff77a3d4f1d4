"""OAuth clients and tokens: dynamic client registration and the token endpoint.

Source: WSO2 API Manager 4.6.0, client registration v0.17 and OAuth2. Registering an existing name returns the same
client; requesting a token with the same client, user and scopes revokes the previous one.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from pydantic import SecretStr

from wso2_provisioning.errors import CredentialsRefusedError, RequestRefusedError, ScopeMismatchError
from wso2_provisioning.http_client import HttpClient, Identity, build_refused_error, parse_json_object, require_field

REGISTRATION_PATH = "/client-registration/v0.17/register"
CLIENT_NAME = "energy_bootstrap"
OWN_TOKEN_SCOPE = "device_bootstrap"
"""Scope without rights that makes the set of scopes differ from the agent's, whose token is then not revoked."""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Consumer key and secret."""

    client_id: str
    client_secret: SecretStr


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and the scopes that it was granted."""

    access_token: SecretStr
    scopes: frozenset[str]


def register_client(http: HttpClient, management_url: str, admin: Identity) -> ClientCredentials:
    """Register the client of the REST APIs, or return the existing one.

    Raises:
        CredentialsRefusedError: the administrator's password is wrong.
        RequestRefusedError: WSO2 refuses the registration.
    """
    registration = {
        "callbackUrl": "http://localhost",
        "clientName": CLIENT_NAME,
        "owner": admin.name,
        "grantType": "client_credentials password refresh_token",
        "saasApp": True,
    }
    answer = parse_json_object(http.call("POST", management_url + REGISTRATION_PATH, admin, json=registration))
    return ClientCredentials(require_field(answer, "clientId"), SecretStr(require_field(answer, "clientSecret")))


def request_password_token(
    http: HttpClient, token_url: str, client: ClientCredentials, user: str, password: SecretStr, scopes: Collection[str]
) -> Token:
    """Request a token of a user with these scopes and a random one, which separates parallel runs.

    Raises:
        CredentialsRefusedError: the user's password is wrong.
        ScopeMismatchError: the user's roles do not allow all of the scopes; WSO2 omits the others silently.
    """
    token = _request_token(
        http,
        token_url,
        client,
        user,
        {
            "grant_type": "password",
            "username": user,
            "password": password.get_secret_value(),
            "scope": " ".join((*sorted(scopes), f"{OWN_TOKEN_SCOPE}_{secrets.token_hex(4)}")),
        },
    )
    missing = set(scopes) - token.scopes
    if missing:
        raise ScopeMismatchError(
            f"user {user} was not granted {', '.join(sorted(missing))}: give the user the roles for it"
        )
    return token


def request_client_token(
    http: HttpClient, token_url: str, client: ClientCredentials, name: str, scopes: Collection[str]
) -> Token:
    """Request a token of an application; it may have fewer scopes than requested.

    Args:
        http: HTTP client.
        token_url: complete URL of the token endpoint.
        client: the application's consumer key and secret.
        name: of the application, for errors.
        scopes: requested in addition to the one that separates this token from the agent's.

    Raises:
        CredentialsRefusedError: key or secret are wrong.
    """
    return request_exact_token(http, token_url, client, name, {*scopes, OWN_TOKEN_SCOPE})


def request_exact_token(
    http: HttpClient, token_url: str, client: ClientCredentials, name: str, scopes: Collection[str]
) -> Token:
    """Request a token with exactly these scopes; this revokes a previous one with the same scopes.

    Raises:
        CredentialsRefusedError: key or secret are wrong.
    """
    form = {"grant_type": "client_credentials", "scope": " ".join(sorted(scopes))}
    return _request_token(http, token_url, client, name, form)


def revoke_token(http: HttpClient, token_url: str, client: ClientCredentials, token: Token, name: str) -> None:
    """Revoke a token; the gateway is notified by an event, a moment later. An unknown token is no error.

    Args:
        http: HTTP client.
        token_url: complete URL of the token endpoint, from which that of the revocation endpoint follows.
        client: consumer key and secret of the application that owns the token.
        token: to revoke.
        name: of the application, for errors.

    Raises:
        CredentialsRefusedError: key or secret are wrong.
        RequestRefusedError: WSO2 refuses it.
    """
    identity = Identity.from_client(client.client_id, client.client_secret)
    form = {"token": token.access_token.get_secret_value()}
    answer = http.call("POST", build_revocation_url(token_url), identity, accept=(200, 401), data=form)
    if answer.status_code == 401:
        raise CredentialsRefusedError(f"the revocation endpoint refused the secret of {name}")


def build_revocation_url(token_url: str) -> str:
    """Return the URL of the revocation endpoint."""
    return f"{token_url.removesuffix('/token')}/revoke"


def _request_token(
    http: HttpClient, token_url: str, client: ClientCredentials, who: str, form: dict[str, str]
) -> Token:
    identity = Identity.from_client(client.client_id, client.client_secret)
    response = http.call("POST", token_url, identity, accept=(200, 400, 401), data=form)
    if response.status_code != 200:
        try:
            error = str(parse_json_object(response).get("error", ""))
        except RequestRefusedError:
            error = ""
        if error in ("invalid_grant", "invalid_client") or response.status_code == 401:
            raise CredentialsRefusedError(
                f"the token endpoint refused the password or secret of {who} ({error or 401})"
            )
        raise build_refused_error("POST", token_url, response)
    answer = parse_json_object(response)
    return Token(SecretStr(require_field(answer, "access_token")), frozenset(str(answer.get("scope", "")).split()))
