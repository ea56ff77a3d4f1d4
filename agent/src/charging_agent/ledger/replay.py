"""Decides once more, from what a record says was known, by the policy that it names.

Pure: is given records; the rules are those of this code.
"""

import json

from pydantic import ValidationError

from charging_agent.decision.rules import RULES_VERSION, Action, Decision, Known, Policy, decide, explain, guard
from charging_agent.ledger.plan_replay import Difference, replay_plan
from charging_agent.ledger.record_signing import find_clamps
from charging_agent.ledger.records import Input, PolicyParameters, Record
from charging_agent.ledger.verification import find_wrong_digest
from charging_agent.readings.assessment import AgeLimits, Status, assess_reading
from ev_service.telemetry import Reading


def replay_record(line: str | bytes) -> Difference | None:
    """Decide again from one record; None when everything comes out the same."""
    try:
        record = Record.model_validate_json(line)
    except ValidationError as error:
        return Difference(0, "data", f"no record of format 1 to 3 ({error.error_count()} fields are wrong)")
    wrong = find_wrong_digest(json.loads(line)) or _data(record)
    if wrong is not None:
        return Difference(record.sequence, "data", wrong)
    outcome = _outcome(record)
    if outcome is None:
        return replay_plan(record)
    if (record.policy.name, record.policy.version) != ("rules", RULES_VERSION):
        named = f"decided by {record.policy.name} version {record.policy.version}, this code has rules {RULES_VERSION}"
        return Difference(record.sequence, "policy", f"{named}: {outcome}")
    return Difference(record.sequence, "code", f"agent {record.agent_version} wrote it: {outcome}")


def _data(record: Record) -> str | None:
    parameters, inputs = record.policy.parameters, record.inputs
    ages = AgeLimits(parameters.max_age_s, parameters.stale_limit_s)
    for name, known, reading in (
        ("solar", inputs.solar, inputs.solar.reading),
        ("battery", inputs.battery, inputs.battery.reading),
        ("grid", inputs.grid, inputs.grid.reading),
    ):
        if reading is not None and (wrong := _status(record, known, reading, ages)) is not None:
            return f"{name}: {wrong}"
    return None


def _status(record: Record, known: Input, reading: Reading, ages: AgeLimits) -> str | None:
    is_new = known.status is Status.FRESH
    judged = assess_reading(reading, record.decided_at, ages, is_new=is_new, failure=known.error)
    if judged.status is not known.status or judged.age_s != known.age_s:
        return f"recorded as {known.status} at {known.age_s} s, its timestamp says {judged.status} at {judged.age_s} s"
    return None


def _outcome(record: Record) -> str | None:
    known = Known(record.inputs.solar.reading, record.inputs.battery.reading, record.inputs.grid.reading)
    policy = _policy(record.policy.parameters)
    proposed = decide(known, policy)
    decision = guard(proposed, known, policy)
    recorded = Decision(record.rule, record.action, record.charging_power_kw)
    if decision != recorded:
        return f"recorded {_words(recorded)}, decided again {_words(decision)}"
    if find_clamps(proposed, decision) != record.clamps:
        return "the clamps differ"
    reason = explain(decision, known, policy)
    return None if reason == record.reason else f"the reason differs, decided again: {reason}"


def _policy(parameters: PolicyParameters) -> Policy:
    return Policy(
        parameters.grid_overload_percent,
        parameters.solar_high_percent,
        parameters.solar_medium_percent,
        parameters.battery_high_percent,
        {Action(name): kw for name, kw in parameters.power_kw.items()},
    )


def _words(decision: Decision) -> str:
    return f"{decision.rule.value}, {decision.charging_power_kw:g} kW"
