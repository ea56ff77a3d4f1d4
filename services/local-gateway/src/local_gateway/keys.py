"""Certificates and keys of the local gateway: made once, kept as long as they are valid.

Two separate things: a certificate authority with the server certificate of all TLS listeners, and the RSA key that
signs access tokens and backend JWTs (WSO2 signs both with the key of its primary key store). Knows files, not tokens.
"""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from joserfc.jwk import RSAKey

from ev_service.certificates import Server, is_issued_by, is_usable, make_servers, make_signing
from ev_service.errors import ConfigurationError
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, pem, read_certificates, read_pair, still_valid, write_pair
from wso2_terms.deployment import GATEWAY_NAMES

_SERVER = Server("wso2am", GATEWAY_NAMES)

# Later than whoever lays keys out for it, because this folder may be one that it only reads.
_RENEWED_BEFORE_END = timedelta(days=30)


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


def prepare_key_files(folder: Path, now: datetime) -> KeyFiles:
    """Make what is missing, broken or about to expire; keep the rest.

    What is made anew stands before the certificate that it takes the place of, so that clients and services accept both
    until the gateway has started with it.

    Args:
        folder: made when absent.
        now: real time, because certificates are judged by it.

    Raises:
        ConfigurationError: the folder can not be written.
    """
    files = KeyFiles(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _has_server_certificate(files, now):
            authority, (server,) = make_servers("EV charging local gateway CA", [_SERVER], now)
            former = still_valid(read_certificates(files.ca), now)
            write_pair(folder, files.server.stem, server)
            replace_file(files.ca, pem(authority, *former), PUBLIC)
        signing = read_pair(folder, files.signing.stem)
        if signing is None or not is_usable(signing, now, _RENEWED_BEFORE_END):
            former = still_valid(read_certificates(files.signing), now)
            write_pair(folder, files.signing.stem, make_signing("EV charging local gateway signing", now), former)
    except OSError as error:
        raise ConfigurationError(f"certificates cannot be kept in {folder}: {error.strerror}") from error
    return files


def _has_server_certificate(files: KeyFiles, now: datetime) -> bool:
    server = read_pair(files.folder, files.server.stem)
    if server is None or not is_usable(server, now, _RENEWED_BEFORE_END):
        return False
    return any(is_issued_by(server.certificate, authority) for authority in read_certificates(files.ca))


ALGORITHM = "RS256"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One RSA key with its certificate's names.

    access_token_kid: its name in `/oauth2/jwks`. assertion_kid: its name in backend JWTs. x5t: WSO2's own form of the
    certificate's SHA-1, the base64url of the hexadecimal text and not of the bytes as RFC 7515 has it.
    """

    key: RSAKey
    access_token_kid: str
    assertion_kid: str
    x5t: str

    @classmethod
    def read(cls, files: KeyFiles) -> "SigningKey":
        """Read the key and its certificate, which may stand among others.

        Raises:
            ConfigurationError: there is none that belongs to the key.
        """
        pair = read_pair(files.folder, files.signing.stem)
        if pair is None:
            raise ConfigurationError(f"{files.signing} holds no certificate that belongs to {files.signing_key}")
        certificate = pair.certificate
        issuer = certificate.issuer.rfc4514_string()
        return cls(
            key=RSAKey.import_key(files.signing_key.read_bytes()),
            access_token_kid=f"{_encode_fingerprint(certificate, SHA256()).rstrip('=')}_{ALGORITHM}",
            assertion_kid=_base64url(f"{issuer}#{certificate.serial_number}".encode()).rstrip("="),
            x5t=_encode_fingerprint(certificate, SHA1()),  # noqa: S303  (a name, not a protection)
        )

    def build_jwks(self) -> dict[str, Any]:
        """The public key as a JWK set."""
        public = self.key.as_dict(private=False)
        public |= {"kid": self.access_token_kid, "alg": ALGORITHM, "use": "sig"}
        return {"keys": [public]}


def _encode_fingerprint(certificate: x509.Certificate, algorithm: HashAlgorithm) -> str:
    return _base64url(certificate.fingerprint(algorithm).hex().encode())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()
