"""Puts a recorded decision into plain sentences, from its record alone."""

from typing import Any

from charging_agent.charging.fleet import car_name
from charging_agent.decision.rules import RULES, RulePolicy
from charging_agent.gateway.calls import OK
from charging_agent.ledger.charging_records import CommandRecord, LateRecord, PlanRecord, ResultRecord
from charging_agent.ledger.records import CallRecord, Clamp, Entry, Input, PolicyParameters, Record
from charging_agent.readings.apis import BATTERY, GRID, SOLAR, SOURCES, ReadingSource
from charging_agent.readings.assessment import Status
from charging_agent.web.schemas import Explanation
from ev_service.charging import LimitOutcome
from ev_service.telemetry import BatteryStatus, GridLoad, Reading, SolarStatus
from ev_service.units import utc_text


def cars_explained(record: Record) -> list[str]:
    """One sentence for each limit that was planned, taken back or set; none for a record without chargers."""
    plan = [] if record.plan is None else _explain_plan(record.plan)
    late = [] if record.late is None else _late(record.late)
    return plan + late + ([] if record.commanded is None else _explain_command(record.commanded))


def _explain_plan(plan: PlanRecord) -> list[str]:
    room = f"{len(plan.cars)} cars shared {plan.room.total_kw:.1f} kW, each at most {plan.room.ceiling_kw:g} kW."
    given = [
        f"{car_name(one.key)}: {one.limit_a:g} A{f' (limited by {one.limited_by.value})' if one.limited_by else ''}."
        for one in plan.allotments
    ]
    taken = [
        f"{car_name(clamp.key)}: the guard gave {clamp.given_a:g} A "
        f"{'where none was planned' if clamp.asked_a is None else f'of {clamp.asked_a:g} A'} "
        f"(limited by {clamp.limited_by.value})."
        for clamp in plan.clamps
    ]
    return ["All cars pause." if plan.room.pauses else room, *given, *taken]


def _late(late: LateRecord) -> list[str]:
    why = f"Recorded late ({late.reason}): each car was sent the lower of plan and limit in force, or 0"
    sent = [
        f"{car_name(one.car)}: sent {one.limit_a:g} A (planned {one.planned_a:g} A, in force {one.in_force_a:g} A)."
        for one in late.limits
    ]
    return [f"{why}, until {utc_text(late.valid_until)}.", *sent]


def _explain_command(commanded: CommandRecord) -> list[str]:
    source = "no recorded decision" if commanded.decision_id is None else f"decision {commanded.decision_id}"
    first = f"Limits of {source}, tried at {utc_text(commanded.at)}: {commanded.outcome}."
    return [
        first,
        *(_explain_result(result) for result in commanded.results if result.outcome is not LimitOutcome.APPLIED),
    ]


def _explain_result(result: ResultRecord) -> str:
    came_of_it = "no answer" if result.outcome is None else result.outcome.value
    limited = f" (limited by {result.limited_by})" if result.limited_by else ""
    return f"{car_name(result.car)}: asked {result.asked_a:g} A, {came_of_it}{limited}."


_BECAUSE = {one.rule: one.because for one in RULES}


def explain_record(entry: Entry) -> Explanation:
    """Explain one recorded decision."""
    record = entry.record
    known, parameters = record.inputs.by_source(), record.policy.parameters
    return Explanation(
        decision_id=record.decision_id,
        decided_at=record.decided_at,
        summary=f"{record.action.value}, {record.charging_power_kw:g} kW for each charging point. {record.reason}",
        readings=[
            _describe_known(source, known[source.subject], parameters) for source in SOURCES if source.subject in known
        ],
        calls=[_call(call) for call in record.calls],
        cars=cars_explained(record),
        policy=_describe_policy(record),
        record=f"Record {record.sequence}, SHA-256 {entry.sha256}, signed by key {record.key_id}.",
    )


def _describe_known(source: ReadingSource[Any], known: Input, parameters: PolicyParameters) -> str:
    name = source.subject.capitalize()
    if known.reading is None:
        return f"{name}: missing ({known.error or 'no reading'}); {_WITHOUT.get(source.subject, 'decided without it')}."
    age = f"{max(0.0, known.age_s or 0.0):.1f} s old"
    because = f" ({known.error}) but counted" if known.status is Status.STALE else ""
    return f"{name}: {_describe_value(source, known.reading, parameters)}; {known.status.value}{because}, {age}."


_WITHOUT = {
    SOLAR.subject: "counted as low",
    BATTERY.subject: "counted as not high",
    GRID.subject: "charging pauses without it",
}
"""What the rules do without a reading that they use."""


def _describe_value(source: ReadingSource[Any], reading: Reading, parameters: PolicyParameters) -> str:
    match reading:
        case SolarStatus():
            share = f"{reading.generation_kw:g} kW of {reading.capacity_kwp:g} kWp"
            percent = 100 * reading.generation_kw / reading.capacity_kwp
            medium, high = parameters.solar_medium_percent, parameters.solar_high_percent
            return f"{share}, {percent:.1f} % (medium from {medium:g} %, high from {high:g} %)"
        case BatteryStatus():
            return f"{reading.soc_percent:g} % charged (high from {parameters.battery_high_percent:g} %)"
        case GridLoad():
            limit = f"above {parameters.grid_overload_percent:g} % pauses"
            return f"load {reading.load_percent:g} % of the limit ({limit})"
        case _:
            return ", ".join(f"{name} {getattr(reading, name)}" for name in source.shown)


def _call(call: CallRecord) -> str:
    answered = "no answer" if call.status is None else str(call.status)
    came_of_it = "ok" if call.outcome == OK else f"{call.outcome}, code {call.code}" if call.code else call.outcome
    return f"{utc_text(call.at)} {call.api} {call.resource}: {answered} ({came_of_it}), id {call.correlation_id}."


def _describe_policy(record: Record) -> str:
    policy, proposal, because = record.policy, record.proposal, _BECAUSE[record.rule]
    named = f"policy {policy.name} version {policy.version}"
    if policy.name == RulePolicy.name:
        decided = f"Rule {record.rule.value} of {named} decided: {because}."
    elif proposal is None or proposal.policy != policy.name:
        decided = f"The {named} failed; rule {record.rule.value} decided: {because}."
    else:
        decided = f"The {named} proposed: {proposal.reason} Rule {record.rule.value} applied: {because}."
    return decided + "".join(_describe_clamp(clamp) for clamp in record.clamps)


def _describe_clamp(clamp: Clamp) -> str:
    proposed = "a power that is not finite" if clamp.proposed_kw is None else f"{clamp.proposed_kw:g} kW"
    at = "" if clamp.evse is None else f" at {car_name(clamp.evse)}"
    return f" The guard allowed {clamp.allowed_kw:g} kW of {proposed}{at} (limited by {clamp.limited_by})."
