"""What the OCPP half counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge


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
        self.messages = Counter("ocpp_messages", "Messages of chargers answered", ["ocpp_version"], registry=registry)
        self.asked = Counter(
            "ocpp_asked", "What chargers were asked, and what came of it", ["action", "answer"], registry=registry
        )
