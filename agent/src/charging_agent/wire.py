"""What the agent answers: the decision as JSON, described so that another agent can read it as its manual."""

from pydantic import BaseModel, ConfigDict, Field

from charging_agent.agent import Decided
from charging_agent.decision import Action, Rule
from charging_agent.readings import Judged, Status, Trouble
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
    error: Trouble | None = Field(default=None, description="For stale and missing: what stood in the way.")


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

    decision_id: str = Field(description="Name of this decision.")
    decided_at: UtcTimestamp = Field(description="When it was made, UTC.")
    site_id: str = Field(description="The site that it is for.")
    action: Action = Field(description="What the cars are told.")
    charging_power_kw: float = Field(
        ge=0, description="Ceiling for each charging point [kW]; 0 means pause.", examples=[22.0]
    )
    rule: Rule = Field(description="The rule that decided.")
    reason: str = Field(description="Why, in one plain sentence with the numbers.")
    degraded: bool = Field(description="True as soon as one of the three readings is stale or missing.")
    readings: ReadingsAnswer


def answer(decided: Decided, site_id: str) -> DecisionAnswer:
    """Write a decision for the wire."""
    observation = decided.observation
    readings = ReadingsAnswer(
        solar=_solar(observation.solar), battery=_battery(observation.battery), grid=_grid(observation.grid)
    )
    return DecisionAnswer(
        decision_id=decided.decision_id,
        decided_at=decided.at,
        site_id=site_id,
        action=decided.decision.action,
        charging_power_kw=decided.decision.charging_power_kw,
        rule=decided.decision.rule,
        reason=decided.reason,
        degraded=observation.is_degraded,
        readings=readings,
    )


def _solar(judged: Judged[SolarStatus]) -> SolarAnswer:
    reading = judged.reading
    if reading is None:
        return SolarAnswer(status=judged.status, age_s=_rounded(judged.age_s), error=judged.error)
    return SolarAnswer(
        status=judged.status,
        age_s=_rounded(judged.age_s),
        error=judged.error,
        generation_kw=reading.generation_kw,
        capacity_kwp=reading.capacity_kwp,
    )


def _battery(judged: Judged[BatteryStatus]) -> BatteryAnswer:
    soc_percent = None if judged.reading is None else judged.reading.soc_percent
    return BatteryAnswer(
        status=judged.status, age_s=_rounded(judged.age_s), error=judged.error, soc_percent=soc_percent
    )


def _grid(judged: Judged[GridLoad]) -> GridAnswer:
    load_percent = None if judged.reading is None else judged.reading.load_percent
    return GridAnswer(status=judged.status, age_s=_rounded(judged.age_s), error=judged.error, load_percent=load_percent)


def _rounded(age_s: float | None) -> float | None:
    # A reading from a clock slightly ahead of ours has just been made.
    return None if age_s is None else max(0.0, round(age_s, 3))
