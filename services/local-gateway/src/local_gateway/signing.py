"""The key that signs access tokens and backend JWTs, and the names under which it is known.

Knows keys and certificates, not what is signed.
"""

import base64
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from joserfc.jwk import RSAKey

from ev_service.errors import ConfigurationError
from ev_service.key_files import read_pair
from local_gateway.keys import KeyFiles

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
