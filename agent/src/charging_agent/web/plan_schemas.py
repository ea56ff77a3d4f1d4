"""The charging plan as AgentAPI answers it."""

from pydantic import BaseModel, ConfigDict, Field

from charging_agent.decision.policy import CarExplanation, ScheduledPower
from charging_agent.ledger.record_signing import DecisionDraft
from ev_service.charging import ChargerId, EvseId
from ev_service.errors import EvError
from ev_service.units import UtcTimestamp


class NoPlanYetError(EvError):
    """The agent has not set limits yet since it began, so there is nothing that was planned."""

    code = "no_plan_yet"
    http_status = 404


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class PowerFrom(_Answer):
    """Power from a moment on, until the next one begins."""

    starts_at: UtcTimestamp = Field(description="From here on, UTC.")
    power_kw: float = Field(description="Planned power [kW].", examples=[11.0])


class CarPlanAnswer(_Answer):
    """The plan of one car."""

    charger_id: ChargerId = Field(description="The charger.", examples=["CP-1"])
    evse_id: EvseId = Field(description="Its EVSE.", examples=[1])
    ceiling_kw: float = Field(ge=0, description="What the decision allows it now, after the guard [kW].")
    explanation: str = Field(
        description="In one sentence: power now, next change and when, the limit that binds it and its price, what "
        "will be missing, what it costs.",
    )
    powers: tuple[PowerFrom, ...] = Field(description="Planned powers; the first holds now.")
    departure: UtcTimestamp | None = Field(
        default=None, description="Departure that was planned with, UTC; absent: not known, so it is charged at once."
    )
    energy_kwh: float = Field(description="Energy that it gets by the plan [kWh].")
    shortfall_kwh: float = Field(description="Energy that will be missing at departure [kWh].")
    limited_by: str | None = Field(
        default=None,
        description="Limit that costs this car most, such as `circuit connection` or `peak`; absent: none.",
    )
    limit_price_per_kwh: float = Field(description="What one more kWh below that limit would save [currency/kWh].")
    cost: float | None = Field(default=None, description="Expected cost of that energy; absent without prices.")
    cost_at_once: float | None = Field(default=None, description="The same if it charged at full power from now on.")


class PlanAnswer(_Answer):
    """The plan that the present limits follow from."""

    decision_id: str = Field(description="The decision that it belongs to; its signed record holds the plan.")
    decided_at: UtcTimestamp = Field(description="When it was made, UTC.")
    site_id: str = Field(description="The site.")
    policy: str = Field(
        description="Who decided: `rules` where they took over, and where no plan was asked for.", examples=["plan"]
    )
    reason: str = Field(description="What was decided and why; says why there is no plan where the rules took over.")
    rule_ceiling_kw: float | None = Field(
        default=None, description="What the rules would have given each charging point [kW]; absent without a plan."
    )
    ends_at: UtcTimestamp | None = Field(default=None, description="End of the plan, UTC; absent without one.")
    currency: str | None = Field(default=None, description="Currency of costs; absent: no prices are known.")
    peak_kw: float | None = Field(default=None, description="Highest expected import [kW]; absent without a plan.")
    basis: tuple[str, ...] = Field(
        default=(), description="What was known of prices, load and departures, and what stands in for the rest."
    )
    cars: tuple[CarPlanAnswer, ...] = Field(default=(), description="The planned cars; none without a plan.")


def build_plan_answer(made: DecisionDraft, site_id: str) -> PlanAnswer:
    """Write the plan of a decision for the wire; without one, who decided instead and why."""
    proposal, decision = made.outcome.proposal, made.decision
    answer = PlanAnswer(
        decision_id=str(made.decision_id),
        decided_at=made.observation.at,
        site_id=site_id,
        policy=decision.policy,
        reason=decision.reason,
    )
    plan = proposal.plan
    if plan is None:
        return answer
    cars = tuple(_build_car(one, decision.ceiling_of(one.car), proposal.schedule.get(one.car, ())) for one in plan.cars)
    return answer.model_copy(
        update={
            "rule_ceiling_kw": plan.rule_ceiling_kw,
            "ends_at": plan.ends_at,
            "currency": plan.currency,
            "peak_kw": plan.peak_kw,
            "basis": plan.basis,
            "cars": cars,
        }
    )


def _build_car(explained: CarExplanation, ceiling_kw: float, powers: tuple[ScheduledPower, ...]) -> CarPlanAnswer:
    charger_id, evse_id = explained.car
    return CarPlanAnswer(
        charger_id=charger_id,
        evse_id=evse_id,
        ceiling_kw=ceiling_kw,
        explanation=explained.text,
        powers=tuple(PowerFrom(starts_at=one.interval_start, power_kw=one.power_kw) for one in powers),
        departure=explained.departure,
        energy_kwh=explained.energy_kwh,
        shortfall_kwh=explained.shortfall_kwh,
        limited_by=explained.limited_by,
        limit_price_per_kwh=explained.limit_price_per_kwh,
        cost=explained.cost,
        cost_at_once=explained.cost_at_once,
    )
