"""Makes a record of a decision, chains it to the one before and signs it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any
from uuid import UUID

from charging_agent.charging.charger_api import LoweredLimits, RoundSnapshot
from charging_agent.decision.guard import PowerClamp
from charging_agent.decision.pipeline import Decision, DecisionOutcome, DecisionPipeline
from charging_agent.gateway.calls import Call
from charging_agent.ledger.canonical import canonicalize, join_canonical_members, sha256_hex
from charging_agent.ledger.charging_records import (
    build_chargers_input,
    build_command_record,
    build_late_record,
    build_plan_record,
)
from charging_agent.ledger.keys import SigningKey
from charging_agent.ledger.records import (
    FORMAT,
    INPUTS_MODEL,
    NO_RECORD_SHA256,
    OF_FORMAT_2,
    CallRecord,
    Clamp,
    EvseCeiling,
    PlanExplanationRecord,
    PolicyParameters,
    PolicyRecord,
    ProposalRecord,
    ScheduledPowerRecord,
    SignedRecord,
    SourceInputs,
)
from charging_agent.readings.assessment import AgeLimits
from charging_agent.readings.observer import Observation
from ev_service.units import utc_text


@dataclass(frozen=True, slots=True)
class DecisionDraft:
    """One decision as it was made, not yet recorded.

    outcome: what was proposed and decided.
    charging: the chargers at that moment, where the agent knows any.
    late: the limits that were sent before this was recorded; None: nothing was, as a rule.
    """

    decision_id: UUID
    observation: Observation
    outcome: DecisionOutcome
    charging: RoundSnapshot | None = None
    late: LoweredLimits | None = None

    @property
    def decision(self) -> Decision:
        return self.outcome.decision


@dataclass(frozen=True)
class RunMetadata:
    """Who decides: what all records of one run say alike."""

    run_id: UUID
    agent_version: str
    site_id: str
    policy: PolicyRecord

    @cached_property
    def policy_canonical(self) -> bytes:
        """The policy as it stands in each record."""
        return canonicalize(self.policy.as_json())


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where the chain stands: what the next record is chained to."""

    sequence: int = 0
    sha256: str = NO_RECORD_SHA256


def build_policy_record(pipeline: DecisionPipeline, ages: AgeLimits) -> PolicyRecord:
    """Write down the policy that decides and what it goes by, with its digest."""
    thresholds, policy = pipeline.rules.thresholds, pipeline.policy
    parameters = PolicyParameters(
        grid_overload_percent=thresholds.grid_overload_percent,
        solar_high_percent=thresholds.solar_high_percent,
        solar_medium_percent=thresholds.solar_medium_percent,
        battery_high_percent=thresholds.battery_high_percent,
        power_kw={action.value: kw for action, kw in thresholds.power_kw.items()},
        max_age_s=ages.maximum_s,
        stale_limit_s=ages.stale_s,
        keep_rule_ceilings=pipeline.keeps_rule_ceilings,
        own=dict(policy.parameters),
    )
    digest = sha256_hex({"name": policy.name, "version": policy.version, "parameters": parameters.as_json()})
    return PolicyRecord(name=policy.name, version=policy.version, parameters=parameters, sha256=digest)


def sign_record(
    made: DecisionDraft, calls: Sequence[Call], head: ChainHead, maker: RunMetadata, key: SigningKey
) -> SignedRecord:
    """Make the record that follows `head`."""
    inputs = canonicalize(build_inputs(made.observation).as_json())
    content: dict[str, Any] = {
        "format": FORMAT,
        "sequence": head.sequence + 1,
        "previous_sha256": head.sha256,
        "decision_id": str(made.decision_id),
        "decided_at": utc_text(made.observation.at),
        "run_id": str(maker.run_id),
        "agent_version": maker.agent_version,
        "site_id": maker.site_id,
        "inputs_sha256": hashlib.sha256(inputs).hexdigest(),
        "calls": [_build_call_record(call) for call in calls],
        "rule": made.decision.rule.value,
        "action": made.decision.action.value,
        "charging_power_kw": made.decision.charging_power_kw,
        "clamps": [build_clamp_record(clamp).as_json() for clamp in made.outcome.clamps],
        "proposal": build_proposal_record(made.outcome).as_json(),
        "limited_by": None if made.decision.limited_by is None else made.decision.limited_by.value,
        "reason": made.decision.reason,
        "late": None if made.late is None else build_late_record(made.late).as_json(),
        "key_id": key.key_id,
    } | _build_charger_fields(made.charging)
    # Put together from its members: the inputs have a digest of their own, and the policy is always the same.
    parts = {name: canonicalize(value) for name, value in content.items()}
    text = join_canonical_members(parts | {"inputs": inputs, "policy": maker.policy_canonical})
    digest = hashlib.sha256(text).hexdigest()
    return SignedRecord(text.decode(), digest, key.sign(digest))


def build_inputs(observation: Observation) -> SourceInputs:
    """Write down the readings whole, as they were assessed, with prices and forecast."""
    return INPUTS_MODEL.model_validate(
        {
            name: {"status": one.status, "age_s": one.age_s, "error": one.error, "reading": one.reading}
            for name, one in observation.readings.items()
        }
        | {"prices": observation.prices, "load_forecast": observation.load_forecast}
    )


def _build_charger_fields(noted: RoundSnapshot | None) -> dict[str, Any]:
    if noted is None:
        return dict.fromkeys(OF_FORMAT_2)
    plan, commanded = noted.plan, noted.command
    return {
        "chargers": build_chargers_input(noted).as_json(),
        "plan": None if plan is None else build_plan_record(plan).as_json(),
        "commanded": None if commanded is None else build_command_record(commanded).as_json(),
    }


def _build_call_record(call: Call) -> dict[str, Any]:
    return CallRecord.model_validate(call, from_attributes=True).as_json()


def build_clamp_record(clamp: PowerClamp) -> Clamp:
    """Write down what the guard lowered."""
    return Clamp(
        limited_by=clamp.limited_by.value,
        proposed_kw=_finite_or_none(clamp.proposed_kw),
        allowed_kw=clamp.allowed_kw,
        evse=clamp.evse,
    )


def build_proposal_record(outcome: DecisionOutcome) -> ProposalRecord:
    """Write down what was proposed."""
    proposal = outcome.proposal
    return ProposalRecord(
        policy=outcome.decision.policy,
        ceiling_kw=_finite_or_none(proposal.ceiling_kw),
        evse_ceilings=tuple(
            EvseCeiling(evse=evse, ceiling_kw=_finite_or_none(ceiling_kw))
            for evse, ceiling_kw in sorted(proposal.evse_ceilings_kw.items())
        ),
        schedule=tuple(
            ScheduledPowerRecord(evse=evse, interval_start=one.interval_start, power_kw=_finite_or_none(one.power_kw))
            for evse, intervals in sorted(proposal.schedule.items())
            for one in intervals
        ),
        reason=proposal.reason,
        plan=None
        if proposal.plan is None
        else PlanExplanationRecord.model_validate(proposal.plan, from_attributes=True),
    )


def _finite_or_none(power_kw: float) -> float | None:
    # JSON has no other numbers.
    return power_kw if isfinite(power_kw) else None
