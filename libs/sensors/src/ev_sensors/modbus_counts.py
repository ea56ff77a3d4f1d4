"""What a service counts of the answers of its Modbus device, for Prometheus."""

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client import Counter, Gauge
from prometheus_client.registry import Collector


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
        # Made now, so that what never happened shows as 0.
        self._of = {outcome: self._answers.labels(outcome) for outcome in AnswerOutcome}

    def collectors(self) -> Iterable[Collector]:
        """All of them."""
        return (self._answers, self._refused, self.failures, self.repeats, self.connected)

    def answer(self, outcome: AnswerOutcome) -> None:
        """Count one answer."""
        self._of[outcome].inc()

    def count_refusal(self, reason: str) -> None:
        """Count one refusal beside the answer."""
        self._refused.labels(reason).inc()
