"""Access tokens: format, validity and rejected tokens."""

import hmac
import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from ev_service.clock import SteppedClock
from local_gateway.keys import SigningKey
from local_gateway.state import Store
from local_gateway.tokens import AccessToken, TokenService


def issue(tokens: TokenService, store: Store, *scopes: str) -> str:
    client = store.state.clients["key-EVApp"]
    return tokens.issue(client, client.owner, scopes or ("solar:read",), for_application=True)


def verify(tokens: TokenService, token: str) -> AccessToken:
    known = tokens.verify(token)
    assert known is not None
    return known


def test_a_token_has_the_claims_that_wso2_gives(tokens: TokenService, store: Store, key: SigningKey) -> None:
    decoded = jwt.decode(issue(tokens, store), key.key, algorithms=["RS256"])

    assert decoded.header["typ"] == "at+jwt"
    assert decoded.claims["iss"] == "https://localhost:9443/oauth2/token"
    assert decoded.claims["azp"] == decoded.claims["client_id"] == decoded.claims["aud"] == "key-EVApp"
    assert decoded.claims["aut"] == "APPLICATION"
    assert decoded.claims["exp"] - decoded.claims["iat"] == 3600
    assert "subscribedAPIs" not in decoded.claims


def test_a_token_is_valid_until_it_expires(tokens: TokenService, store: Store, clock: SteppedClock) -> None:
    token = verify(tokens, issue(tokens, store))

    clock.advance(3599)
    assert tokens.is_valid(token, clock.now())
    clock.advance(2)
    assert not tokens.is_valid(token, clock.now())


def test_asking_again_revokes_the_former_token_of_the_same_scopes(
    tokens: TokenService, store: Store, clock: SteppedClock
) -> None:
    first, other = issue(tokens, store), issue(tokens, store, "solar:read", "device_x")

    second = issue(tokens, store)

    assert not tokens.is_valid(verify(tokens, first), clock.now())
    assert tokens.is_valid(verify(tokens, other), clock.now())
    assert tokens.is_valid(verify(tokens, second), clock.now())


def test_a_revoked_token_is_forgotten_once_it_would_have_expired(
    tokens: TokenService, store: Store, clock: SteppedClock
) -> None:
    tokens.revoke(verify(tokens, issue(tokens, store)))
    assert len(store.state.revoked) == 1

    clock.advance(3601)
    issue(tokens, store)

    assert store.state.revoked == {}


CLAIMS: dict[str, Any] = {
    "iss": "https://localhost:9443/oauth2/token",
    "jti": "1",
    "azp": "key-EVApp",
    "sub": "evapp",
    "scope": "solar:read",
    "exp": 4_000_000_000,
}


def test_a_token_of_another_key_is_none(tokens: TokenService, key: SigningKey) -> None:
    other = RSAKey.generate_key(2048)

    assert tokens.verify(jwt.encode({"alg": "RS256"}, CLAIMS, other, default_type="at+jwt")) is None


def test_the_public_key_is_no_shared_secret(tokens: TokenService, key: SigningKey) -> None:
    contents = {"alg": "HS256", "typ": "at+jwt"}, CLAIMS
    parts = [urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=") for content in contents]
    signature = hmac.digest(key.key.as_pem(private=False), b".".join(parts), "sha256")

    assert tokens.verify(b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")]).decode()) is None


@pytest.mark.parametrize("change", [{"iss": "wso2.org/products/am"}, {"iss": None}, {"exp": "soon"}, {"scope": None}])
def test_a_well_signed_token_of_another_kind_is_none(
    tokens: TokenService, key: SigningKey, change: dict[str, Any]
) -> None:
    claims = {name: value for name, value in (CLAIMS | change).items() if value is not None}

    assert tokens.verify(jwt.encode({"alg": "RS256"}, claims, key.key, default_type="at+jwt")) is None


def test_a_token_without_the_type_of_access_tokens_is_none(tokens: TokenService, key: SigningKey) -> None:
    assert tokens.verify(jwt.encode({"alg": "RS256"}, CLAIMS, key.key, default_type="JWT")) is None


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "é.é.é", "." * 8000])
def test_malformed_text_is_not_a_token(tokens: TokenService, text: str) -> None:
    assert tokens.verify(text) is None
