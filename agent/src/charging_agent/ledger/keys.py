"""The Ed25519 key that signs records, and the public keys that are trusted when they are verified."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from charging_agent.ledger.errors import LedgerUnavailableError
from ev_service.errors import ConfigurationError

_logger = logging.getLogger(__name__)

PRIVATE_FILE = "signing-key.pem"
PUBLIC_FILE = "signing-key.pub.pem"
PUBLIC_FILES = "signing-key*.pub.pem"
"""The public key and those of keys that signed before it."""

TrustedKeys = dict[str, Ed25519PublicKey]
"""Public keys by their ids."""


class SigningKey:
    """Signs digests; shows its id and its public half, never itself."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key()
        self.key_id = compute_key_id(self.public)

    def sign(self, sha256: str) -> str:
        """Sign the 32 bytes of a digest; both hexadecimal."""
        return self._private.sign(bytes.fromhex(sha256)).hex()

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"


def compute_key_id(public: Ed25519PublicKey) -> str:
    """The first 16 hexadecimal digits of SHA-256 over the 32 bytes of the public key."""
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def is_signed_by(public: Ed25519PublicKey, sha256: str, signature: str) -> bool:
    """Tell whether a signature over a digest is this key's; what is no hexadecimal text is not."""
    try:
        signed = bytes.fromhex(signature)
        if signed.hex() != signature:
            # Another spelling of the same digits is a change all the same.
            return False
        public.verify(signed, bytes.fromhex(sha256))
    except (InvalidSignature, ValueError):
        return False
    return True


def generate_key() -> SigningKey:
    """A key that lives as long as this process."""
    return SigningKey(Ed25519PrivateKey.generate())


def load_or_create_key(folder: Path) -> SigningKey:
    """The key that the folder holds; a new one (readable by its owner alone) where it holds none.

    The public half stands beside it. When the key was replaced, the former public key stays under its own name, so
    that older records can still be verified.

    Raises:
        ConfigurationError: the file is no Ed25519 key in PEM.
        LedgerUnavailableError: it cannot be read or written; that may pass.
    """
    file = folder / PRIVATE_FILE
    try:
        if not file.exists():
            _write(file, _generate_pem())
        loaded = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise LedgerUnavailableError(f"{file} cannot be used: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # Without the library's words: they may hold a part of the file.
        raise ConfigurationError(f"{file} is no private key in PEM without password") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise ConfigurationError(f"{file} is no Ed25519 key")
    key = SigningKey(loaded)
    _publish_public_key(key, folder)
    return key


def read_trusted_keys(files: Iterable[Path]) -> TrustedKeys:
    """Read public keys.

    Raises:
        ConfigurationError: a file is no Ed25519 public key in PEM.
    """
    trusted: TrustedKeys = {}
    for file in files:
        try:
            public = load_pem_public_key(file.read_bytes())
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigurationError(f"{file} is no public key in PEM") from error
        if not isinstance(public, Ed25519PublicKey):
            raise ConfigurationError(f"{file} is no Ed25519 public key")
        trusted[compute_key_id(public)] = public
    return trusted


def _generate_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _publish_public_key(key: SigningKey, folder: Path) -> None:
    file, pem = folder / PUBLIC_FILE, key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        if file.exists():
            if file.read_bytes() == pem:
                return
            former = next(iter(read_trusted_keys([file])))
            file.replace(folder / f"signing-key-{former}.pub.pem")
            _logger.warning("signing key changed", extra={"former_key_id": former, "key_id": key.key_id})
        _write(file, pem, mode=0o644)
    except OSError as error:
        raise LedgerUnavailableError(f"{file} cannot be written: {error.strerror}") from error


def _write(file: Path, content: bytes, mode: int = 0o600) -> None:
    # A draft first: half a key after a crash would keep the agent from starting.
    draft = file.with_suffix(".draft")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as written:
        written.write(content)
        written.flush()
        os.fsync(written.fileno())
    draft.replace(file)
