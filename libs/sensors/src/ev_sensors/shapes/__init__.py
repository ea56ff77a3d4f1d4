"""How devices write their messages: our own form, and three that are met in the field."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ev_sensors.measurement import Measurement, Refusal

Role = Literal["solar", "battery", "grid"]
"""What a device measures."""

Parse = Callable[[bytes, datetime], Measurement | Refusal | None]
"""A message and the run's time; None where the message is about something else."""

Status = Literal["online", "offline"]


@dataclass(frozen=True, slots=True)
class Shape:
    """One device's manner of speaking.

    telemetry: topic of its measurements. status: topic of its birth and last will.
    parse: reads a message of the former, says: one of the latter, None where it is neither.
    mixed: how many kinds of message may share the first topic; under a flood so many are kept, not one.
    """

    telemetry: str
    status: str
    parse: Parse
    says: Callable[[bytes], Status | None]
    mixed: int = 1
