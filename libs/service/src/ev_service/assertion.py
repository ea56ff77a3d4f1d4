"""Proof that a call came through the gateway: its signed assertion (backend JWT).

Source: WSO2 API Manager 4.6, `[apim.jwt]` with `encoding = "base64url"`: header `X-JWT-Assertion`, RS256, issuer
`wso2.org/products/am`, no audience; the API for which it was made stands in the claim `apicontext`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from ev_service.clock import Clock
from ev_service.errors import AssertionRefused, ConfigurationError

HEADER = "X-JWT-Assertion"
ISSUER = "wso2.org/products/am"
CONTEXT_CLAIM = "http://wso2.org/claims/apicontext"
APPLICATION_CLAIM = "http://wso2.org/claims/applicationname"
USER_CLAIM = "http://wso2.org/claims/enduser"
_KEPT = 256


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, in the gateway's word.

    application: name of the calling application, None where the gateway does not say it.
    user: in whose name its token is, e.g. `operator@carbon.super`; with client credentials the application's owner.
    """

    application: str | None
    user: str | None


@dataclass(frozen=True, slots=True)
class _Verified:
    context: str
    expires_at: datetime
    caller: Caller


class GatewayAssertion:
    """Verifies assertions of one gateway.

    The gateway reuses an assertion for many calls, so one that was verified is remembered until it expires.
    """

    def __init__(self, certificate_pem: bytes, clock: Clock) -> None:
        self._key = RSAKey.import_key(_public_key(certificate_pem))
        self._clock = clock
        self._verified: dict[str, _Verified] = {}

    @classmethod
    def from_file(cls, path: Path, clock: Clock) -> "GatewayAssertion":
        """Read the gateway's certificate.

        Raises:
            ConfigurationError: the file can not be read or holds no RSA certificate.
        """
        try:
            return cls(path.read_bytes(), clock)
        except (OSError, ValueError, JoseError) as error:
            raise ConfigurationError(f"GATEWAY_CERT_FILE {path} cannot be used: {error}") from error

    def verify(self, assertion: str | None, apicontext: str) -> Caller:
        """Accept a call that the gateway made for this API, and say who it says is calling.

        Args:
            assertion: value of the header, None where it is absent.
            apicontext: the API's context with version, e.g. `/solar/1.0.0`.

        Raises:
            AssertionRefused: absent, forged, expired, or made for another API.
        """
        if not assertion:
            raise AssertionRefused("this service answers only calls that come through the gateway")
        known = self._verified.get(assertion) or self._check(assertion)
        if known.expires_at <= self._clock.now():
            self._verified.pop(assertion, None)
            raise AssertionRefused("the gateway's assertion has expired")
        if known.context != apicontext:
            raise AssertionRefused("the gateway's assertion was made for another API")
        return known.caller

    def _check(self, assertion: str) -> _Verified:
        try:
            claims = jwt.decode(assertion, self._key, algorithms=["RS256"]).claims
            now = self._clock.now()
            expires_at = datetime.fromtimestamp(float(claims["exp"]), now.tzinfo)
            known = _Verified(str(claims[CONTEXT_CLAIM]), expires_at, _caller(claims))
        except (JoseError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise AssertionRefused("the gateway's assertion does not verify") from error
        if claims.get("iss") != ISSUER:
            raise AssertionRefused("the assertion was not issued by the gateway")
        if len(self._verified) >= _KEPT:
            self._verified.clear()
        self._verified[assertion] = known
        return known


def _caller(claims: Mapping[str, Any]) -> Caller:
    application, user = (claims.get(name) for name in (APPLICATION_CLAIM, USER_CLAIM))
    return Caller(None if application is None else str(application), None if user is None else str(user))


def _public_key(certificate_pem: bytes) -> bytes:
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
