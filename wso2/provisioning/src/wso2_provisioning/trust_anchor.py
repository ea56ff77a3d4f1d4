"""Stores the certificate by which a server is trusted, once a person has confirmed it (`--save-ca`).

For a WSO2 on a host whose certificate is not available as a file. Nothing is sent to the server before the
confirmation, and verification is never disabled for later connections.
"""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ev_service.errors import ConfigurationError
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, read_certificates
from wso2_provisioning.errors import NotReadyError

_CONNECT_S, _PAUSE_S = 10.0, 2.0


@dataclass(frozen=True, slots=True)
class ServerCertificates:
    """Certificates of a server."""

    server: x509.Certificate
    """Its own certificate."""
    anchor: x509.Certificate
    """Last certificate of the chain that it sends; becomes the trust anchor."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the server's certificate, in the format of `keytool -list -v` and openssl."""
        return self.server.fingerprint(SHA256()).hex(":").upper()

    def describe(self) -> list[str]:
        """Return a description for a person to compare."""
        lines = [
            f"certificate of {self.server.subject.rfc4514_string()}",
            f"issued by      {self.server.issuer.rfc4514_string()}",
            f"for            {', '.join(_list_names(self.server)) or 'no name'}",
            f"valid          {self.server.not_valid_before_utc:%Y-%m-%d} to {self.server.not_valid_after_utc:%Y-%m-%d}",
            f"SHA-256        {self.fingerprint}",
        ]
        if self.anchor != self.server:
            lines.append(f"to be stored   {self.anchor.subject.rfc4514_string()}, which the server sends as well")
        return lines


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How a person confirms the certificate."""

    fingerprint: str | None
    """Expected fingerprint, None to ask."""
    ask: Callable[[str], str] | None
    """Asks a question on the terminal; None without a terminal."""


def save_ca(url: str, file: Path, confirmation: Confirmation, wait_s: float, report: Callable[[str], None]) -> None:
    """Store the trust anchor of a server as PEM, unless the file contains it already.

    Args:
        url: of the server.
        file: target.
        confirmation: of a person.
        wait_s: maximum time to wait for a server that does not answer yet [s].
        report: called with the description of the certificates.

    Raises:
        NotReadyError: the server does not answer.
        ConfigurationError: it is not confirmed, does not verify the server, or cannot be stored.
    """
    target = httpx.URL(url)
    if target.scheme != "https":
        raise ConfigurationError(f"{url} has no certificate: --save-ca is for https:// addresses")
    port = target.port or 443
    offered = _fetch_certificates(target.host, port, wait_s, report)
    pem = offered.anchor.public_bytes(Encoding.PEM)
    if _is_trusted(pem, target.host, port) and read_certificates(file) == [offered.anchor]:
        report(f"{file} holds what {url} is trusted by already")
        return
    for line in (f"{target.host}:{port} offers", *offered.describe()):
        report(line)
    # Before the question: a certificate that does not verify the server is useless.
    _verify_trust(pem, target.host, port)
    _require_confirmation(offered, file, confirmation)
    _store(file, pem)
    report(f"stored as {file}; WSO2_CA_FILE={file} trusts it from now on")


def _fetch_certificates(host: str, port: int, wait_s: float, report: Callable[[str], None]) -> ServerCertificates:
    ends_s = time.monotonic() + wait_s
    while True:
        try:
            chain = _fetch_chain(host, port)
        except OSError as error:
            if time.monotonic() >= ends_s:
                raise NotReadyError(
                    f"{host}:{port} cannot be reached ({type(error).__name__}): is it up, and is the address right?",
                    is_final=True,
                ) from error
            report(f"waiting for {host}:{port} ({type(error).__name__})")
            time.sleep(_PAUSE_S)
        else:
            return ServerCertificates(chain[0], chain[-1])


def _fetch_chain(host: str, port: int) -> list[x509.Certificate]:
    """Return the certificates that a server sends, its own first; no application data is sent."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=_CONNECT_S) as connection,
        context.wrap_socket(connection, server_hostname=host) as secured,
    ):
        own = secured.getpeercert(binary_form=True)
        assert own is not None
        sent = [x509.load_der_x509_certificate(der) for der in _read_unverified_chain(secured)]
    return sent or [x509.load_der_x509_certificate(own)]


def _read_unverified_chain(secured: ssl.SSLSocket) -> list[bytes]:
    if hasattr(secured, "get_unverified_chain"):
        return list(getattr(secured, "get_unverified_chain")())  # noqa: B009 - known to the checker from 3.13 on
    # Before Python 3.13 the method exists one object deeper, and returns objects.
    inner: Any = getattr(secured, "_sslobj", None)
    if not hasattr(inner, "get_unverified_chain"):
        return []
    return [ssl.PEM_cert_to_DER_cert(found.public_bytes()) for found in inner.get_unverified_chain() or ()]


def _require_confirmation(offered: ServerCertificates, file: Path, confirmation: Confirmation) -> None:
    if confirmation.fingerprint is not None:
        if _normalize_fingerprint(confirmation.fingerprint) != _normalize_fingerprint(offered.fingerprint):
            raise ConfigurationError(
                f"the server's fingerprint is {offered.fingerprint} and not the one given: nothing is stored"
            )
        return
    if confirmation.ask is None:
        raise ConfigurationError(
            "nothing is stored without confirmation, and there is no terminal to ask on: compare the fingerprint with "
            "the server's own and give it with --yes-fingerprint"
        )
    if confirmation.ask(f"Is that its fingerprint, and shall it be stored as {file}? [y/N] ").strip().lower() != "y":
        raise ConfigurationError("not confirmed: nothing is stored")


def _is_trusted(pem: bytes, host: str, port: int) -> bool:
    try:
        _verify_trust(pem, host, port)
    except ConfigurationError:
        return False
    return True


def _verify_trust(pem: bytes, host: str, port: int) -> None:
    """Connect with verification, as bootstrap and agent do, and close the connection."""
    context = ssl.create_default_context(cadata=pem.decode())
    try:
        with (
            socket.create_connection((host, port), timeout=_CONNECT_S) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            pass
    except ssl.SSLCertVerificationError as error:
        raise ConfigurationError(
            f"the certificate would not be trusted for {host} ({error.verify_message}): use a name that it contains, "
            "or get the PEM of its authority from whoever runs the server; nothing is stored"
        ) from error
    except OSError as error:
        raise NotReadyError(f"{host}:{port} went away ({type(error).__name__})", is_final=True) from error


def _store(file: Path, pem: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, pem, PUBLIC)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error


def _list_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _normalize_fingerprint(fingerprint: str) -> str:
    return fingerprint.replace(":", "").replace(" ", "").lower()
