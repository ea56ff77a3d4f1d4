"""The keys of the simulated devices' counterparts: who the broker and the charger service are, as devices check it.

Made up on the spot and worth nothing outside of the simulation; a real site brings its own.
"""

from datetime import datetime
from pathlib import Path

from ev_service.certificates import Server, is_issued_by, is_usable, make_servers
from ev_service.errors import ConfigurationError
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, pem, read_certificates, read_pair, write_pair

SERVERS = (Server("broker", ("broker", "localhost")), Server("chargers", ("chargers", "localhost")))
"""Whom devices connect to, by the names that they use."""

AUTHORITY = "ca.pem"


def init_keys(folder: Path, now: datetime) -> tuple[Path, ...]:
    """Make an authority with a certificate for each server, unless valid ones are there.

    Args:
        folder: made where it is absent.
        now: real time, because certificates are judged by it.

    Returns:
        Files that were written.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    if _are_valid(folder, now):
        return ()
    authority, pairs = make_servers("EV charging simulated field CA", SERVERS, now)
    try:
        written = [
            path
            for server, pair in zip(SERVERS, pairs, strict=True)
            for path in write_pair(folder, server.common_name, pair)
        ]
        return (*written, replace_file(folder / AUTHORITY, pem(authority), PUBLIC))
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from error


def _are_valid(folder: Path, now: datetime) -> bool:
    authorities = read_certificates(folder / AUTHORITY)
    pairs = [read_pair(folder, server.common_name) for server in SERVERS]
    return all(
        pair is not None
        and is_usable(pair, now)
        and any(is_issued_by(pair.certificate, authority) for authority in authorities)
        for pair in pairs
    )
