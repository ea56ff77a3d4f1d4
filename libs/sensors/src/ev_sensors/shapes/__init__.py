"""How devices write their messages: our own form, three that are met in the field, and any other by settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ev_sensors.measurement import IgnoredMessage, Measurement, Refusal

Role = Literal["solar", "battery", "grid"]
"""What a device measures."""

Parse = Callable[[bytes, datetime], Measurement | Refusal | IgnoredMessage]
"""A message and the run's time; `IgnoredMessage` where the message gives no value by itself, with why."""

Status = Literal["online", "offline"]


@dataclass(frozen=True, slots=True)
class Shape:
    """Topics and message format of one device."""

    telemetry: str
    """Topic of its measurements."""

    status: str | None
    """Topic of its birth and last will; None where it has none."""

    parse: Parse
    """Reads a message of the former, says: one of the latter, None where it is neither."""

    says: Callable[[bytes], Status | None]
    mixed: int = 1
    """How many kinds of message may share the first topic; under a flood so many are kept, not one."""

    more: Mapping[str, Parse] = field(default_factory=dict[str, Parse])
    """Further topics of its measurements, and what reads each."""

    is_timed: bool = True
    """Whether its messages say when they were measured; else they count as measured when they arrive, and what the
    broker kept, which may be of any age, does not count."""

    @property
    def measurements(self) -> tuple[str, ...]:
        """All topics of its measurements."""
        return (self.telemetry, *self.more)

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics that are listened to."""
        return (*self.measurements, *(() if self.status is None else (self.status,)))

    def read(self, topic: str, payload: bytes, now: datetime) -> Measurement | Refusal | IgnoredMessage:
        """Read a message of one of the topics of measurements."""
        return (self.parse if topic == self.telemetry else self.more[topic])(payload, now)
