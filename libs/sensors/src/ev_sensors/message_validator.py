"""Validates the messages of one device in order and keeps the newest reading, or the reason why there is none."""

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import ValidationError

from ev_sensors.checks import Past, Rules, is_outdated, validate
from ev_sensors.measurement import IgnoredMessage, Measurement, Reason, Refusal
from ev_sensors.metrics import MessageOutcome, MqttMetrics
from ev_sensors.shapes import Role, Shape
from ev_service.telemetry import Reading

R = TypeVar("R", bound=Reading)

MOST_BYTES = 16_384
"""Longest message that is looked at [byte]; a whole Tasmota or SunSpec message has about 2,000."""

_MOST_REASONS = 4
"""Number of different reasons for ignored messages that are listed; the others are counted together."""

_REMEMBERED = 32
"""Messages by which a repetition is known: more than a broker has in flight for one client."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device(Generic[R]):
    """One kind of device, whatever it speaks."""

    role: Role
    rules: Rules
    """What is plausible for it."""

    reading: Callable[[Measurement, str], R]
    """A measurement as the service answers it; the second argument is the word for `source`."""

    combine: Callable[[Sequence[R]], R] | None = None
    """Several such devices as one; raises SourceUnavailableError where they cannot be."""

    capacity: float | None = None
    """As it is set for the whole, in the unit of the role."""

    part: "Callable[[float], Device[R]] | None" = None
    """A device with a share of it. Both None where devices of the role have no capacity."""


class MessageValidator(Generic[R]):
    """Validates the messages of one device and keeps the newest reading."""

    def __init__(
        self,
        device: Device[R],
        shape: Shape,
        counts: MqttMetrics,
        on_refused: Callable[[str, bytes, Refusal, bool], None],
    ) -> None:
        """Begin with nothing known.

        Args:
            device: what kind of device it is.
            shape: how it speaks.
            counts: what is counted.
            on_refused: called for each refusal with topic, payload, reason, and whether the message was retained.
        """
        self._device, self._shape, self._counts, self._on_refused = device, shape, counts, on_refused
        self._past = Past()
        self._lately: deque[tuple[str, bytes]] = deque(maxlen=_REMEMBERED)
        self._ignored = Counter[str]()
        self.reading: R | None = None
        self.is_offline = False
        self.refused_since: int = 0
        self.last_refusal: Refusal | None = None

    def take(self, topic: str, payload: bytes, now: datetime, *, is_retained: bool) -> None:
        """Take one message.

        Args:
            topic: where it came.
            payload: what it is.
            now: the run's time, aware UTC.
            is_retained: whether the broker delivers it as a retained message.
        """
        if topic == self._shape.status:
            status = self._shape.parse_status(payload)
            if status is None:
                _logger.warning("status of the device is not understood")
            else:
                self.is_offline = status == "offline"
            return
        if self._shape.is_timed and (topic, payload) in self._lately:
            self._ignore(topic, MessageOutcome.DUPLICATE, "the same message again")
            return
        judged = self._judge(topic, payload, now, is_retained=is_retained)
        if isinstance(judged, Refusal):
            self._refuse(topic, payload, judged, is_retained=is_retained)
        elif isinstance(judged, IgnoredMessage):
            self._ignore(topic, MessageOutcome.IGNORED, judged.why)
        elif judged is MessageOutcome.OUTDATED:
            self._ignore(topic, judged, "kept by the broker, of no known or too great an age")
        else:
            self._counts.message(judged)
        if len(payload) <= MOST_BYTES:
            self._lately.append((topic, payload))

    def describe_ignored(self) -> str | None:
        """What was ignored since the newest value, by topic and reason; None where nothing was."""
        if not self._ignored:
            return None
        reasons = [f"{reason} ({count})" for reason, count in self._ignored.most_common(_MOST_REASONS)]
        count, value = self._ignored.total(), "a state of charge" if self._device.role == "battery" else "power"
        return f"{count} message{'' if count == 1 else 's'}, none with {value}: {', '.join(reasons)}"

    def _ignore(self, topic: str, outcome: MessageOutcome, why: str) -> None:
        self._counts.message(outcome)
        reason = f"{topic}: {why}"
        if reason not in self._ignored and len(self._ignored) >= _MOST_REASONS - 1:
            reason = "others"
        self._ignored[reason] += 1

    def _judge(
        self, topic: str, payload: bytes, now: datetime, *, is_retained: bool
    ) -> MessageOutcome | Refusal | IgnoredMessage:
        if len(payload) > MOST_BYTES:
            return Refusal(Reason.TOO_LARGE, f"{len(payload)} bytes, {MOST_BYTES} at most")
        if is_retained and not self._shape.is_timed:
            return MessageOutcome.OUTDATED
        measurement = self._shape.read(topic, payload, now)
        if isinstance(measurement, Refusal | IgnoredMessage):
            return measurement
        if is_retained and is_outdated(measurement, now):
            # Not a fault of the device: the broker delivers a message that was published long ago.
            return MessageOutcome.OUTDATED
        past, refusal = validate(measurement, self._past, now, self._device.rules)
        self._past = past
        return refusal or self._accept(measurement, is_retained=is_retained)

    def _accept(self, measurement: Measurement, *, is_retained: bool) -> MessageOutcome | Refusal:
        try:
            self.reading = self._device.reading(measurement, "mqtt")
        except ValidationError as error:
            return Refusal(Reason.RANGE, error.errors(include_url=False, include_input=False)[0]["msg"])
        self.refused_since, self.last_refusal = 0, None
        self._ignored.clear()
        # A live message proves that the device is online and clears the offline flag; a retained one does not.
        self.is_offline = self.is_offline and is_retained
        return MessageOutcome.ACCEPTED

    def _refuse(self, topic: str, payload: bytes, refusal: Refusal, *, is_retained: bool) -> None:
        self._counts.message(MessageOutcome.QUARANTINED)
        self._counts.count_refusal(refusal.reason)
        if self.refused_since == 0:
            _logger.warning("message quarantined", extra={"reason": refusal.reason, "detail": refusal.detail})
        self.refused_since += 1
        self.last_refusal = refusal
        self._on_refused(topic, payload, refusal, is_retained)
