"""Certificates and keys of the local gateway: made once, kept as long as they are valid.

Two separate things: a certificate authority with the server certificate of all TLS listeners, and the RSA key that
signs access tokens and backend JWTs (WSO2 signs both with the key of its primary key store). Knows files, not tokens.
"""

import ipaddress
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ev_service.errors import ConfigurationError

SERVER_NAMES = ("gateway", "wso2am", "localhost")
_VALID_FOR = timedelta(days=825)
_RENEWED_BEFORE_END = timedelta(days=30)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where certificates and keys stand; a key file is readable by its owner alone.

    The authority's own key is on no disk: it signs one server certificate and is forgotten, so that nobody can ever
    use this authority for anything else. A server certificate that runs out takes its authority with it.
    """

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def server(self) -> Path:
        return self.folder / "server.pem"

    @property
    def server_key(self) -> Path:
        return self.folder / "server-key.pem"

    @property
    def signing(self) -> Path:
        return self.folder / "gateway-signing.pem"

    @property
    def signing_key(self) -> Path:
        return self.folder / "gateway-signing-key.pem"


def prepare(folder: Path, now: datetime) -> KeyFiles:
    """Make what is missing, broken or about to expire; keep the rest.

    Args:
        folder: made when absent.
        now: real time, because certificates are judged by it.

    Raises:
        ConfigurationError: the folder can not be written.
    """
    files = KeyFiles(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_usable(files.server, files.server_key, now) or not _is_issued_by(files.server, files.ca):
            _make_server_certificate(files, now)
        if not _is_usable(files.signing, files.signing_key, now):
            _make_signing_certificate(files, now)
    except OSError as error:
        raise ConfigurationError(f"certificates cannot be kept in {folder}: {error.strerror}") from error
    return files


def _is_usable(certificate_file: Path, key_file: Path, now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError):
        return False
    return key.public_key() == certificate.public_key() and now + _RENEWED_BEFORE_END < certificate.not_valid_after_utc


def _is_issued_by(certificate_file: Path, ca_file: Path) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_file.read_bytes()))
    except Exception:
        return False
    return True


def _make_server_certificate(files: KeyFiles, now: datetime) -> None:
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("EV charging local gateway CA")
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        _draft(ca_name, ca_name, ca_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(ca_id, critical=False)
        .sign(ca_key, SHA256())
    )
    names = [*map(x509.DNSName, SERVER_NAMES), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = (
        _draft(_name("wso2am"), ca_name, key, now)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
        .sign(ca_key, SHA256())
    )
    _write(files.server_key, _pem(key), 0o600)
    _write(files.server, server.public_bytes(Encoding.PEM), 0o644)
    _write(files.ca, ca.public_bytes(Encoding.PEM), 0o644)


def _make_signing_certificate(files: KeyFiles, now: datetime) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = _name("EV charging local gateway signing")
    certificate = _draft(name, name, key, now).sign(key, SHA256())
    _write(files.signing_key, _pem(key), 0o600)
    _write(files.signing, certificate.public_bytes(Encoding.PEM), 0o644)


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


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    opener: Callable[[str, int], int] = lambda name, flags: os.open(name, flags, mode)  # noqa: E731
    with open(draft, "xb", opener=opener) as file:
        file.write(content)
    draft.replace(path)
