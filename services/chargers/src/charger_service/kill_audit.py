"""What an operator did, as it travels and as it is kept: one act of stopping an application, or of letting it go on.

Every text is one line and bounded, so that a record can be printed as it is.
"""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ev_service.units import UtcTimestamp

# No control character of Unicode, and neither of the two separators that end a line.
_ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"


def _line(longest: int) -> StringConstraints:
    return StringConstraints(min_length=1, max_length=longest, pattern=_ONE_LINE, strip_whitespace=True)


Name = Annotated[str, _line(100)]
Text = Annotated[str, _line(500)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class ActKind(StrEnum):
    """Which of the two acts."""

    KILL = "kill"
    REVIVE = "revive"


class ActScope(StrEnum):
    """What of the application an act is about: all that it may do, or setting limits on chargers alone."""

    ALL = "all"
    CONTROL = "control"


class Outcome(StrEnum):
    """How a step ended.

    done: it changed something. already: it was so before. failed: it is not so. skipped: it was not tried.
    """

    DONE = "done"
    ALREADY = "already"
    FAILED = "failed"
    SKIPPED = "skipped"


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Step(_Wire):
    """One step of an act."""

    name: Name = Field(description="What the step is called.", examples=["deny_policy"])
    outcome: Outcome = Field(description="done, already (it was so before), failed, or skipped.")
    detail: Text | None = Field(default=None, description="What there is to say about it, in one sentence.")
    took_s: Seconds = Field(description="How long it took [s].", examples=[0.04])


class Change(_Wire):
    """One thing at the gateway that the act made, or undid."""

    kind: Name = Field(description="deny_policy, subscription or key.", examples=["subscription"])
    id: Name = Field(
        description="Its id at the gateway; of a key, whose tokens were revoked, its id and a digest of its secret.",
        examples=["0b5c1f0e-6f3c-4f7e-9d0e-0f3f6f0c2d11"],
    )
    name: Name = Field(description="What it concerns.", examples=["SolarAPI"])


class Act(_Wire):
    """What an operator did, in their own word."""

    act_id: UUID = Field(description="Chosen by whoever records; the same act sent again is recorded once.")
    kind: ActKind = Field(description="kill or revive.")
    scope: ActScope = Field(
        default=ActScope.ALL, description="all, or control: setting limits on chargers alone, while reading goes on."
    )
    application: Name = Field(description="The application that was stopped or let go on.", examples=["EVApp"])
    reason: Text = Field(description="Why, in one line of at most 500 characters.", examples=["sensor fault"])
    operator: Name = Field(description="Who did it, as they say themselves.", examples=["ops on site-pc"])
    started_at: UtcTimestamp = Field(description="When the command was given, UTC.", examples=["2026-06-21T16:00:00Z"])
    steps: tuple[Step, ...] = Field(max_length=32, description="What was done, in order.")
    changes: tuple[Change, ...] = Field(
        default=(), max_length=64, description="What a kill made at the gateway, or what a revive undid."
    )
    gateway_refused_after_s: Seconds | None = Field(
        default=None, description="From the command to the gateway's first refusal [s]; null when none was seen."
    )
    agent_stopped_after_s: Seconds | None = Field(
        default=None, description="From the command to the agent's first decision of 0 kW [s]; null when none was seen."
    )
    agent_decides_after_s: Seconds | None = Field(
        default=None, description="From a revive to the agent's first decision with power [s]; null when none was seen."
    )


class AuthenticatedCaller(_Wire):
    """Who called, as the gateway asserts it; the caller cannot choose it."""

    application: str | None = Field(description="The calling application.", examples=["Operator"])
    user: str | None = Field(description="In whose name its token is.", examples=["operator@carbon.super"])


class RecordedAct(Act):
    """An act as it is kept."""

    number: int = Field(ge=1, description="Counts the acts, in the order in which they were recorded.", examples=[1])
    recorded_at: UtcTimestamp = Field(description="When it was recorded, UTC.", examples=["2026-06-21T16:00:02Z"])
    proved: AuthenticatedCaller | None = Field(
        description="Who recorded it, in the gateway's word; null where the service answers anyone."
    )


class Acts(_Wire):
    """A page of the record, the newest first."""

    kills: tuple[RecordedAct, ...] = Field(description="Acts, the newest first.")
    next_before: int | None = Field(description="Ask for `before` this number to read on; null on the last page.")
    is_kept_on_disk: bool = Field(description="Whether the record outlives this process.")
    damaged_lines: int = Field(
        ge=0, description="Lines that cannot be read, for example one that a crash left incomplete."
    )
