"""What the agent answers, as JSON, described so that another agent can read it as its manual."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema, create_model

from charging_agent.agent import DecisionResult
from charging_agent.decision.guard import PowerLimit
from charging_agent.decision.policy import Action
from charging_agent.decision.rules import Rule
from charging_agent.gateway.calls import FailureReason
from charging_agent.ledger.readers import RecordSummary
from charging_agent.readings.apis import SOURCES, ReadingSource, create_model_by_source
from charging_agent.readings.assessment import AssessedReading, Status
from charging_agent.readings.observer import Observation
from charging_agent.web.charger_schemas import ChargersAnswer
from ev_service.telemetry import Reading
from ev_service.units import UtcTimestamp


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReadingAnswer(_Answer):
    """How good a reading was."""

    status: Status = Field(
        description="fresh: fetched for this decision; cached: fetched before, at most 10 s old; "
        "stale: up to 60 s old, still used; missing: older or never had."
    )
    age_s: float | None = Field(default=None, description="Now minus the reading's own timestamp [s].", examples=[0.1])
    error: FailureReason | None = Field(default=None, description="For stale and missing: what stood in the way.")


class SourceReadings(_Answer):
    """The readings that the decision was made from."""


def _create_answer(source: ReadingSource[Any]) -> type[ReadingAnswer]:
    known = {name: source.model.model_fields[name] for name in source.shown}
    fields: dict[str, Any] = {
        name: (field.annotation | None, Field(default=None, description=field.description, examples=field.examples))
        for name, field in known.items()
    }
    doc = f"What was known of {source.about}."
    return create_model(f"{source.subject.capitalize()}Answer", __base__=ReadingAnswer, __doc__=doc, **fields)


_ANSWERS = {source.subject: _create_answer(source) for source in SOURCES}
_READINGS = create_model_by_source("ReadingsAnswer", SourceReadings, lambda source: (_ANSWERS[source.subject], ...))
ReadingsAnswer = Annotated[SourceReadings, GetPydanticSchema(lambda _, handler: handler(_READINGS))]


class DecisionAnswer(_Answer):
    """One decision: the ceiling for each charging point, and why."""

    decision_id: str = Field(
        description="Name of this decision and of its signed record; the same for all who ask while nothing changed."
    )
    decided_at: UtcTimestamp = Field(description="When it was made, UTC.")
    site_id: str = Field(description="The site that it is for.")
    action: Action = Field(description="What the cars are told.")
    charging_power_kw: float = Field(
        ge=0, description="The highest ceiling of any charging point [kW]; 0 means pause.", examples=[22.0]
    )
    rule: Rule = Field(description="The rule that applies to the readings, whatever policy proposed.")
    policy: str | None = Field(default=None, description="The policy that proposed the power.", examples=["rules"])
    limited_by: PowerLimit | None = Field(
        default=None, description="The limit to which the guard lowered the power; absent: it is as proposed."
    )
    reason: str = Field(description="Why, in one plain sentence with the numbers.")
    degraded: bool = Field(description="True as soon as one of the readings is stale or missing.")
    readings: ReadingsAnswer


class DecisionSummary(_Answer):
    """One recorded decision in short."""

    sequence: int = Field(ge=1, description="Number of its record, without gaps from 1.", examples=[412])
    decision_id: UUID = Field(description="Name of the decision: what get_decision and explain_decision take.")
    decided_at: UtcTimestamp = Field(description="When it was made, UTC.")
    action: Action = Field(description="What the cars were told.")
    charging_power_kw: float = Field(ge=0, description="Ceiling for each charging point [kW].", examples=[22.0])
    rule: Rule = Field(description="The rule that decided.")
    reason: str = Field(description="Why, in one plain sentence with the numbers.")
    degraded: bool = Field(description="True when one of the readings was stale or missing.")


class DecisionList(_Answer):
    """Recorded decisions, newest first."""

    decisions: list[DecisionSummary]
    next_before: int | None = Field(
        default=None, description="Give it as `before` to get the decisions before these; absent when there are none."
    )


class Explanation(_Answer):
    """Why a decision came out as it did, in plain sentences."""

    decision_id: UUID = Field(description="Name of the decision.")
    decided_at: UtcTimestamp = Field(description="When it was made, UTC.")
    summary: str = Field(description="What was decided and why, in one sentence.")
    readings: list[str] = Field(description="One sentence for each reading: its value, the threshold, how good it was.")
    calls: list[str] = Field(description="One sentence for each call through the gateway that the record holds.")
    cars: list[str] = Field(
        description="One sentence for each limit that followed, for each that was taken back, and "
        "for each that was set before this record."
    )
    policy: str = Field(description="Which rule of which policy decided.")
    record: str = Field(description="Where the signed record stands and what it is signed with.")


class SiteStatusAnswer(_Answer):
    """What the agent holds now, without a new look."""

    site_id: str = Field(description="The site.")
    timestamp: UtcTimestamp = Field(description="The moment of this answer, UTC.")
    readings: ReadingsAnswer
    trouble: str | None = Field(default=None, description="Why these readings allow only the fail-safe; else absent.")
    latest_decision: DecisionAnswer | None = Field(default=None, description="The last decision that was made.")
    chargers: ChargersAnswer | None = Field(
        default=None, description="The chargers and the cars at them; absent where this agent only decides."
    )


def build_decision_summary(record: RecordSummary) -> DecisionSummary:
    """Write a recorded decision in short."""
    return DecisionSummary(
        sequence=record.sequence,
        decision_id=UUID(record.decision_id),
        decided_at=datetime.fromisoformat(record.decided_at),
        action=Action(record.action),
        charging_power_kw=record.charging_power_kw,
        rule=Rule(record.rule),
        reason=record.reason,
        degraded=record.is_degraded,
    )


def build_decision_list(records: Sequence[RecordSummary]) -> DecisionList:
    """Write a page of recorded decisions, which come newest first."""
    last = records[-1].sequence if records else 1
    return DecisionList(
        decisions=[build_decision_summary(record) for record in records], next_before=last if last > 1 else None
    )


def build_site_status(
    site_id: str,
    now: datetime,
    held: Observation,
    trouble: str | None,
    latest: DecisionResult | None,
    chargers: ChargersAnswer | None = None,
) -> SiteStatusAnswer:
    """Write what is held."""
    return SiteStatusAnswer(
        site_id=site_id,
        timestamp=now,
        readings=_readings(held),
        trouble=trouble,
        latest_decision=None if latest is None else build_decision_answer(latest, site_id),
        chargers=chargers,
    )


def build_decision_answer(decided: DecisionResult, site_id: str) -> DecisionAnswer:
    """Write a decision for the wire."""
    return DecisionAnswer(
        decision_id=decided.decision_id,
        decided_at=decided.at,
        site_id=site_id,
        action=decided.decision.action,
        charging_power_kw=decided.decision.charging_power_kw,
        rule=decided.decision.rule,
        policy=decided.decision.policy,
        limited_by=decided.decision.limited_by,
        reason=decided.decision.reason,
        degraded=decided.observation.is_degraded,
        readings=_readings(decided.observation),
    )


def _readings(observation: Observation) -> SourceReadings:
    return _READINGS(
        **{source.subject: _build_answer(source, observation.readings[source.subject]) for source in SOURCES}
    )


def _build_answer(source: ReadingSource[Any], assessed: AssessedReading[Reading]) -> ReadingAnswer:
    reading = assessed.reading
    values: dict[str, Any] = {} if reading is None else {name: getattr(reading, name) for name in source.shown}
    age_s = _round_age(assessed.age_s)
    return _ANSWERS[source.subject](status=assessed.status, age_s=age_s, error=assessed.error, **values)


def _round_age(age_s: float | None) -> float | None:
    # A reading from a clock slightly ahead of ours has just been made.
    return None if age_s is None else max(0.0, round(age_s, 3))
