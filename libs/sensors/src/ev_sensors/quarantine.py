"""What is said of a message that does not count: its reason, and the message itself, on a topic of its own.

Nobody decides by what stands there; people find out from it what is wrong with a device.
"""

from base64 import b64encode
from datetime import datetime

from pydantic import BaseModel, Field

from ev_sensors.measurement import Reason, Refusal
from ev_service.units import UtcTimestamp

_MOST_BYTES = 4096
"""How much of a refused message is told [byte]: enough for every honest one, and no way to multiply a flood."""


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
    """The message for the quarantine topic, JSON.

    Args:
        topic: where the refused message came.
        payload: what it was.
        refusal: why it does not count.
        now: the run's time, aware UTC.
        is_retained: whether the broker had kept it.
    """
    cut = payload[:_MOST_BYTES]
    try:
        # What a cut leaves of the last character is no fault of the device.
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
