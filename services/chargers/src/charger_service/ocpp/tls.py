"""The certificate of the TLS port: read again when its files change, and watched until it runs out."""

import logging
import ssl
from datetime import datetime
from pathlib import Path

from charger_service.settings import OcppSettings
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.key_files import read_certificates

RENEW_WITHIN_DAYS = 21.0
"""From here on the end of a certificate is in the log and in `/health`."""

STATIC_RSA_CIPHERS = ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
"""Suites without forward secrecy, which charging stations must offer and some offer alone.

Source: OCPP 2.0.1 edition 3, part 2, A00.FR.318: TLS_RSA_WITH_AES_128_GCM_SHA256 and TLS_RSA_WITH_AES_256_GCM_SHA384.
"""

_logger = logging.getLogger(__name__)


class ServerCertificate:
    """What chargers are shown.

    Args:
        settings: certificate, key, and which cipher suites are taken.

    Raises:
        ConfigurationError: certificate and key cannot be used.
    """

    def __init__(self, settings: OcppSettings) -> None:
        self._files = settings.tls_cert_file, settings.tls_key_file
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.tls_static_rsa:
            names = [cipher["name"] for cipher in self.context.get_ciphers()]
            self.context.set_ciphers(":".join([*names, *STATIC_RSA_CIPHERS]))
            _logger.warning("cipher suites without forward secrecy are taken: CHARGERS_TLS_STATIC_RSA is set")
        self._clock = SystemClock()
        self._obstacle: str | None = None
        self._signature = _sign(*self._files)
        try:
            self._ends_at = self._load()
        except (OSError, ValueError, IndexError) as error:
            raise ConfigurationError(f"CHARGERS_TLS_CERT_FILE and its key cannot be used: {error}") from error

    @property
    def days_left(self) -> float:
        """How long the certificate is valid still [days, real time]; below 0: it has run out."""
        return (self._ends_at - self._clock.now()).total_seconds() / 86_400

    def refresh(self) -> None:
        """Read certificate and key again where they changed; connections that are open keep what they began with."""
        signature = _sign(*self._files)
        if signature == self._signature:
            return
        try:
            self._ends_at = self._load()
        except (OSError, ValueError, IndexError) as error:
            # A file that is being written, or does not fit its key yet, is tried again with the next connection.
            reason = f"CHARGERS_TLS_CERT_FILE and its key cannot be used: {error}; those of before are shown"
            if reason != self._obstacle:
                _logger.warning("certificate not read again", extra={"reason": str(error)})
            self._obstacle = reason
            return
        self._signature, self._obstacle = signature, None
        _logger.info("certificate read again", extra={"days_left": round(self.days_left, 1)})

    def health_error(self) -> str | None:
        """What is wrong with it, in one sentence; None while nothing is."""
        self.refresh()
        if self._obstacle is not None:
            return self._obstacle
        if self.days_left <= 0:
            return f"CHARGERS_TLS_CERT_FILE ran out {-self.days_left:.0f} days ago: chargers may refuse it; replace it"
        return None

    def warning(self) -> str | None:
        """That it ends soon, in one sentence; None while it does not."""
        days_left = self.days_left
        return f"CHARGERS_TLS_CERT_FILE runs out in {days_left:.0f} days" if days_left < RENEW_WITHIN_DAYS else None

    def _load(self) -> datetime:
        certificate, key = self._files
        assert certificate is not None
        # Tried apart first: a context that was given a certificate without its key shows neither.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        ends_at = read_certificates(certificate)[0].not_valid_after_utc
        self.context.load_cert_chain(certificate, key)
        return ends_at


def _sign(*files: Path | None) -> tuple[tuple[int, ...] | None, ...]:
    return tuple(None if file is None else _state_of(file) for file in files)


def _state_of(file: Path) -> tuple[int, ...] | None:
    try:
        seen = file.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
