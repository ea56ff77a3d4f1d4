"""Certificates and keys of the local gateway: created once, kept as long as they are valid.

There are two independent things: a certificate authority with the server certificate of all TLS listeners, and the RSA
key that signs access tokens and backend JWTs (WSO2 signs both with the key of its primary key store).
"""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from joserfc.jwk import RSAKey

from ev_service.certificates import Server
from ev_service.errors import ConfigurationError
from ev_service.key_files import AUTHORITY_FILE, ensure_servers, ensure_signing, read_pair
from wso2_terms.deployment import GATEWAY_NAMES

_SERVERS = {"server": Server("wso2am", GATEWAY_NAMES)}

# Shorter than the renewal period of the tool that creates the keys, because this process may only read the folder.
_RENEWED_BEFORE_END = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Paths of certificates and keys; key files are readable by their owner only.

    The authority's private key is not stored, so that nobody can issue further certificates with it.
    """

    folder: Path
    """The folder that contains the files."""

    @property
    def ca(self) -> Path:
        return self.folder / AUTHORITY_FILE

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
    """Create certificates and keys that are missing, broken or about to expire; keep the others.

    A new certificate is written before the one that it replaces, so that clients and services accept both until the
    gateway has restarted.

    Args:
        folder: Created if absent.
        now: Real time, because certificates are valid in real time.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    files = KeyFiles(folder)
    try:
        ensure_servers(folder, "EV charging local gateway CA", _SERVERS, now, renewed_before_end=_RENEWED_BEFORE_END)
        ensure_signing(
            folder,
            files.signing.stem,
            "EV charging local gateway signing",
            now,
            renewed_before_end=_RENEWED_BEFORE_END,
        )
    except OSError as error:
        raise ConfigurationError(f"certificates cannot be kept in {folder}: {error.strerror}") from error
    return files


ALGORITHM = "RS256"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The RSA key that signs access tokens and backend JWTs, with the ids that refer to it."""

    key: RSAKey
    """The key pair."""

    access_token_kid: str
    """Key id in access tokens and in `/oauth2/jwks`."""

    assertion_kid: str
    """Key id in backend JWTs."""

    x5t: str
    """WSO2's form of the certificate's SHA-1: base64url of the hexadecimal text, not of the bytes as in RFC 7515."""

    @classmethod
    def read(cls, files: KeyFiles) -> "SigningKey":
        """Read the key and its certificate, which may be one of several in the file.

        Raises:
            ConfigurationError: No certificate in the file belongs to the key.
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
        """Return the public key as a JWK set."""
        public = self.key.as_dict(private=False)
        public |= {"kid": self.access_token_kid, "alg": ALGORITHM, "use": "sig"}
        return {"keys": [public]}


def _encode_fingerprint(certificate: x509.Certificate, algorithm: HashAlgorithm) -> str:
    return _base64url(certificate.fingerprint(algorithm).hex().encode())


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()
