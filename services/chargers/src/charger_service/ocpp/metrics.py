"""What the OCPP half counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from charger_service.ocpp.tls import ServerCertificate


class OcppMetrics:
    """Connections, messages and answers.

    Args:
        registry: where they are shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge("ocpp_connected_chargers", "Chargers connected now", ["ocpp_version"], registry=registry)
        self.refused = Counter(
            "ocpp_refused_handshakes", "Connections refused at the handshake", ["reason"], registry=registry
        )
        self.replaced = Counter(
            "ocpp_replaced_connections", "Connections that a newer one of the same charger ended", registry=registry
        )
        self.malformed = Counter("ocpp_malformed_messages", "Messages that are not OCPP", registry=registry)
        self.refused_messages = Counter(
            "ocpp_refused_messages", "Messages answered with an error", ["ocpp_version", "code"], registry=registry
        )
        self.offences = Counter(
            "ocpp_offences",
            "Faults of chargers' messages against the schema, and whether the message was repaired or refused",
            ["ocpp_version", "outcome"],
            registry=registry,
        )
        self.messages = Counter("ocpp_messages", "Messages of chargers answered", ["ocpp_version"], registry=registry)
        self.asked = Counter(
            "ocpp_asked", "What chargers were asked, and what came of it", ["action", "answer"], registry=registry
        )
        self._registry = registry
        self.certificate: ServerCertificate | None = None

    def show_certificate(self, certificate: ServerCertificate | None) -> None:
        """Show how long the certificate of the TLS port is valid still; None: there is no such port."""
        self.certificate = certificate
        if certificate is not None:
            days = Gauge("ocpp_certificate_days", "Days until the certificate ends", registry=self._registry)
            days.set_function(lambda: certificate.days_left)
