"""Measurements in our names and units, and messages that are refused, with their report on the quarantine topic."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from ev_service.units import UtcTimestamp


class Reason(StrEnum):
    """Why a message is refused, as in quarantine messages and metrics."""

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
    """Why one message is refused."""

    reason: Reason
    """The failed check."""

    detail: str
    """One sentence with the numbers; devices send no secrets."""


@dataclass(frozen=True, slots=True)
class IgnoredMessage:
    """A message without a value of its own: it is about something else, or incomplete."""

    why: str
    """In a few words; a label of metrics, so there are few different ones for each device."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Values that a device measured at one moment."""

    timestamp: datetime
    """Moment of the measurement by the device's clock, aware UTC."""

    values: Mapping[str, float] = field(default_factory=dict[str, float])
    """Values by the field names of the wire models, with units; single phases as in `ev_sensors.phases`."""

    sequence: int | None = None
    """Sequence number of the message; None if the device sends none."""

    energy_kwh: float | None = None
    """Its energy counter [kWh], which never decreases; None if it has none."""


_MAX_QUARANTINED_BYTES = 4096
"""Maximum part of a refused message that is published [byte]: more than any correct message has, and small enough that
a flood is not amplified."""


class QuarantinedMessage(BaseModel):
    """One refused message."""

    quarantined_at: UtcTimestamp = Field(description="When it was refused, UTC.", examples=["2026-06-21T16:00:00Z"])
    topic: str = Field(description="Where it came.", examples=["site/greensboro/solar/pv-1/telemetry"])
    reason: Reason = Field(description="Why it does not count.", examples=["range"])
    detail: str = Field(description="The same in one sentence.")
    retained: bool = Field(description="Whether the broker had kept it.")
    payload: str | None = Field(default=None, description="Its text, cut after 4,096 bytes.")
    payload_base64: str | None = Field(default=None, description="Its bytes, where they are no UTF-8 text.")


def build_quarantine_message(
    topic: str, payload: bytes, refusal: Refusal, now: datetime, *, is_retained: bool
) -> bytes:
    """Build the message for the quarantine topic, JSON.

    Args:
        topic: topic of the refused message.
        payload: its content.
        refusal: why it is refused.
        now: the run's time, aware UTC.
        is_retained: whether the broker had retained it.
    """
    cut = payload[:_MAX_QUARANTINED_BYTES]
    try:
        # The cut may split the last character, which is no error of the device.
        text, raw = cut.decode("utf-8", "strict" if cut == payload else "ignore"), None
    except UnicodeDecodeError:
        text, raw = None, b64encode(cut).decode("ascii")
    message = QuarantinedMessage(
        quarantined_at=now,
        topic=topic,
        reason=refusal.reason,
        detail=refusal.detail,
        retained=is_retained,
        payload=text,
        payload_base64=raw,
    )
    return message.model_dump_json(exclude_none=True).encode()
