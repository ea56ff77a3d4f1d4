"""Message formats of devices: our own, three of the field, and any other one by settings."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ev_sensors.measurement import IgnoredMessage, Measurement, Refusal

Role = Literal["solar", "battery", "grid"]
"""What a device measures."""

Parse = Callable[[bytes, datetime], Measurement | Refusal | IgnoredMessage]
"""Parses a message, given the run's time."""

Status = Literal["online", "offline"]


@dataclass(frozen=True, slots=True)
class Shape:
    """Topics and message format of one device."""

    telemetry: str
    """Topic of its measurements."""

    status: str | None
    """Topic of its birth message and last will; None if it has none."""

    parse: Parse
    """Parses a message on `telemetry`."""

    parse_status: Callable[[bytes], Status | None]
    """Parses a message on `status`; None if it is neither."""

    mixed: int = 1
    """Number of kinds of message on `telemetry`; under a flood as many of the latest messages are kept."""

    more: Mapping[str, Parse] = field(default_factory=dict[str, Parse])
    """Further topics of its measurements, each with its parser."""

    is_timed: bool = True
    """Whether its messages have the time of measurement; otherwise the time of arrival counts, and retained messages,
    which may be of any age, are ignored."""

    @property
    def measurements(self) -> tuple[str, ...]:
        """All topics of its measurements."""
        return (self.telemetry, *self.more)

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics to subscribe to."""
        return (*self.measurements, *(() if self.status is None else (self.status,)))

    def read(self, topic: str, payload: bytes, now: datetime) -> Measurement | Refusal | IgnoredMessage:
        """Parse a message on one of the topics of its measurements."""
        return (self.parse if topic == self.telemetry else self.more[topic])(payload, now)


class ValueCollector:
    """Collects the values of a device that reports them in several messages, until a round has all of them.

    Of several values of the same name in a round the latest counts. The timestamp of a round is that of its oldest
    value, so that a missing value makes the round stale and not wrong.
    """

    def __init__(self, expected: Collection[str], *, is_open: bool = False) -> None:
        """Begin without values.

        Args:
            expected: names of the values of a round.
            is_open: whether the device may report further values; the names of a round are then known once one value
                is reported again, or several are reported at once.
        """
        self._expected, self._is_open = set(expected), is_open
        self._latest: dict[str, tuple[float, datetime]] = {}

    def add(self, values: Mapping[str, float], moment: datetime) -> tuple[dict[str, float], datetime] | None:
        """Add the values of one message.

        Args:
            values: at least one, by name; only expected ones unless `is_open`.
            moment: when they were measured, aware UTC.

        Returns:
            The values of a round and the time of the oldest one; None while one is missing.
        """
        is_known = not self._is_open or bool(self._expected) or len(values) > 1 or bool(values.keys() & self._latest)
        self._latest |= {name: (value, moment) for name, value in values.items()}
        if not is_known:
            return None
        if self._is_open:
            self._expected |= self._latest.keys()
        if self.list_missing():
            return None
        complete = {name: value for name, (value, _) in self._latest.items()}
        oldest = min(moment for _, moment in self._latest.values())
        self._latest = {}
        return complete, oldest

    def list_missing(self) -> list[str]:
        """Return the names of the values that the round still lacks."""
        return sorted(self._expected - self._latest.keys())
