"""Trusted authorities of a TLS client: the system's, and those of one file. Verification is never off."""

import re
import ssl
from pathlib import Path

from ev_service.errors import ConfigurationError
from ev_service.files import WatchedFile

_BEGIN, _END = (re.compile(rb"-----" + word + rb" [^-\n]+-----") for word in (b"BEGIN", b"END"))


class Authorities:
    """Whom a client trusts as long as it lives: the file is read again when it changes.

    A context trusts what it once was given for ever, so each change makes a new one; connections keep the one with
    which they were opened.
    """

    def __init__(self, ca_file: Path | None, name: str) -> None:
        """Read the file for the first time.

        Args:
            ca_file: PEM of one or more certificates to trust in addition to the system's.
            name: the variable that names the file, for messages.

        Raises:
            ConfigurationError: the file cannot be used.
        """
        try:
            self._file = None if ca_file is None else WatchedFile(ca_file, _context_with, name)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{name} {ca_file} cannot be used: {error}") from error
        self._system = ssl.create_default_context() if self._file is None else None

    def context(self) -> ssl.SSLContext:
        """A context that trusts what the file holds now; the same object until the file changes."""
        if self._file is not None:
            return self._file.read()
        assert self._system is not None
        return self._system

    def read_error(self) -> str | None:
        """Why the file cannot be used now, in one sentence; None while it can, or where there is none."""
        return None if self._file is None else self._file.read_error()


def _context_with(authorities: bytes) -> ssl.SSLContext:
    # OpenSSL takes the whole certificates of a file whose last one is cut off.
    if len(_BEGIN.findall(authorities)) != len(_END.findall(authorities)):
        raise ValueError("a certificate in it is cut off")
    context = ssl.create_default_context()
    # Comments between certificates may be in any language; the certificates themselves are ASCII.
    context.load_verify_locations(cadata=authorities.decode("ascii", errors="ignore"))
    return context
