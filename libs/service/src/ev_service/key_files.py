"""Keys and certificates as PEM files: read, and written so that no reader ever meets half a file.

A private key is readable by its owner alone.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ev_service.certificates import Pair
from ev_service.files import replace_file

PRIVATE, PUBLIC = 0o600, 0o644
"""Modes of files."""


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates in a file, in their order; none where it holds nothing that can be used.

    While keys change a file holds two: the one in use, and the one that comes next or was in use before.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []


def read_pair(folder: Path, name: str) -> Pair | None:
    """The key in `NAME-key.pem` and the certificate in `NAME.pem` that belongs to it.

    Returns:
        None where one of the files holds nothing that can be used, or no certificate is the key's.
    """
    try:
        key = load_pem_private_key((folder / f"{name}-key.pem").read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return None
    own = key.public_key()
    certificates = read_certificates(folder / f"{name}.pem")
    return next((Pair(certificate, key) for certificate in certificates if certificate.public_key() == own), None)


def write_pair(folder: Path, name: str, pair: Pair, former: Iterable[x509.Certificate] = ()) -> list[Path]:
    """Write `NAME-key.pem` and `NAME.pem`; returns both.

    Args:
        folder: where they stand.
        name: beginning of their names.
        pair: the key and its certificate.
        former: further certificates that readers of `NAME.pem` are to accept.
    """
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return [
        replace_file(folder / f"{name}-key.pem", key, PRIVATE),
        replace_file(folder / f"{name}.pem", pem(pair.certificate, *former), PUBLIC),
    ]


def still_valid(certificates: Iterable[x509.Certificate], now: datetime) -> list[x509.Certificate]:
    """Those that have not ended: a new certificate is written before them, so that readers accept both for a time."""
    return [certificate for certificate in certificates if now < certificate.not_valid_after_utc]


def pem(*certificates: x509.Certificate) -> bytes:
    """Certificates as PEM, in this order."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def keep(path: Path, content: bytes, mode: int) -> list[Path]:
    """Write a file unless it holds this already; returns what was written."""
    return [] if path.exists() and path.read_bytes() == content else [replace_file(path, content, mode)]
