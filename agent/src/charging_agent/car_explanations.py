"""Puts what a record says of the chargers into plain sentences, from the record alone.

Pure.
"""

from charging_agent.chargers.fleet import car_name
from charging_agent.ledger.charging_records import CommandRecord, LateRecord, PlanRecord, ResultRecord
from charging_agent.ledger.records import Record
from ev_service.charging import LimitOutcome
from ev_service.units import utc_text


def cars_explained(record: Record) -> list[str]:
    """One sentence for each limit that was planned, taken back or set; none for a record without chargers."""
    plan = [] if record.plan is None else _planned(record.plan)
    late = [] if record.late is None else _late(record.late)
    return plan + late + ([] if record.commanded is None else _commanded(record.commanded))


def _planned(plan: PlanRecord) -> list[str]:
    room = f"{len(plan.cars)} cars shared {plan.room.total_kw:.1f} kW, each at most {plan.room.ceiling_kw:g} kW."
    told = [
        f"{car_name(one.key)}: {one.limit_a:g} A{f' (limited by {one.limited_by.value})' if one.limited_by else ''}."
        for one in plan.allotments
    ]
    taken = [
        f"{car_name(clamp.key)}: the guard gave {clamp.given_a:g} A "
        f"{'where none was planned' if clamp.asked_a is None else f'of {clamp.asked_a:g} A'} "
        f"(limited by {clamp.limited_by.value})."
        for clamp in plan.clamps
    ]
    return ["All cars pause." if plan.room.pauses else room, *told, *taken]


def _late(late: LateRecord) -> list[str]:
    why = f"Recorded late ({late.reason}): each car was sent the lower of plan and limit in force, or 0"
    sent = [
        f"{car_name(one.car)}: sent {one.limit_a:g} A (planned {one.planned_a:g} A, in force {one.in_force_a:g} A)."
        for one in late.limits
    ]
    return [f"{why}, until {utc_text(late.valid_until)}.", *sent]


def _commanded(commanded: CommandRecord) -> list[str]:
    source = "no recorded decision" if commanded.decision_id is None else f"decision {commanded.decision_id}"
    first = f"Limits of {source}, tried at {utc_text(commanded.at)}: {commanded.outcome}."
    return [first, *(_said(result) for result in commanded.results if result.outcome is not LimitOutcome.APPLIED)]


def _said(result: ResultRecord) -> str:
    came_of_it = "no answer" if result.outcome is None else result.outcome.value
    limited = f" (limited by {result.limited_by})" if result.limited_by else ""
    return f"{car_name(result.car)}: asked {result.asked_a:g} A, {came_of_it}{limited}."
