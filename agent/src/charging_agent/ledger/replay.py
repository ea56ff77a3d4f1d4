"""Decides once more, from what a record says was known, by the policy that it names."""

import json
from dataclasses import replace

from pydantic import ValidationError

from charging_agent.charging.planning import build_connection_limits
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.decision.policies import POLICIES
from charging_agent.decision.policy import Action, DecisionInputs
from charging_agent.decision.rules import Rule, RulePolicy, RuleThresholds
from charging_agent.ledger.plan_replay import Difference, replay_plan
from charging_agent.ledger.record_signing import build_clamp_record, build_proposal_record
from charging_agent.ledger.records import FORMAT, Input, PolicyParameters, Record
from charging_agent.ledger.verification import find_wrong_digest
from charging_agent.readings.apis import SOURCES, build_decision_inputs
from charging_agent.readings.assessment import AgeLimits, Status, assess_reading
from charging_agent.readings.forecasts import LOAD_FORECAST
from charging_agent.readings.prices import PRICES
from ev_service.telemetry import Reading


def replay_record(line: str | bytes) -> Difference | None:
    """Decide again from one record, by the policy of `POLICIES` that it names; None when nothing differs."""
    try:
        record = Record.model_validate_json(line)
    except ValidationError as error:
        return Difference(0, "data", f"no record of format 1 to {FORMAT} ({error.error_count()} fields are wrong)")
    wrong = find_wrong_digest(json.loads(line)) or _data(record)
    if wrong is not None:
        return Difference(record.sequence, "data", wrong)
    parameters = record.policy.parameters
    rules = RulePolicy(_thresholds(parameters))
    create_policy = POLICIES.get(record.policy.name)
    policy = rules if create_policy is None else create_policy(rules, parameters.own)
    pipeline = DecisionPipeline(policy, rules, keeps_rule_ceilings=parameters.keep_rule_ceilings)
    outcome = _outcome(record, pipeline)
    if outcome is None:
        return replay_plan(record)
    if (record.policy.name, record.policy.version) != (policy.name, policy.version):
        named = f"decided by {record.policy.name} version {record.policy.version}"
        return Difference(
            record.sequence, "policy", f"{named}, this code has {policy.name} {policy.version}: {outcome}"
        )
    return Difference(record.sequence, "code", f"agent {record.agent_version} wrote it: {outcome}")


def _data(record: Record) -> str | None:
    parameters, inputs = record.policy.parameters, record.inputs
    ages, known = AgeLimits(parameters.max_age_s, parameters.stale_limit_s), inputs.by_source()
    for source in SOURCES:
        one = known.get(source.subject)
        if one is None or one.reading is None:
            continue
        if (wrong := _status(record, one, one.reading, source.ages or ages)) is not None:
            return f"{source.subject}: {wrong}"
    return None


def _status(record: Record, known: Input, reading: Reading, ages: AgeLimits) -> str | None:
    is_new = known.status is Status.FRESH
    judged = assess_reading(reading, record.decided_at, ages, is_new=is_new, failure=known.error)
    if judged.status is not known.status or judged.age_s != known.age_s:
        return f"recorded as {known.status} at {known.age_s} s, its timestamp says {judged.status} at {judged.age_s} s"
    return None


def _outcome(record: Record, pipeline: DecisionPipeline) -> str | None:
    inputs = _inputs(record)
    outcome = pipeline.decide(inputs)
    if record.proposal is not None and record.proposal.policy == pipeline.rules.name != outcome.decision.policy:
        # The policy failed then and does not fail now, as where memory was short.
        _, _, failure = record.proposal.reason.partition(f" in place of the policy {pipeline.policy.name}: ")
        outcome = pipeline.fall_back(inputs, failure.removesuffix("."))
    decision = outcome.decision
    recorded = record.rule, record.action, record.charging_power_kw
    again = decision.rule, decision.action, decision.charging_power_kw
    if again != recorded:
        return f"recorded {_describe(*recorded)}, decided again {_describe(*again)}"
    if tuple(build_clamp_record(clamp) for clamp in outcome.clamps) != record.clamps:
        return "the clamps differ"
    if record.proposal is not None and record.proposal != build_proposal_record(outcome):
        return "the proposal differs"
    if record.proposal is not None and record.limited_by != decision.limited_by:
        return f"recorded as limited by {record.limited_by}, decided again as limited by {decision.limited_by}"
    return None if decision.reason == record.reason else f"the reason differs, decided again: {decision.reason}"


def _inputs(record: Record) -> DecisionInputs:
    readings, plan = record.inputs.by_source(), record.plan
    inputs = build_decision_inputs(record.decided_at, {name: known.reading for name, known in readings.items()})
    if record.inputs.prices is not None:
        inputs = replace(inputs, prices={PRICES: record.inputs.prices})
    if record.inputs.load_forecast is not None:
        inputs = replace(inputs, forecasts={LOAD_FORECAST: record.inputs.load_forecast})
    # A plan without headroom was made without knowing what the connection leaves; so was the decision.
    if plan is None or plan.headroom is None:
        return inputs
    room = plan.room
    limits = build_connection_limits(plan.headroom, room.feeder_a, len(room.phase_a), room.voltage_v)
    return replace(inputs, cars=plan.cars, limits=limits)


def _thresholds(parameters: PolicyParameters) -> RuleThresholds:
    return RuleThresholds(
        parameters.grid_overload_percent,
        parameters.solar_high_percent,
        parameters.solar_medium_percent,
        parameters.battery_high_percent,
        {Action(name): kw for name, kw in parameters.power_kw.items()},
    )


def _describe(rule: Rule, _action: Action, power_kw: float) -> str:
    return f"{rule.value}, {power_kw:g} kW"
