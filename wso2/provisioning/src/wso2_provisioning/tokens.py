"""Clients and tokens: dynamic client registration and the token endpoint.

Source: WSO2 API Manager 4.6.0, client registration v0.17 and OAuth2. Registering a known name gives the same client
back; a token asked for again with the same client, user and scopes revokes the former one.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from pydantic import SecretStr

from wso2_provisioning.errors import CredentialsRefused, Refused, ScopesWrong
from wso2_provisioning.wire import Identity, Wire, json_object, needed, refusal

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


def register_client(wire: Wire, management_url: str, admin: Identity) -> ClientCredentials:
    """Register the client with which REST APIs are called, or get the one of an earlier run.

    Raises:
        CredentialsRefused: the administrator's password is wrong.
        Refused: WSO2 does not register it.
    """
    registration = {
        "callbackUrl": "http://localhost",
        "clientName": CLIENT_NAME,
        "owner": admin.name,
        "grantType": "client_credentials password refresh_token",
        "saasApp": True,
    }
    answer = json_object(wire.call("POST", management_url + REGISTRATION_PATH, admin, json=registration))
    return ClientCredentials(needed(answer, "clientId"), SecretStr(needed(answer, "clientSecret")))


def password_token(
    wire: Wire, token_url: str, client: ClientCredentials, user: str, password: SecretStr, scopes: Collection[str]
) -> Token:
    """Get a token in a user's name with exactly these scopes, and one that keeps parallel runs apart.

    Raises:
        CredentialsRefused: the user's password is wrong.
        ScopesWrong: the user's roles do not allow all of the scopes, which WSO2 leaves out silently.
    """
    token = _token(
        wire,
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
        raise ScopesWrong(f"user {user} was not granted {', '.join(sorted(missing))}: give the user the roles for it")
    return token


def client_token(wire: Wire, token_url: str, client: ClientCredentials, name: str, scopes: Collection[str]) -> Token:
    """Get a token in an application's name; the scopes may be fewer than asked for.

    Args:
        wire: how to reach WSO2.
        token_url: token endpoint, whole.
        client: the application's consumer key and secret.
        name: what errors call the application.
        scopes: asked for beside the one that keeps this token apart from the agent's.

    Raises:
        CredentialsRefused: key or secret are wrong.
    """
    return exact_token(wire, token_url, client, name, {*scopes, OWN_TOKEN_SCOPE})


def exact_token(wire: Wire, token_url: str, client: ClientCredentials, name: str, scopes: Collection[str]) -> Token:
    """Get a token for these scopes and no other; one that was given for the same ones is revoked by that.

    Raises:
        CredentialsRefused: key or secret are wrong.
    """
    form = {"grant_type": "client_credentials", "scope": " ".join(sorted(scopes))}
    return _token(wire, token_url, client, name, form)


def revoke_token(wire: Wire, token_url: str, client: ClientCredentials, token: Token, name: str) -> None:
    """Revoke a token; the gateway learns of it by event, a moment later. An unknown token is no error.

    Args:
        wire: how to reach WSO2.
        token_url: token endpoint, whole; revocation is its neighbour.
        client: consumer key and secret of the application that the token was given to.
        token: what is revoked.
        name: what errors call the application.

    Raises:
        CredentialsRefused: key or secret are wrong.
        Refused: WSO2 does not take it.
    """
    identity = Identity.of_client(client.client_id, client.client_secret)
    form = {"token": token.access_token.get_secret_value()}
    answer = wire.call("POST", revocation_url(token_url), identity, accept=(200, 401), data=form)
    if answer.status_code == 401:
        raise CredentialsRefused(f"the revocation endpoint refused the secret of {name}")


def revocation_url(token_url: str) -> str:
    """Return where tokens of this endpoint are revoked."""
    return f"{token_url.removesuffix('/token')}/revoke"


def _token(wire: Wire, token_url: str, client: ClientCredentials, who: str, form: dict[str, str]) -> Token:
    identity = Identity.of_client(client.client_id, client.client_secret)
    response = wire.call("POST", token_url, identity, accept=(200, 400, 401), data=form)
    if response.status_code != 200:
        try:
            error = str(json_object(response).get("error", ""))
        except Refused:
            error = ""
        if error in ("invalid_grant", "invalid_client") or response.status_code == 401:
            raise CredentialsRefused(f"the token endpoint refused the password or secret of {who} ({error or 401})")
        raise refusal("POST", token_url, response)
    answer = json_object(response)
    return Token(SecretStr(needed(answer, "access_token")), frozenset(str(answer.get("scope", "")).split()))
