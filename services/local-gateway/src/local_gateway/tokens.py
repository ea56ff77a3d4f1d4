"""Access tokens: issued, verified and revoked.

Tokens are JWTs of the form that WSO2's key manager issues.
"""

import secrets
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError

from ev_service.clock import Clock
from local_gateway.keys import ALGORITHM, SigningKey
from local_gateway.state import GatewayState, LiveToken, OAuthClient, Store

_TOKEN_TYPE = "at+jwt"
_MAX_CACHED_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token whose signature and issuer are valid; expiry and revocation are checked at each use."""

    jti: str
    """Id of the token."""

    client_id: str
    """Consumer key that the token was issued to."""

    user: str
    """User on whose behalf it was issued."""

    scopes: frozenset[str]
    """Granted scopes."""

    expires_at_s: float
    """Expiry [s since epoch]."""

    claims: dict[str, Any]
    """All claims, for the backend JWT."""


class TokenService:
    """Issues, verifies and revokes the tokens of one issuer."""

    def __init__(self, store: Store, key: SigningKey, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._verified: dict[str, AccessToken] = {}

    @property
    def _state(self) -> GatewayState:
        return self._store.state

    def issue(self, client: OAuthClient, user: str, scopes: Sequence[str], *, for_application: bool) -> str:
        """Issue a token and revoke the former one of the same client, user and scopes, as WSO2 does.

        If the state cannot be written, the former token stays valid.

        Args:
            client: The client that requested the token.
            user: The user whose rights it carries.
            scopes: The granted scopes.
            for_application: Granted by client credentials rather than by a user's password.

        Raises:
            OSError: The state cannot be written.
        """
        now_s = int(self._clock.now().timestamp())
        jti = str(uuid.uuid4())
        self._revoke_former(f"{client.client_id}\n{user}\n{' '.join(sorted(scopes))}", jti, now_s, client.validity_s)
        claims = {
            "sub": user,
            "aut": "APPLICATION" if for_application else "APPLICATION_USER",
            "iss": self._state.issuer,
            "aud": client.client_id,
            "nbf": now_s,
            "azp": client.client_id,
            "client_id": client.client_id,
            "scope": " ".join(scopes),
            "exp": now_s + client.validity_s,
            "iat": now_s,
            "jti": jti,
        }
        header = {"alg": ALGORITHM, "kid": self._key.access_token_kid, "x5t": self._key.x5t}
        return jwt.encode(header, claims, self._key.key, [ALGORITHM], default_type=_TOKEN_TYPE)

    def verify(self, token: str) -> AccessToken | None:
        """Return the token if its signature, algorithm, type and issuer are valid, else None.

        Verified tokens are cached, so that a client costs one signature check per token instead of one per call.
        """
        verified = self._verified.get(token)
        if verified is None:
            verified = self._decode(token)
            if verified is not None:
                if len(self._verified) >= _MAX_CACHED_TOKENS:
                    self._verified.clear()
                self._verified[token] = verified
        return verified

    def is_valid(self, token: AccessToken, now: datetime) -> bool:
        """Return whether a verified token is neither expired nor revoked."""
        return token.expires_at_s > now.timestamp() and token.jti not in self._store.state.revoked

    def revoke(self, token: AccessToken) -> None:
        """Revoke a token for the rest of its lifetime."""
        self._state.revoked[token.jti] = int(token.expires_at_s)
        self._state.live_tokens = {key: live for key, live in self._state.live_tokens.items() if live.jti != token.jti}
        self._store.save(affects_routing=False)

    def revoke_clients(self, client_ids: Collection[str]) -> None:
        """Revoke all tokens of these clients; the caller saves the state."""
        state = self._state
        revoked = {key: live for key, live in state.live_tokens.items() if key.partition("\n")[0] in client_ids}
        state.revoked |= {live.jti: live.expires_at_s for live in revoked.values()}
        state.live_tokens = {key: live for key, live in state.live_tokens.items() if key not in revoked}

    def _decode(self, token: str) -> AccessToken | None:
        try:
            decoded = jwt.decode(token, self._key.key, algorithms=[ALGORITHM])
            claims = decoded.claims
            if decoded.header.get("typ") != _TOKEN_TYPE or claims["iss"] != self._state.issuer:
                return None
            return AccessToken(
                jti=str(claims["jti"]),
                client_id=str(claims["azp"]),
                user=str(claims["sub"]),
                scopes=frozenset(str(claims["scope"]).split()),
                expires_at_s=float(claims["exp"]),
                claims=claims,
            )
        except (JoseError, ValueError, KeyError, TypeError):
            return None

    def _revoke_former(self, key: str, jti: str, now_s: int, validity_s: int) -> None:
        state = self._state
        before = state.revoked, state.live_tokens
        state.revoked = {old: expiry_s for old, expiry_s in state.revoked.items() if expiry_s > now_s}
        state.live_tokens = {old: live for old, live in state.live_tokens.items() if live.expires_at_s > now_s}
        former = state.live_tokens.get(key)
        if former is not None:
            state.revoked[former.jti] = former.expires_at_s
        state.live_tokens[key] = LiveToken(jti=jti, expires_at_s=now_s + validity_s)
        try:
            self._store.save(affects_routing=False)
        except OSError:
            state.revoked, state.live_tokens = before
            raise


def generate_secret() -> str:
    """Return a consumer key or secret of 28 characters, as long as WSO2's."""
    return secrets.token_urlsafe(21)
