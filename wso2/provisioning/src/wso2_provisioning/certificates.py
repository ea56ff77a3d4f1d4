"""The certificates of one gateway: an authority with a server certificate, and a certificate that signs.

Pure: makes keys and certificates and judges them; knows no files and no WSO2. RSA everywhere, because WSO2 signs with
RS256 and encrypts with RSA (carbon-apimgt 9.33.90, OAuth2Util).
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER_NAMES = ("gateway", "wso2am", "localhost")
"""Names by which containers and the host call the gateway; 127.0.0.1 besides."""

_VALID_FOR = timedelta(days=825)
RENEWED_BEFORE_END = timedelta(days=60)
"""Earlier than the local gateway, which would renew in a folder that it may only read."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def is_usable(pair: Pair, now: datetime) -> bool:
    """Tell whether key and certificate belong together and do not run out soon."""
    belongs = pair.key.public_key() == pair.certificate.public_key()
    return belongs and now + RENEWED_BEFORE_END < pair.certificate.not_valid_after_utc


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether the authority signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def make_server(now: datetime) -> tuple[x509.Certificate, Pair]:
    """Make an authority and the one server certificate that it signs.

    The authority's key is forgotten at once, so that nobody can ever use this authority for anything else.

    Args:
        now: real time, because certificates are judged by it.

    Returns:
        The authority's certificate, and the server's with its key.
    """
    ca_key, key = _new_key(), _new_key()
    ca_name = _name("EV charging gateway CA")
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _draft(ca_name, ca_name, ca_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, SHA256())
    )
    names = [*map(x509.DNSName, SERVER_NAMES), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    # WSO2 uses the same key as a client of its own listeners.
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    server = (
        _leaf(_draft(_name("wso2am"), ca_name, key, now), key, purposes)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
        .sign(ca_key, SHA256())
    )
    return ca, Pair(server, key)


def make_signing(now: datetime) -> Pair:
    """Make the key that signs access tokens and assertions, with a certificate that it signed itself."""
    key = _new_key()
    name = _name("EV charging gateway signing")
    return Pair(_leaf(_draft(name, name, key, now), key, []).sign(key, SHA256()), key)


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _draft(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A day back: another machine's clock may be behind when it meets the certificate.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID_FOR)
    )


def _leaf(
    draft: x509.CertificateBuilder, key: rsa.RSAPrivateKey, purposes: Sequence[x509.ObjectIdentifier]
) -> x509.CertificateBuilder:
    draft = (
        draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return draft.add_extension(x509.ExtendedKeyUsage(purposes), critical=False) if purposes else draft


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        # RSA key exchange, which WSO2 4.6 still offers with TLS 1.2, and the secrets that it encrypts.
        key_encipherment=not signs_certificates,
        data_encipherment=not signs_certificates,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
