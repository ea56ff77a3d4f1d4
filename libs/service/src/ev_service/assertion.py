"""Proof that a call came through the gateway: its signed assertion (backend JWT).

Several certificates may be accepted at the same time, and their file is read again when it changes, so that the gateway
can change its key while everything runs.

Source: WSO2 API Manager 4.6, `[apim.jwt]` with `encoding = "base64url"`: header `X-JWT-Assertion`, RS256, issuer
`wso2.org/products/am`, no audience; the API for which it was made stands in the claim `apicontext`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import RSAKey

from ev_service.clock import Clock
from ev_service.errors import AssertionRefusedError, ConfigurationError
from ev_service.files import WatchedFile
from ev_service.units import utc_text

_logger = logging.getLogger(__name__)

HEADER = "X-JWT-Assertion"
ISSUER = "wso2.org/products/am"
CONTEXT_CLAIM = "http://wso2.org/claims/apicontext"
APPLICATION_CLAIM = "http://wso2.org/claims/applicationname"
USER_CLAIM = "http://wso2.org/claims/enduser"
_KEPT = 256
_REPORTED_S = 300.0
"""How long after the last refusal of an assertion `/health` still reports it [s of the run]."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, in the gateway's word."""

    application: str | None
    """Name of the calling application, None where the gateway does not say it."""

    user: str | None
    """In whose name its token is, e.g. `operator@carbon.super`; with client credentials the application's owner."""


@dataclass(frozen=True, slots=True)
class _VerifiedAssertion:
    context: str
    expires_at: datetime
    caller: Caller


@dataclass(slots=True)
class _Refusals:
    """Assertions that were refused, each within `_REPORTED_S` of the one before."""

    count: int
    first_at: datetime
    last_at: datetime
    last_at_s: float
    reason: str


