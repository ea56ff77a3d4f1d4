"""Whom a TLS client of ours believes: the system's authorities, and one file beside them. Verification is never off."""

import ssl
from pathlib import Path

from ev_service.errors import ConfigurationError


def trusting(ca_file: Path | None, name: str) -> ssl.SSLContext:
    """A client's context that verifies certificate and host name.

    Args:
        ca_file: PEM to trust beside the system's.
        name: the variable that names the file, for the error.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    trusted = ssl.create_default_context()
    if ca_file is not None:
        try:
            trusted.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{name} {ca_file} can not be used: {error}") from error
    return trusted
