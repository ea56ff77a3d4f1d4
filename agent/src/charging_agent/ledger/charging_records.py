"""What the ledger keeps of the chargers: what was known, what was planned from it, and what came of the last command.

Cars, rooms and memories are written as sharing is given them, so that whoever replays a record can share again.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from charging_agent.charging.charger_api import CommandResult, LoweredLimits, RoundSnapshot
from charging_agent.charging.planning import SHARING_VERSION, ChargingPlan, Headroom
from charging_agent.charging.sharing import Allotment, Car, CarKey, LimitClamp, Memory, SharingPolicy, SiteRoom
from charging_agent.gateway.calls import FailureReason
from charging_agent.readings.assessment import Status
from ev_service.charging import Lease, LimitOutcome
from ev_service.units import UtcTimestamp


class RecordPart(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def as_json(self) -> dict[str, Any]:
        """The JSON value that is hashed."""
        return self.model_dump(mode="json")


# What sharing is given and gives is described in docs/ledger.md, not once more in the definition of an API.
_an_object = WithJsonSchema({"type": "object"})
_an_object_or_null = WithJsonSchema({"type": "object", "nullable": True})
_objects = WithJsonSchema({"type": "array", "items": {"type": "object"}})
# A pair of a text and a number, which OpenAPI 3.0 has no words for.
_pair = WithJsonSchema({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}})

Key = Annotated[CarKey, _pair]
"""Charger and EVSE."""


class ChargersInput(RecordPart):
    """How good the reading of the chargers was, and what in it was not as commanded."""

    status: Status = Field(description="How good the reading was.")
    age_s: float | None = Field(description="The moment of the decision minus the reading's own timestamp [s].")
    error: FailureReason | None = Field(description="For stale and missing: what stood in the way.")
    timestamp: UtcTimestamp | None = Field(description="When the reading was so, UTC; null when missing.")
    overdrawing: tuple[Key, ...] = Field(description="Cars above their limit for too long.")
    without_meter: tuple[Key, ...] = Field(description="Charging cars whose meter says nothing.")
    contradicted: tuple[Key, ...] = Field(
        default=(), description="EVSEs that report more than the connection's meter can confirm."
    )


class PlanRecord(RecordPart):
    """The limits that the decision leads to, with all that they were made from."""

    version: str = Field(description="Version of the sharing.", examples=["1"])
    policy: Annotated[SharingPolicy, _an_object] = Field(description="How calmly limits change.")
    cars: Annotated[tuple[Car, ...], _objects] = Field(description="The cars to share among.")
    room: Annotated[SiteRoom, _an_object] = Field(description="What they may draw together.")
    headroom: Annotated[Headroom | None, _an_object_or_null] = Field(
        description="How the room was reckoned; null where there is none for anybody."
    )
    memory: Annotated[Memory, _an_object] = Field(description="What was remembered of the round before.")
    allotments: Annotated[tuple[Allotment, ...], _objects] = Field(
        description="The limit of each car as the guard let it through."
    )
    clamps: Annotated[tuple[LimitClamp, ...], _objects] = Field(
        description="What the guard took back, and the limit that caused it."
    )
    idle: tuple[Key, ...] = Field(description="EVSEs without a car that are told 0 A; only while all is paused.")


class ResultRecord(RecordPart):
    """What came of one limit."""

    car: Key = Field(description="Charger and EVSE.")
    asked_a: float = Field(description="The limit that was asked [A].")
    outcome: LimitOutcome | None = Field(description="applied, partly_applied or rejected; null: no answer.")
    limit_a: float | None = Field(description="The limit in force by that answer [A].")
    limited_by: str | None = Field(description="What stood in the way.")


class CommandRecord(RecordPart):
    """The last try to set limits since the record before."""

    at: UtcTimestamp = Field(description="When, UTC.")
    decision_id: str | None = Field(
        description="The decision whose limits these are. Up to format 2 null: of none, everything was told 0 A for "
        "want of a record."
    )
    outcome: str = Field(description="`ok`, a word of trouble as in calls, or `override`.", examples=["ok"])
    valid_until: UtcTimestamp = Field(description="When these limits lapse, UTC.")
    lease: Lease | None = Field(description="Who commands, and until when.")
    results: tuple[ResultRecord, ...]


class LateLimit(RecordPart):
    """One limit that was sent before its decision was recorded."""

    car: Key = Field(description="Charger and EVSE.")
    planned_a: float = Field(description="What the plan gives it per phase [A].")
    in_force_a: float = Field(description="The limit that was in force, as far as known [A].")
    limit_a: float = Field(description="What was sent: the lower of both, or 0 [A].")


class LateRecord(RecordPart):
    """What was sent while the ledger did not take records, and why that was so."""

    reason: str = Field(description="Why the decision could not be recorded before it was acted upon.")
    valid_until: UtcTimestamp = Field(description="When these limits lapse, UTC.")
    limits: tuple[LateLimit, ...]


def build_chargers_input(noted: RoundSnapshot) -> ChargersInput:
    """Write down what was known."""
    seen, alarms = noted.reading, noted.alarms
    return ChargersInput(
        status=seen.status,
        age_s=seen.age_s,
        error=seen.error,
        timestamp=noted.at,
        overdrawing=alarms.overdrawing,
        without_meter=alarms.without_meter,
        contradicted=alarms.contradicted,
    )


def build_plan_record(plan: ChargingPlan) -> PlanRecord:
    """Write a plan down."""
    return PlanRecord(
        version=SHARING_VERSION,
        policy=plan.policy,
        cars=plan.cars,
        room=plan.room,
        headroom=plan.headroom,
        memory=plan.before,
        allotments=plan.allotments,
        clamps=plan.clamps,
        idle=plan.idle if plan.room.pauses else (),
    )


def build_late_record(lowered: LoweredLimits) -> LateRecord:
    """Write down what was sent before it was recorded."""
    limits = tuple(
        LateLimit(car=one.key, planned_a=one.planned_a, in_force_a=one.in_force_a, limit_a=one.limit_a)
        for one in lowered.limits
    )
    return LateRecord(reason=lowered.reason, valid_until=lowered.valid_until, limits=limits)


def build_command_record(commanded: CommandResult) -> CommandRecord:
    """Write down what came of a command."""
    answered = (*commanded.results, *[None] * (len(commanded.requested) - len(commanded.results)))
    return CommandRecord(
        at=commanded.at,
        decision_id=commanded.decision_id,
        outcome=commanded.outcome,
        valid_until=commanded.valid_until,
        lease=commanded.lease,
        results=tuple(
            ResultRecord(
                car=asked.key,
                asked_a=asked.limit_a,
                outcome=None if result is None else result.outcome,
                limit_a=None if result is None else result.limit_a,
                limited_by=None if result is None else result.limited_by,
            )
            for asked, result in zip(commanded.requested, answered, strict=True)
        ),
    )
