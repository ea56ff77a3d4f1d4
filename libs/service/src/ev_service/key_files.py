"""Keys and certificates as PEM files: read, and written so that no reader ever meets half a file.

A private key is readable by its owner alone.
"""

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ev_service.certificates import Pair

PRIVATE, PUBLIC = 0o600, 0o644
"""Modes of files."""


def read_certificate(path: Path) -> x509.Certificate | None:
    """The certificate in a file, None where there is none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def read_pair(folder: Path, name: str) -> Pair | None:
    """What `NAME.pem` and `NAME-key.pem` hold, None where one of them holds nothing that can be used."""
    certificate = read_certificate(folder / f"{name}.pem")
    try:
        key = load_pem_private_key((folder / f"{name}-key.pem").read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    is_known = isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return Pair(certificate, key) if certificate is not None and is_known else None


def write_pair(folder: Path, name: str, pair: Pair) -> list[Path]:
    """Write `NAME-key.pem` and `NAME.pem`; returns both."""
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return [
        write(folder / f"{name}-key.pem", key, PRIVATE),
        write(folder / f"{name}.pem", pem(pair.certificate), PUBLIC),
    ]


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def keep(path: Path, content: bytes, mode: int) -> list[Path]:
    """Write a file unless it holds this already; returns what was written."""
    return [] if path.exists() and path.read_bytes() == content else [write(path, content, mode)]


def write(path: Path, content: bytes, mode: int) -> Path:
    """Write a file whole or not at all, in a folder that is made where it is absent.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    # Again, because a umask may have taken from it what readers need.
    draft.chmod(mode)
    draft.replace(path)
    return path
