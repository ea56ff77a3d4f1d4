"""What the agent answers, as JSON, described so that another agent can read it as its manual."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from charging_agent.agent import DecisionResult
from charging_agent.decision.guard import PowerLimit
from charging_agent.decision.policy import Action
from charging_agent.decision.rules import Rule
from charging_agent.gateway.calls import FailureReason
from charging_agent.ledger.readers import RecordSummary
from charging_agent.readings.assessment import AssessedReading, Status
from charging_agent.readings.observer import Observation
from charging_agent.web.charger_schemas import ChargersAnswer
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus
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


class SolarAnswer(ReadingAnswer):
    """What the panels gave."""

    generation_kw: float | None = Field(default=None, description="AC power of the panels [kW].", examples=[41.0])
    capacity_kwp: float | None = Field(default=None, description="Rated power of the panels [kWp].", examples=[50.0])


class BatteryAnswer(ReadingAnswer):
    """How full the battery was."""

    soc_percent: float | None = Field(default=None, description="State of charge [%].", examples=[83.0])


class GridAnswer(ReadingAnswer):
    """How loaded the grid connection was."""

    load_percent: float | None = Field(default=None, description="Load over limit [%].", examples=[61.0])


class ReadingsAnswer(_Answer):
    """The three readings that the decision was made from."""

    solar: SolarAnswer
    battery: BatteryAnswer
    grid: GridAnswer


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
    degraded: bool = Field(description="True as soon as one of the three readings is stale or missing.")
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
    degraded: bool = Field(description="True when one of the three readings was stale or missing.")


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


def _readings(observation: Observation) -> ReadingsAnswer:
    return ReadingsAnswer(
        solar=_solar(observation.solar), battery=_battery(observation.battery), grid=_grid(observation.grid)
    )


def _solar(judged: AssessedReading[SolarStatus]) -> SolarAnswer:
    reading = judged.reading
    if reading is None:
        return SolarAnswer(status=judged.status, age_s=_round_age(judged.age_s), error=judged.error)
    return SolarAnswer(
        status=judged.status,
        age_s=_round_age(judged.age_s),
        error=judged.error,
        generation_kw=reading.generation_kw,
        capacity_kwp=reading.capacity_kwp,
    )


def _battery(judged: AssessedReading[BatteryStatus]) -> BatteryAnswer:
    soc_percent = None if judged.reading is None else judged.reading.soc_percent
    return BatteryAnswer(
        status=judged.status, age_s=_round_age(judged.age_s), error=judged.error, soc_percent=soc_percent
    )


def _grid(judged: AssessedReading[GridLoad]) -> GridAnswer:
    load_percent = None if judged.reading is None else judged.reading.load_percent
    return GridAnswer(
        status=judged.status, age_s=_round_age(judged.age_s), error=judged.error, load_percent=load_percent
    )


def _round_age(age_s: float | None) -> float | None:
    # A reading from a clock slightly ahead of ours has just been made.
    return None if age_s is None else max(0.0, round(age_s, 3))