class GatewayAssertion:
    """Verifies assertions of one gateway.

    The gateway reuses an assertion for many calls, so one that was verified is remembered until it expires, or until
    the certificates change.
    """

    def __init__(
        self, certificates_pem: bytes, clock: Clock, file: WatchedFile[tuple[RSAKey, ...]] | None = None
    ) -> None:
        """Accept the holders of these certificates.

        Args:
            certificates_pem: one or more certificates, PEM; an assertion signed with the key of any of them counts.
            clock: the run's clock.
            file: where certificates are read from in place of `certificates_pem`, again whenever it changes.

        Raises:
            ValueError: something in the PEM is no RSA certificate.
        """
        self._file = file
        self._keys = _read_keys(certificates_pem) if file is None else file.read()
        self._clock = clock
        self._verified: dict[str, _VerifiedAssertion] = {}
        self._refusals: _Refusals | None = None

    @classmethod
    def from_file(cls, path: Path, clock: Clock) -> "GatewayAssertion":
        """Read the gateway's certificates, and again whenever the file changes.

        Raises:
            ConfigurationError: the file cannot be read, or something in it is no RSA certificate.
        """
        try:
            return cls(b"", clock, WatchedFile(path, _read_keys, "GATEWAY_CERT_FILE"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"GATEWAY_CERT_FILE {path} cannot be used: {error}") from error

    def verify(self, assertion: str | None, apicontext: str) -> Caller:
        """Accept a call that the gateway made for this API, and return the caller that it names.

        Args:
            assertion: value of the header, None where it is absent.
            apicontext: the API's context with version, e.g. `/solar/1.0.0`.

        Raises:
            AssertionRefusedError: absent, forged, expired, or made for another API.
        """
        if not assertion:
            raise AssertionRefusedError("this service answers only calls that come through the gateway")
        try:
            return self._verify(assertion, apicontext)
        except AssertionRefusedError as refused:
            self._note(str(refused.details.get("reason", refused.message)))
            raise

    def warnings(self) -> dict[str, str | None]:
        """What keeps, or may soon keep, the gateway's own calls from being answered, by part; None where nothing does.

        Whoever reaches the service past the gateway can have an assertion refused. So this is for people and alarms:
        nobody may take the service out of operation because of it.
        """
        refusals, warning = self._refusals, None
        if refusals is not None and not self._is_over(refusals):
            calls = f"{refusals.count} call{'s' if refusals.count > 1 else ''}"
            first, last = utc_text(refusals.first_at), utc_text(refusals.last_at)
            warning = f"refused {calls} since {first}, the last at {last}: {refusals.reason}"
        return {"assertion": warning, "certificates": None if self._file is None else self._file.read_error()}

    def _verify(self, assertion: str, apicontext: str) -> Caller:
        self._renew_keys()
        known = self._verified.get(assertion) or self._check(assertion)
        if known.expires_at <= self._clock.now():
            self._verified.pop(assertion, None)
            raise AssertionRefusedError("the gateway's assertion has expired")
        if known.context != apicontext:
            raise AssertionRefusedError("the gateway's assertion was made for another API")
        return known.caller

    def _renew_keys(self) -> None:
        keys = self._keys if self._file is None else self._file.read()
        if keys is not self._keys:
            self._keys = keys
            # Among them may be what a certificate signed that is accepted no longer.
            self._verified.clear()

    def _check(self, assertion: str) -> _VerifiedAssertion:
        try:
            claims = self._claims(assertion)
            now = self._clock.now()
            expires_at = datetime.fromtimestamp(float(claims["exp"]), now.tzinfo)
            known = _VerifiedAssertion(str(claims[CONTEXT_CLAIM]), expires_at, _caller(claims))
        except (JoseError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise AssertionRefusedError(
                "the gateway's assertion does not verify", reason=self._reason(error)
            ) from error
        if claims.get("iss") != ISSUER:
            raise AssertionRefusedError("the assertion was not issued by the gateway")
        if len(self._verified) >= _KEPT:
            self._verified.clear()
        self._verified[assertion] = known
        return known

    def _claims(self, assertion: str) -> dict[str, Any]:
        """Claims of an assertion that one of the keys signed.

        Raises:
            JoseError: none of them did, or it is no assertion.
        """
        *first, last = self._keys
        for key in first:
            try:
                return jwt.decode(assertion, key, algorithms=["RS256"]).claims
            except BadSignatureError:
                continue
        return jwt.decode(assertion, last, algorithms=["RS256"]).claims

    def _reason(self, error: Exception) -> str:
        if isinstance(error, BadSignatureError):
            return f"its signature matches no certificate in GATEWAY_CERT_FILE, which holds {len(self._keys)}"
        return "it is no assertion as the gateway makes them"

    def _note(self, reason: str) -> None:
        now, now_s = self._clock.now(), self._clock.monotonic_s()
        if self._refusals is None or self._is_over(self._refusals):
            self._refusals = _Refusals(0, now, now, now_s, reason)
            # Once and not for each: how often is up to whoever calls.
            _logger.warning("assertion refused", extra={"reason": reason})
        self._refusals.count += 1
        self._refusals.last_at, self._refusals.last_at_s, self._refusals.reason = now, now_s, reason

    def _is_over(self, refusals: _Refusals) -> bool:
        return self._clock.monotonic_s() - refusals.last_at_s > _REPORTED_S


def _caller(claims: Mapping[str, Any]) -> Caller:
    application, user = (claims.get(name) for name in (APPLICATION_CLAIM, USER_CLAIM))
    return Caller(None if application is None else str(application), None if user is None else str(user))


def _read_keys(certificates_pem: bytes) -> tuple[RSAKey, ...]:
    """Public keys of certificates.

    Raises:
        ValueError: there is none, one is cut off, or one is not for RSA.
    """
    certificates = x509.load_pem_x509_certificates(certificates_pem)
    if certificates_pem.count(b"-----BEGIN CERTIFICATE-----") != len(certificates):
        raise ValueError("a certificate in it is cut off")
    keys = [certificate.public_key() for certificate in certificates]
    if not all(isinstance(key, rsa.RSAPublicKey) for key in keys):
        raise ValueError("a certificate in it is not for an RSA key")
    return tuple(RSAKey.import_key(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)) for key in keys)
