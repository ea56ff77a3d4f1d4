"""Backend JWT: tells a service which application calls and proves that the call came through the gateway.

Source: WSO2 API Manager 4.6, `[apim.jwt]` (APIMgtGatewayJWTGeneratorImpl, JWTUtil): cached per API and access token,
reused until it expires.
"""

import uuid
from datetime import datetime
from typing import Any

from joserfc import jwt

from ev_service.errors import ConfigurationError
from local_gateway.gateway.routing_model import GatewayApi, Subscriber
from local_gateway.keys import ALGORITHM, SigningKey
from local_gateway.tokens import AccessToken
from wso2_terms.deployment import BackendJwt

LIFETIME_S = 900
"""Lifetime of an assertion [s]; WSO2 uses the lifetime of its token cache."""
ISSUER = "wso2.org/products/am"

# Renewed early, because the backend verifies the assertion later than the gateway sends it.
_MARGIN_S = 5
_MAX_CACHED = 4096
_NOT_COPIED = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "application", "tierInfo", "subscribedAPIs", "aut"}
)


class AssertionIssuer:
    """Creates and caches assertions."""

    def __init__(self, key: SigningKey, settings: BackendJwt) -> None:
        """Create an issuer.

        Args:
            key: Key that signs the assertions.
            settings: `[apim.jwt]` of deployment.toml.

        Raises:
            ConfigurationError: The encoding is not `base64url`.
        """
        if settings.enable and settings.encoding != "base64url":
            raise ConfigurationError('[apim.jwt] encoding must be "base64url": no JWT library reads the other form')
        self.header = settings.header
        self._is_on = settings.enable
        self._key = key
        dialect = settings.claim_dialect.rstrip("/")
        self._prefix = f"{dialect}/" if dialect else ""
        self._cache: dict[tuple[str, str], tuple[str, float]] = {}

    def get_assertion(self, api: GatewayApi, token: AccessToken, subscriber: Subscriber, now: datetime) -> str | None:
        """Return the assertion for one call, None if backend JWTs are disabled."""
        if not self._is_on:
            return None
        key, now_s = (api.context, token.jti), now.timestamp()
        cached = self._cache.get(key)
        if cached is not None and cached[1] - _MARGIN_S > now_s:
            return cached[0]
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        assertion = self._create(api, token, subscriber, int(now_s))
        self._cache[key] = assertion, int(now_s) + LIFETIME_S
        return assertion

    def _create(self, api: GatewayApi, token: AccessToken, subscriber: Subscriber, now_s: int) -> str:
        application = subscriber.application
        gateway_claims = {
            "subscriber": application.owner,
            "applicationid": str(application.number),
            "applicationname": application.name,
            "applicationtier": application.throttling_policy,
            "apiname": api.name,
            "apicontext": api.context,
            "version": api.version,
            "tier": subscriber.plan,
            "keytype": subscriber.key_type,
            "usertype": "Application_User",
            "enduser": f"{token.user}@carbon.super",
            "enduserTenantId": "-1234",
            "applicationUUId": application.application_id,
        }
        claims: dict[str, Any] = {name: value for name, value in token.claims.items() if name not in _NOT_COPIED}
        claims |= {self._prefix + name: value for name, value in gateway_claims.items()}
        claims |= {"iss": ISSUER, "sub": token.user, "iat": now_s, "exp": now_s + LIFETIME_S, "jti": str(uuid.uuid4())}
        header = {"alg": ALGORITHM, "x5t": self._key.x5t, "kid": self._key.assertion_kid}
        return jwt.encode(header, claims, self._key.key, [ALGORITHM])
