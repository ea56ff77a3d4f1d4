"""What a service makes of its device's messages, without a broker."""

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from ev_sensors.checks import Range, Rules
from ev_sensors.measurement import IgnoredMessage, Measurement, Reason, Refusal, build_quarantine_message
from ev_sensors.message_validator import MOST_BYTES, Device, MessageValidator
from ev_sensors.metrics import MqttMetrics
from ev_sensors.shapes import Shape
from ev_sensors.shapes.native import own_shape
from ev_service.telemetry import BatteryStatus

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
TELEMETRY, STATUS = "x/telemetry", "x/status"


def _reading(measured: Measurement, source: str) -> BatteryStatus:
    soc_percent = measured.values["soc_percent"]
    return BatteryStatus(
        site_id="x", timestamp=measured.timestamp, source=source, soc_percent=soc_percent, capacity_kwh=100.0
    )


def _fail_on_refusal(topic: str, payload: bytes, refusal: Refusal, is_retained: bool) -> None:
    raise AssertionError(f"{topic} {payload!r} {refusal} {is_retained}")


class Bench:
    """An inbox, and what came out of it."""

    def __init__(self, highest_percent: float = 100.0) -> None:
        self.counts = MqttMetrics()
        self.registry = CollectorRegistry()
        for metric in self.counts.collectors():
            self.registry.register(metric)
        self.refusals: list[tuple[bytes, Reason, bool]] = []
        device = Device("battery", Rules({"soc_percent": Range(0.0, highest_percent)}), _reading)
        self.inbox = MessageValidator(device, own_shape("battery", "x"), self.counts, self._refused)

    def _refused(self, topic: str, payload: bytes, refusal: Refusal, is_retained: bool) -> None:
        assert topic == TELEMETRY
        self.refusals.append((payload, refusal.reason, is_retained))

    def send(self, payload: bytes, topic: str = TELEMETRY, *, is_retained: bool = False, now: datetime = NOON) -> None:
        self.inbox.take(topic, payload, now, is_retained=is_retained)

    def counted(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("mqtt_messages_total", {"outcome": outcome})

    @property
    def soc_percent(self) -> float | None:
        return None if self.inbox.reading is None else self.inbox.reading.soc_percent


@pytest.fixture
def bench() -> Bench:
    return Bench()


def message(sequence: int, soc_percent: float = 83.0, *, at_s: float | None = None) -> bytes:
    moment = NOON + timedelta(seconds=sequence / 100 if at_s is None else at_s)
    told = {"timestamp": moment.isoformat(), "sequence": sequence, "soc_percent": soc_percent}
    return json.dumps(told).encode()


def test_the_newest_message_that_counts_is_the_reading(bench: Bench) -> None:
    bench.send(message(1, 83.0))
    bench.send(message(2, 84.0))

    assert (bench.soc_percent, bench.counted("accepted")) == (84.0, 2)
    assert bench.inbox.reading is not None
    assert bench.inbox.reading.source == "mqtt"


def test_a_refused_message_is_handed_out_counted_by_reason_and_changes_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.send(message(1))
    for sequence in (2, 3, 4):
        bench.send(message(sequence, 180.0))

    assert bench.soc_percent == 83.0
    assert bench.refusals[0] == (message(2, 180.0), Reason.RANGE, False)
    assert bench.registry.get_sample_value("mqtt_quarantined_total", {"reason": "range"}) == 3
    assert bench.inbox.refused_since == 3
    assert [record.message for record in caplog.records] == ["message quarantined"]  # once, however many come


def test_the_same_message_again_is_known_also_when_it_was_refused(bench: Bench) -> None:
    for payload in (message(1), message(2, 180.0)):
        for _ in range(3):
            bench.send(payload)

    assert (bench.counted("duplicate"), len(bench.refusals)) == (4, 1)


def test_an_old_message_that_comes_back_later_is_a_replay_and_no_duplicate(bench: Bench) -> None:
    for sequence in range(1, 50):
        bench.send(message(sequence))
    bench.send(message(1))

    assert bench.refusals == [(message(1), Reason.REPLAYED, False)]


def test_a_message_of_megabytes_is_not_even_read(bench: Bench) -> None:
    bench.send(b"[" * (MOST_BYTES + 1))

    assert [reason for _, reason, _ in bench.refusals] == [Reason.TOO_LARGE]


def test_an_old_retained_message_is_no_fault_and_an_old_live_one_is(bench: Bench) -> None:
    old = message(1, at_s=-7200)
    bench.send(old, is_retained=True)
    bench.send(message(2, at_s=-7200))

    assert (bench.counted("outdated"), bench.soc_percent) == (1, None)
    assert [reason for _, reason, _ in bench.refusals] == [Reason.TOO_OLD]


def test_offline_holds_until_the_device_speaks_and_not_until_the_broker_does(bench: Bench) -> None:
    bench.send(b'{"status": "offline", "timestamp": "2026-06-21T16:00:00Z"}', STATUS)
    bench.send(message(1), is_retained=True)
    assert bench.inbox.is_offline

    bench.send(message(2))
    assert not bench.inbox.is_offline


def test_a_status_that_is_no_status_changes_nothing(bench: Bench) -> None:
    bench.send(b'{"status": "offline", "timestamp": "2026-06-21T16:00:00Z"}', STATUS)
    bench.send(b"\xff", STATUS)

    assert bench.inbox.is_offline
    assert bench.refusals == []


def test_what_no_wire_model_takes_is_refused_even_where_no_rule_speaks_of_it() -> None:
    bench = Bench(highest_percent=1000.0)
    bench.send(message(1, 180.0))

    assert (bench.soc_percent, [reason for _, reason, _ in bench.refusals]) == (None, [Reason.RANGE])


def test_the_quarantine_tells_topic_reason_and_message_and_cuts_what_is_long() -> None:
    refusal = Refusal(Reason.SCHEMA, "message: not JSON")

    told = json.loads(build_quarantine_message("a/b", "é".encode() * 5000, refusal, NOON, is_retained=True))
    raw = json.loads(build_quarantine_message("a/b", b"\xff\x00", refusal, NOON, is_retained=False))

    assert told == {
        "quarantined_at": "2026-06-21T16:00:00Z",
        "topic": "a/b",
        "reason": "schema",
        "detail": "message: not JSON",
        "retained": True,
        "payload": "é" * 2048,
    }
    assert (b64decode(raw["payload_base64"]), "payload" in raw) == (b"\xff\x00", False)


def test_what_is_ignored_is_named_by_topic_and_reason_and_bounded_until_a_value_counts(bench: Bench) -> None:
    bench.send(message(1))
    assert bench.inbox.describe_ignored() is None
    for _ in range(2):
        bench.send(message(1))
    bench.send(message(2, at_s=-7200), is_retained=True)

    assert bench.inbox.describe_ignored() == (
        "3 messages, none with a state of charge: x/telemetry: the same message again (2), "
        "x/telemetry: kept by the broker, of no known or too great an age (1)"
    )
    bench.send(message(3))
    assert bench.inbox.describe_ignored() is None


def test_many_reasons_for_which_messages_are_ignored_are_counted_together() -> None:
    reasons = iter(f"no power in part {number}" for number in range(100))
    shape = Shape("x", None, lambda _, __: IgnoredMessage(next(reasons)), lambda _: None)
    device = Device("grid", Rules({}), _reading)
    inbox = MessageValidator(device, shape, MqttMetrics(), _fail_on_refusal)
    for number in range(100):
        inbox.take("x", str(number).encode(), NOON, is_retained=False)

    told = str(inbox.describe_ignored())
    assert told.startswith("100 messages, none with power: others (97), x: no power in part 0 (1), ")
    assert told.count("(") == 4


def test_what_the_broker_kept_does_not_count_where_messages_tell_no_time() -> None:
    measured = Measurement(NOON, {"soc_percent": 50.0})
    shape = Shape("x", None, lambda _, __: measured, lambda _: None, is_timed=False)
    inbox = MessageValidator(Device("battery", Rules({}), _reading), shape, MqttMetrics(), _fail_on_refusal)

    inbox.take("x", b"50", NOON, is_retained=True)
    assert inbox.reading is None
    inbox.take("x", b"50", NOON, is_retained=False)
    assert inbox.reading is not None
