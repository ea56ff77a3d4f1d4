"""The backend JWT: how a service learns which application calls, and that the call came through the gateway.

Source: WSO2 API Manager 4.6, `[apim.jwt]` (APIMgtGatewayJWTGeneratorImpl, JWTUtil): kept per API and access token
and reused until it expires.
"""

import uuid
from datetime import datetime
from typing import Any

from joserfc import jwt

from ev_service.errors import ConfigurationError
from local_gateway.gateway.served import ServedApi, Subscriber
from local_gateway.signing import ALGORITHM, SigningKey
from local_gateway.tokens import VerifiedToken
from wso2_terms.deployment import BackendJwt

LIFETIME_S = 900
"""WSO2 gives it the lifetime of its token cache [s]."""
ISSUER = "wso2.org/products/am"

# Renewed a little early: it has to be valid still when the backend looks at it.
_MARGIN_S = 5
_KEPT = 4096
_NOT_PASSED_ON = frozenset(
    {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "application", "tierInfo", "subscribedAPIs", "aut"}
)


class Assertions:
    """Makes and keeps assertions."""

    def __init__(self, key: SigningKey, settings: BackendJwt) -> None:
        """Take key and settings.

        Raises:
            ConfigurationError: an encoding that no JWT library reads.
        """
        if settings.enable and settings.encoding != "base64url":
            raise ConfigurationError('[apim.jwt] encoding must be "base64url": no JWT library reads the other form')
        self.header = settings.header
        self._is_on = settings.enable
        self._key = key
        dialect = settings.claim_dialect.rstrip("/")
        self._prefix = f"{dialect}/" if dialect else ""
        self._kept: dict[tuple[str, str], tuple[str, float]] = {}

    def assertion(self, api: ServedApi, token: VerifiedToken, subscriber: Subscriber, now: datetime) -> str | None:
        """The assertion for one call, None where backend JWTs are switched off."""
        if not self._is_on:
            return None
        key, now_s = (api.context, token.jti), now.timestamp()
        kept = self._kept.get(key)
        if kept is not None and kept[1] - _MARGIN_S > now_s:
            return kept[0]
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        made = self._make(api, token, subscriber, int(now_s))
        self._kept[key] = made, int(now_s) + LIFETIME_S
        return made

    def _make(self, api: ServedApi, token: VerifiedToken, subscriber: Subscriber, now_s: int) -> str:
        application = subscriber.application
        about = {
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
        claims: dict[str, Any] = {name: value for name, value in token.claims.items() if name not in _NOT_PASSED_ON}
        claims |= {self._prefix + name: value for name, value in about.items()}
        claims |= {"iss": ISSUER, "sub": token.user, "iat": now_s, "exp": now_s + LIFETIME_S, "jti": str(uuid.uuid4())}
        header = {"alg": ALGORITHM, "x5t": self._key.x5t, "kid": self._key.assertion_kid}
        return jwt.encode(header, claims, self._key.key, [ALGORITHM])
