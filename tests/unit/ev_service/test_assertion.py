"""Only the gateway's own word opens the door."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws, jwt
from joserfc.jwk import OctKey, RSAKey

from ev_service.assertion import CONTEXT_CLAIM, ISSUER, GatewayAssertion
from ev_service.clock import SteppedClock
from ev_service.errors import AssertionRefusedError, ConfigurationError

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
SOLAR = "/solar/1.0.0"


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(NOON)


@pytest.fixture
def door(certificate_pem: bytes, clock: SteppedClock) -> GatewayAssertion:
    return GatewayAssertion(certificate_pem, clock)


def claims(**changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"iss": ISSUER, "exp": int(NOON.timestamp()) + 900, CONTEXT_CLAIM: SOLAR, "sub": "evapp"}
    said.update(changes)
    return {name: value for name, value in said.items() if value is not None}


def sign_claims(key: RSAKey, **changes: Any) -> str:
    return jwt.encode({"alg": "RS256", "typ": "JWT"}, claims(**changes), key)


def encode_unpadded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def refusal_of(door: GatewayAssertion, assertion: str | None, apicontext: str = SOLAR) -> str:
    with pytest.raises(AssertionRefusedError) as refused:
        door.verify(assertion, apicontext)
    return refused.value.message


def test_the_gateways_assertion_for_this_api_opens(door: GatewayAssertion, signing_key: RSAKey) -> None:
    door.verify(sign_claims(signing_key), SOLAR)


@pytest.mark.parametrize("assertion", [None, ""])
def test_no_assertion_is_refused(door: GatewayAssertion, assertion: str | None) -> None:
    assert refusal_of(door, assertion) == "this service answers only calls that come through the gateway"


@pytest.mark.parametrize("assertion", ["x", "a.b", "a.b.c", "....", "e30.e30.e30", "\u00fc.\u00fc.\u00fc", " "])
def test_what_is_no_jwt_is_refused(door: GatewayAssertion, assertion: str) -> None:
    assert refusal_of(door, assertion) == "the gateway's assertion does not verify"


def test_an_assertion_signed_by_someone_else_is_refused(door: GatewayAssertion) -> None:
    assert "does not verify" in refusal_of(door, sign_claims(RSAKey.generate_key(2048)))


def test_claims_changed_after_signing_are_refused(door: GatewayAssertion, signing_key: RSAKey) -> None:
    header, _, signature = sign_claims(signing_key).split(".")

    assert "does not verify" in refusal_of(door, f"{header}.{encode_unpadded(claims(sub='admin'))}.{signature}")


def test_an_unsigned_assertion_is_refused(door: GatewayAssertion) -> None:
    for algorithm in ("none", "None", "NONE"):
        assert "does not verify" in refusal_of(
            door, f"{encode_unpadded({'alg': algorithm})}.{encode_unpadded(claims())}."
        )


def test_the_public_key_taken_as_a_shared_secret_is_refused(
    door: GatewayAssertion, signing_key: RSAKey, certificate_pem: bytes
) -> None:
    public_pem = signing_key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    for secret in (public_pem, certificate_pem):
        # Signed by hand: the library refuses to make such a thing.
        head = f"{encode_unpadded({'alg': 'HS256', 'typ': 'JWT'})}.{encode_unpadded(claims())}"
        mac = hmac.digest(secret, head.encode(), hashlib.sha256)
        forged = f"{head}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        assert "does not verify" in refusal_of(door, forged)


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_any_other_algorithm_is_refused(door: GatewayAssertion, signing_key: RSAKey, algorithm: str) -> None:
    other = jwt.encode({"alg": algorithm}, claims(), signing_key, algorithms=[algorithm])

    assert "does not verify" in refusal_of(door, other)


def test_a_shared_secret_of_any_kind_is_refused(door: GatewayAssertion) -> None:
    assert "does not verify" in refusal_of(door, jwt.encode({"alg": "HS256"}, claims(), OctKey.generate_key(256)))


@pytest.mark.parametrize("missing", ["exp", CONTEXT_CLAIM])
def test_an_assertion_without_a_claim_that_counts_is_refused(
    door: GatewayAssertion, signing_key: RSAKey, missing: str
) -> None:
    assert "does not verify" in refusal_of(door, sign_claims(signing_key, **{missing: None}))


@pytest.mark.parametrize("issuer", [None, "", "wso2.org/products/am/", "https://localhost:9443/oauth2/token"])
def test_an_assertion_of_another_issuer_is_refused(
    door: GatewayAssertion, signing_key: RSAKey, issuer: str | None
) -> None:
    assert "not issued by the gateway" in refusal_of(door, sign_claims(signing_key, iss=issuer))


@pytest.mark.parametrize("apicontext", ["/battery/1.0.0", "/solar/1.0.1", "/solar", "", "/solar/1.0.0/"])
def test_an_assertion_made_for_another_api_is_refused(
    door: GatewayAssertion, signing_key: RSAKey, apicontext: str
) -> None:
    assertion = sign_claims(signing_key, **{CONTEXT_CLAIM: apicontext})

    assert refusal_of(door, assertion) == "the gateway's assertion was made for another API"
    assert refusal_of(door, assertion) == "the gateway's assertion was made for another API"


def test_an_assertion_expires_by_the_runs_clock_also_when_it_was_seen_before(
    door: GatewayAssertion, signing_key: RSAKey, clock: SteppedClock
) -> None:
    assertion = sign_claims(signing_key)
    clock.advance(899)
    door.verify(assertion, SOLAR)

    clock.advance(1)

    assert refusal_of(door, assertion) == "the gateway's assertion has expired"
    assert refusal_of(door, assertion) == "the gateway's assertion has expired"


@pytest.mark.parametrize("exp", ["soon", 1e300, -1, {}, []])
def test_an_end_that_is_no_moment_ahead_is_refused(door: GatewayAssertion, signing_key: RSAKey, exp: Any) -> None:
    payload = json.dumps(claims(exp=exp)).encode()

    assert "assertion" in refusal_of(door, jws.serialize_compact({"alg": "RS256"}, payload, signing_key))


def test_base64url_without_padding_is_what_is_read(door: GatewayAssertion, signing_key: RSAKey) -> None:
    # Characters that base64 and base64url write differently stand in this claim.
    assertion = sign_claims(signing_key, sub="???>>>~~~\u00ff\u00ff\u00ff")
    standard = assertion.replace("-", "+").replace("_", "/")

    assert set(assertion) & set("-_")
    assert "=" not in assertion
    door.verify(assertion, SOLAR)
    assert "does not verify" in refusal_of(door, standard)


def test_many_assertions_do_not_fill_the_memory(door: GatewayAssertion, signing_key: RSAKey) -> None:
    for number in range(300):
        door.verify(sign_claims(signing_key, jti=str(number)), SOLAR)

    assert len(door._verified) <= 256  # pyright: ignore[reportPrivateUsage]


def test_a_certificate_file_that_is_none_is_refused_by_name(tmp_path: Path, clock: SteppedClock) -> None:
    for content in (b"", b"no certificate"):
        (tmp_path / "cert.pem").write_bytes(content)
        with pytest.raises(ConfigurationError, match="GATEWAY_CERT_FILE"):
            GatewayAssertion.from_file(tmp_path / "cert.pem", clock)
    with pytest.raises(ConfigurationError, match="GATEWAY_CERT_FILE"):
        GatewayAssertion.from_file(tmp_path / "nowhere.pem", clock)


def test_a_certificate_of_another_kind_of_key_is_refused(tmp_path: Path, clock: SteppedClock) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    dated = builder.serial_number(1).not_valid_before(NOON).not_valid_after(NOON + timedelta(days=1))
    pem = dated.public_key(key.public_key()).sign(key, SHA256()).public_bytes(Encoding.PEM)
    (tmp_path / "cert.pem").write_bytes(pem)

    with pytest.raises(ConfigurationError, match="GATEWAY_CERT_FILE"):
        GatewayAssertion.from_file(tmp_path / "cert.pem", clock)
