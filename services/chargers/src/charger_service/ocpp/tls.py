"""The certificate of the TLS port: read again when its files change, and reported before it expires."""

import logging
import ssl
from datetime import datetime

from charger_service.settings import OcppSettings
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.files import WatchedFile
from ev_service.key_files import read_certificates

RENEW_WITHIN_DAYS = 21.0
"""From here on the end of a certificate is in the log and in `/health`."""

STATIC_RSA_CIPHERS = ("AES128-GCM-SHA256", "AES256-GCM-SHA384")
"""Suites without forward secrecy, which charging stations must offer and some offer alone.

Source: OCPP 2.0.1 edition 3, part 2, A00.FR.318: TLS_RSA_WITH_AES_128_GCM_SHA256 and TLS_RSA_WITH_AES_256_GCM_SHA384.
"""

_logger = logging.getLogger(__name__)


class ServerCertificate:
    """The certificate that chargers receive in the TLS handshake.

    Args:
        settings: Certificate, key, and the cipher suites that are accepted.

    Raises:
        ConfigurationError: Certificate and key cannot be used.
    """

    def __init__(self, settings: OcppSettings) -> None:
        assert settings.tls_cert_file is not None
        self._certificate_file, self._key_file = settings.tls_cert_file, settings.tls_key_file
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.tls_static_rsa:
            names = [cipher["name"] for cipher in self.context.get_ciphers()]
            self.context.set_ciphers(":".join([*names, *STATIC_RSA_CIPHERS]))
            _logger.warning("cipher suites without forward secrecy are accepted: CHARGERS_TLS_STATIC_RSA is set")
        self._clock = SystemClock()
        try:
            self._ends_at = WatchedFile(
                self._certificate_file,
                self._load,
                "CHARGERS_TLS_CERT_FILE",
                companions=() if self._key_file is None else (self._key_file,),
            )
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"CHARGERS_TLS_CERT_FILE and its key cannot be used: {error}") from error

    @property
    def days_left(self) -> float:
        """Time until the certificate expires [days, real time]; negative once it has."""
        return (self._ends_at.read() - self._clock.now()).total_seconds() / 86_400

    def refresh(self) -> None:
        """Load certificate and key again if they changed; open connections are not affected."""
        self._ends_at.read()

    def health_error(self) -> str | None:
        """Return what is wrong with the certificate, in one sentence; None if nothing is."""
        error = self._ends_at.read_error()
        if error is not None:
            return error
        if self.days_left <= 0:
            return f"CHARGERS_TLS_CERT_FILE expired {-self.days_left:.0f} days ago: chargers may refuse it; replace it"
        return None

    def warning(self) -> str | None:
        """Return that the certificate expires soon, in one sentence; None if it does not."""
        days_left = self.days_left
        return f"CHARGERS_TLS_CERT_FILE expires in {days_left:.0f} days" if days_left < RENEW_WITHIN_DAYS else None

    def _load(self, _content: bytes) -> datetime:
        """Load certificate and key into the context; return when the certificate expires."""
        certificates = read_certificates(self._certificate_file)
        if not certificates:
            raise ValueError("it contains no certificate")
        # Tried with another context first: one that has loaded a certificate without its key is unusable.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate_file, self._key_file)
        self.context.load_cert_chain(self._certificate_file, self._key_file)
        return certificates[0].not_valid_after_utc
