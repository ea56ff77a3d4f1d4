"""The certificates that a stack makes for itself: an authority with server certificates, and one that signs.

`ev_service.key_files` reads and writes the files.
"""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

RENEWED_BEFORE_END = timedelta(days=60)
"""A certificate that ends sooner is made anew."""

_VALID_FOR = timedelta(days=825)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class Server:
    """Whom a certificate is for: its common name, and the names by which it is called; 127.0.0.1 besides."""

    common_name: str
    dns_names: Sequence[str]


def rsa_key() -> rsa.RSAPrivateKey:
    """A key for whoever demands RSA, as WSO2 API Manager does."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def ec_key() -> ec.EllipticCurvePrivateKey:
    """A key for everybody else: quicker to make and to use."""
    return ec.generate_private_key(ec.SECP256R1())


def is_usable(pair: Pair, now: datetime, renewed_before_end: timedelta = RENEWED_BEFORE_END) -> bool:
    """Tell whether key and certificate belong together and do not run out soon."""
    belongs = pair.key.public_key() == pair.certificate.public_key()
    return belongs and now + renewed_before_end < pair.certificate.not_valid_after_utc


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether the authority signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def make_servers(
    authority_name: str, servers: Sequence[Server], now: datetime, new_key: Callable[[], PrivateKey] = ec_key
) -> tuple[x509.Certificate, tuple[Pair, ...]]:
    """Make an authority and the server certificates that it signs.

    The authority's key is forgotten at once, so that nobody can ever use this authority for anything else.

    Args:
        authority_name: common name of the authority.
        servers: whom it signs for.
        now: real time, because certificates are judged by it.
        new_key: makes each key.

    Returns:
        The authority's certificate, and one pair for each server, in their order.
    """
    ca_key, ca_name = new_key(), _name(authority_name)
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _draft(ca_name, ca_name, ca_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca_key, signs_certificates=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, SHA256())
    )
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id)
    # WSO2 uses the same key as a client of its own listeners.
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    pairs: list[Pair] = []
    for server in servers:
        key = new_key()
        names = [*map(x509.DNSName, server.dns_names), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            _leaf(_draft(_name(server.common_name), ca_name, key, now), key, purposes)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(issued_by, critical=False)
            .sign(ca_key, SHA256())
        )
        pairs.append(Pair(certificate, key))
    return ca, tuple(pairs)


def make_signing(common_name: str, now: datetime) -> Pair:
    """Make an RSA key that signs tokens and assertions, with a certificate that it signed itself."""
    key, name = rsa_key(), _name(common_name)
    return Pair(_leaf(_draft(name, name, key, now), key, []).sign(key, SHA256()), key)


def _draft(subject: x509.Name, issuer: x509.Name, key: PrivateKey, now: datetime) -> x509.CertificateBuilder:
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
    draft: x509.CertificateBuilder, key: PrivateKey, purposes: Sequence[x509.ObjectIdentifier]
) -> x509.CertificateBuilder:
    draft = (
        draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(key, signs_certificates=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return draft.add_extension(x509.ExtendedKeyUsage(purposes), critical=False) if purposes else draft


def _usage(key: PrivateKey, *, signs_certificates: bool) -> x509.KeyUsage:
    # RSA key exchange, which WSO2 4.6 still offers with TLS 1.2, and the secrets that it encrypts.
    encrypts = isinstance(key, rsa.RSAPrivateKey) and not signs_certificates
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=encrypts,
        data_encipherment=encrypts,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
