"""What a device said, in our words and units, and why what it said may not count.

Pure: knows neither brokers nor clocks nor which device it was.
"""

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
    """One message does not count.

    detail: the same in one sentence, with the numbers; no secrets, as devices send none.
    """

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class IgnoredMessage:
    """A message gives no value by itself: it is about something else, or a part of what is awaited.

    why: in a few words; a device gives few different ones, as they are told and counted.
    """

    why: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a device measured at one moment.

    timestamp: of the measurement by the device's own clock, aware UTC.
    values: by the names of the wire models, which carry the units; those of single phases as `ev_sensors.phases` tells.
    sequence: number of the message, rising; None where the device counts none.
    energy_kwh: its energy counter [kWh], which never goes back; None where it has none.
    """

    timestamp: datetime
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    sequence: int | None = None
    energy_kwh: float | None = None
