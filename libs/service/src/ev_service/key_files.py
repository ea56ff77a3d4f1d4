"""Keys and certificates as PEM files: created, kept while they are valid, and replaced atomically.

A private key is readable by its owner only.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ev_service.certificates import (
    RENEWED_BEFORE_END,
    Pair,
    PrivateKey,
    Server,
    ec_key,
    is_issued_by,
    is_usable,
    make_servers,
    make_signing,
)
from ev_service.files import replace_file

PRIVATE, PUBLIC = 0o600, 0o644
"""Modes of files."""

AUTHORITY_FILE = "ca.pem"
"""Certificates of the authorities to trust, the one in use first."""


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a file in their order; none if the file is missing or unusable.

    During a key rotation a file holds two: the one in use, and its successor or predecessor.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []


def read_pair(folder: Path, name: str) -> Pair | None:
    """Return the key in `NAME-key.pem` and the certificate in `NAME.pem` that belongs to it.

    Returns:
        None if one of the files is missing or unusable, or no certificate belongs to the key.
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


def ensure_servers(
    folder: Path,
    authority_name: str,
    servers: Mapping[str, Server],
    now: datetime,
    *,
    new_key: Callable[[], PrivateKey] = ec_key,
    renewed_before_end: timedelta = RENEWED_BEFORE_END,
) -> tuple[x509.Certificate, tuple[Pair, ...], list[Path]]:
    """Keep the server certificates if one authority in `ca.pem` signed all of them; otherwise replace all of them.

    The authority's private key is not stored, therefore new server certificates need a new authority. Authorities that
    are still valid stay in `ca.pem`, so that clients accept both until the servers have restarted.

    Args:
        folder: Created if absent.
        authority_name: Common name of a new authority.
        servers: The servers by the stem of their files.
        now: Real time, because certificates are valid in real time.
        new_key: Creates each new key.
        renewed_before_end: A certificate that expires sooner is replaced.

    Returns:
        The authority, one pair per server in the order of `servers`, and the files that were written.

    Raises:
        OSError: A file cannot be written.
    """
    authorities = read_certificates(folder / AUTHORITY_FILE)
    pairs = [pair for stem in servers if (pair := read_pair(folder, stem)) and is_usable(pair, now, renewed_before_end)]
    if len(pairs) == len(servers):
        for authority in authorities:
            if all(is_issued_by(pair.certificate, authority) for pair in pairs):
                return authority, tuple(pairs), []
    authority, created = make_servers(authority_name, tuple(servers.values()), now, new_key)
    written = [path for stem, pair in zip(servers, created, strict=True) for path in write_pair(folder, stem, pair)]
    trusted = pem(authority, *still_valid(authorities, now))
    return authority, created, [*written, replace_file(folder / AUTHORITY_FILE, trusted, PUBLIC)]


def ensure_signing(
    folder: Path, stem: str, common_name: str, now: datetime, *, renewed_before_end: timedelta = RENEWED_BEFORE_END
) -> tuple[Pair, list[Path]]:
    """Keep the signing key if it is valid; otherwise replace it.

    Former certificates that are still valid stay in the file, so that readers accept both until the signer restarts.

    Args:
        folder: Created if absent.
        stem: Stem of the two files.
        common_name: Name in a new certificate.
        now: Real time, because certificates are valid in real time.
        renewed_before_end: A certificate that expires sooner is replaced.

    Returns:
        The pair, and the files that were written.

    Raises:
        OSError: A file cannot be written.
    """
    pair = read_pair(folder, stem)
    if pair is not None and is_usable(pair, now, renewed_before_end):
        return pair, []
    former = still_valid(read_certificates(folder / f"{stem}.pem"), now)
    pair = make_signing(common_name, now)
    return pair, write_pair(folder, stem, pair, former)


def write_pair(folder: Path, name: str, pair: Pair, former: Iterable[x509.Certificate] = ()) -> list[Path]:
    """Write `NAME-key.pem` and `NAME.pem`; return both paths.

    Args:
        folder: Created if absent.
        name: Stem of the files.
        pair: The key and its certificate.
        former: Further certificates that readers of `NAME.pem` accept.
    """
    key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return [
        replace_file(folder / f"{name}-key.pem", key, PRIVATE),
        replace_file(folder / f"{name}.pem", pem(pair.certificate, *former), PUBLIC),
    ]


def still_valid(certificates: Iterable[x509.Certificate], now: datetime) -> list[x509.Certificate]:
    """Return the certificates that have not expired."""
    return [certificate for certificate in certificates if now < certificate.not_valid_after_utc]


def pem(*certificates: x509.Certificate) -> bytes:
    """Encode certificates as PEM, in this order."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def keep(path: Path, content: bytes, mode: int) -> list[Path]:
    """Write a file unless it has this content already; return the files written."""
    return [] if path.exists() and path.read_bytes() == content else [replace_file(path, content, mode)]
