"""Prometheus counters of a service's MQTT messages and Modbus answers."""

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client import Counter, Gauge
from prometheus_client.registry import Collector


class MessageOutcome(StrEnum):
    """What became of one message.

    duplicate: delivered again, as QoS 1 may. outdated: retained, and older than a reading may be.
    shed: a newer one came before it was judged. ignored: about something else.
    """

    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"
    DUPLICATE = "duplicate"
    OUTDATED = "outdated"
    SHED = "shed"
    IGNORED = "ignored"


class MqttMetrics:
    """Counters of one source; the service registers them."""

    def __init__(self) -> None:
        self._messages = Counter("mqtt_messages", "Messages of the device", ["outcome"], registry=None)
        self._quarantined = Counter("mqtt_quarantined", "Messages refused, by reason", ["reason"], registry=None)
        self.unsent = Counter("mqtt_quarantine_unsent", "Refusals that the broker was not told", registry=None)
        self.failures = Counter("mqtt_connection_failures", "Connections refused, failed or lost", registry=None)
        self.connected = Gauge("mqtt_connected", "1 while the broker is connected", registry=None)
        # Created at once, so that an outcome that never occurred is exported as 0.
        self._of = {outcome: self._messages.labels(outcome) for outcome in MessageOutcome}

    def collectors(self) -> Iterable[Collector]:
        """All of them."""
        return (self._messages, self._quarantined, self.unsent, self.failures, self.connected)

    def message(self, outcome: MessageOutcome) -> None:
        """Count one message."""
        self._of[outcome].inc()

    def count_refusal(self, reason: str) -> None:
        """Count one refusal, in addition to its message."""
        self._quarantined.labels(reason).inc()


class AnswerOutcome(StrEnum):
    """What became of one answer.

    standing: the device's heartbeat did not move since the answer before.
    """

    ACCEPTED = "accepted"
    REFUSED = "refused"
    STANDING = "standing"


class ModbusMetrics:
    """Counters of one device, or of several together; the service registers them."""

    def __init__(self) -> None:
        self._answers = Counter("modbus_answers", "Answers of the device", ["outcome"], registry=None)
        self._refused = Counter("modbus_refused", "Answers refused, by reason", ["reason"], registry=None)
        self.failures = Counter("modbus_connection_failures", "Connections refused, failed or lost", registry=None)
        self.repeats = Counter("modbus_repeats", "Questions asked again within their round", registry=None)
        self.connected = Gauge("modbus_connected", "Devices that answer: of one device, 1 while it does", registry=None)
        # Created at once, so that an outcome that never occurred is exported as 0.
        self._of = {outcome: self._answers.labels(outcome) for outcome in AnswerOutcome}

    def collectors(self) -> Iterable[Collector]:
        """All of them."""
        return (self._answers, self._refused, self.failures, self.repeats, self.connected)

    def answer(self, outcome: AnswerOutcome) -> None:
        """Count one answer."""
        self._of[outcome].inc()

    def count_refusal(self, reason: str) -> None:
        """Count one refusal, in addition to its answer."""
        self._refused.labels(reason).inc()
