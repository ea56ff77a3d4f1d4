"""Keys of the servers that simulated devices connect to: the broker and the charger service.

They are valid in the simulation only; a real site brings its own.
"""

from datetime import datetime
from pathlib import Path

from ev_service.certificates import Server
from ev_service.errors import ConfigurationError
from ev_service.key_files import ensure_servers

SERVERS = {name: Server(name, (name, "localhost")) for name in ("broker", "chargers")}
"""Servers by the stem of their files, with the names that devices use."""


def init_keys(folder: Path, now: datetime) -> tuple[Path, ...]:
    """Create an authority with a certificate for each server, unless valid ones exist.

    Args:
        folder: Created if absent.
        now: Real time, because certificates are valid in real time.

    Returns:
        Files that were written.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    try:
        _, _, written = ensure_servers(folder, "EV charging simulated field CA", SERVERS, now)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be written: {error.strerror}") from error
    return tuple(written)
