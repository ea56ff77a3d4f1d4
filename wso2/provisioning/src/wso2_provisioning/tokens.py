"""Clients and tokens: dynamic client registration and the token endpoint.

Source: WSO2 API Manager 4.6.0, client registration v0.17 and OAuth2. Registering a known name gives the same client
back; a token asked for again with the same client, user and scopes revokes the former one.
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
"""Makes the set of scopes differ from the agent's, so that asking revokes nothing of the agent's. Grants nothing."""


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
    """Register the client with which REST APIs are called, or get the one of an earlier run.

    Raises:
        CredentialsRefusedError: the administrator's password is wrong.
        RequestRefusedError: WSO2 does not register it.
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
    """Get a token in a user's name with exactly these scopes, and one that keeps parallel runs apart.

    Raises:
        CredentialsRefusedError: the user's password is wrong.
        ScopeMismatchError: the user's roles do not allow all of the scopes, which WSO2 leaves out silently.
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
    """Get a token in an application's name; the scopes may be fewer than asked for.

    Args:
        http: how to reach WSO2.
        token_url: token endpoint, whole.
        client: the application's consumer key and secret.
        name: what errors call the application.
        scopes: asked for beside the one that keeps this token apart from the agent's.

    Raises:
        CredentialsRefusedError: key or secret are wrong.
    """
    return request_exact_token(http, token_url, client, name, {*scopes, OWN_TOKEN_SCOPE})


def request_exact_token(
    http: HttpClient, token_url: str, client: ClientCredentials, name: str, scopes: Collection[str]
) -> Token:
    """Get a token for these scopes and no other; one that was given for the same ones is revoked by that.

    Raises:
        CredentialsRefusedError: key or secret are wrong.
    """
    form = {"grant_type": "client_credentials", "scope": " ".join(sorted(scopes))}
    return _request_token(http, token_url, client, name, form)


def revoke_token(http: HttpClient, token_url: str, client: ClientCredentials, token: Token, name: str) -> None:
    """Revoke a token; the gateway learns of it by event, a moment later. An unknown token is no error.

    Args:
        http: how to reach WSO2.
        token_url: token endpoint, whole; revocation is its neighbour.
        client: consumer key and secret of the application that the token was given to.
        token: what is revoked.
        name: what errors call the application.

    Raises:
        CredentialsRefusedError: key or secret are wrong.
        RequestRefusedError: WSO2 does not take it.
    """
    identity = Identity.from_client(client.client_id, client.client_secret)
    form = {"token": token.access_token.get_secret_value()}
    answer = http.call("POST", build_revocation_url(token_url), identity, accept=(200, 401), data=form)
    if answer.status_code == 401:
        raise CredentialsRefusedError(f"the revocation endpoint refused the secret of {name}")


def build_revocation_url(token_url: str) -> str:
    """Return where tokens of this endpoint are revoked."""
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
