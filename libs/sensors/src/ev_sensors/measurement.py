"""What a device said, in our words and units, and why what it said may not count."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Reason(StrEnum):
    """Why a message is refused, as the quarantine and the metrics name it."""

    TOO_LARGE = "too_large"
    SCHEMA = "schema"
    UNIT = "unit"
    CLOCK_AHEAD = "clock_ahead"
    TOO_OLD = "too_old"
    REPLAYED = "replayed"
    SEQUENCE = "sequence"
    COUNTER = "counter"
    NOMINAL = "nominal"
    RANGE = "range"
    RATE = "rate"
    IMPLAUSIBLE = "implausible"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One message does not count."""

    reason: Reason
    detail: str
    """The same in one sentence, with the numbers; no secrets, as devices send none."""


@dataclass(frozen=True, slots=True)
class IgnoredMessage:
    """A message gives no value by itself: it is about something else, or a part of what is awaited."""

    why: str
    """In a few words; a device gives few different ones, as they are told and counted."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a device measured at one moment."""

    timestamp: datetime
    """Of the measurement by the device's own clock, aware UTC."""

    values: Mapping[str, float] = field(default_factory=dict[str, float])
    """By the names of the wire models, which carry the units; single phases as in `ev_sensors.phases`."""

    sequence: int | None = None
    """Number of the message, rising; None where the device counts none."""

    energy_kwh: float | None = None
    """Its energy counter [kWh], which never goes back; None where it has none."""
