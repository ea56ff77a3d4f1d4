"""Shares once more, from what a record says of cars, room and memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from charging_agent.charging.fleet import Fleet, car_name
from charging_agent.charging.planning import SHARING_VERSION, Headroom, make_plan
from charging_agent.charging.sharing import Allotment, SiteRoom
from charging_agent.ledger.charging_records import PlanRecord
from charging_agent.ledger.records import Record


@dataclass(frozen=True, slots=True)
class Difference:
    """Why a record does not come out as it stands.

    cause: `data` (what is recorded does not fit together), `policy` (its rules are of another version than those of
    this code), or `code` (the same rules by name, another outcome).
    """

    sequence: int
    cause: str
    what: str

    def __str__(self) -> str:
        return f"record {self.sequence}: {self.cause}: {self.what}"


def replay_plan(record: Record) -> Difference | None:
    """Share again from one record; None when the plan comes out the same, or there is none."""
    plan = record.plan
    if plan is None:
        return None
    wrong = _data(record, plan) or _late_data(record, plan)
    if wrong is not None:
        return Difference(record.sequence, "data", wrong)
    fleet, at = Fleet(plan.cars, plan.idle, ()), record.decided_at
    again = make_plan(fleet, plan.room, plan.headroom, plan.memory, at, plan.policy)
    if (again.allotments, again.clamps) == (plan.allotments, plan.clamps):
        return None
    what = _differing(plan.allotments, again.allotments) or "the plan's reasons differ"
    if plan.version != SHARING_VERSION:
        named = f"shared by version {plan.version}, this code has {SHARING_VERSION}"
        return Difference(record.sequence, "policy", f"{named}: {what}")
    return Difference(record.sequence, "code", f"agent {record.agent_version} wrote it: {what}")


def _differing(recorded: Sequence[Allotment], again: Sequence[Allotment]) -> str:
    now = {one.key: one.limit_a for one in again}
    return "; ".join(
        f"{car_name(one.key)} recorded {one.limit_a:g} A, shared again {now.get(one.key, 0.0):g} A"
        for one in recorded
        if one.limit_a != now.get(one.key)
    )


def _late_data(record: Record, plan: PlanRecord) -> str | None:
    """What was sent without a record may be no more than the plan and the limit in force."""
    if record.late is None:
        return None
    planned_a = {one.key: one.limit_a for one in plan.allotments}
    for one in record.late.limits:
        lower_a = min(planned_a.get(one.car, 0.0), one.in_force_a)
        if one.planned_a != planned_a.get(one.car, 0.0) or one.limit_a > lower_a:
            return f"{car_name(one.car)} was sent {one.limit_a:g} A without a record, {lower_a:g} A may have been"
    return None


def _data(record: Record, plan: PlanRecord) -> str | None:
    room, headroom = plan.room, plan.headroom
    if room.pauses:
        return None if room.ceiling_kw == 0 else "the plan pauses under a ceiling"
    if headroom is None:
        return "the plan does not say how its room was reckoned"
    if room.total_kw != headroom.total_kw:
        return f"the headroom gives {headroom.total_kw:g} kW, the room says {room.total_kw:g} kW"
    if room.surplus_kw != headroom.surplus_kw:
        return f"the headroom gives {headroom.surplus_kw:g} kW of surplus, the room says {room.surplus_kw:g} kW"
    if (wrong := _phases(room, headroom)) is not None:
        return wrong
    if room.highest_ceiling_kw != record.charging_power_kw:
        return f"the plan's ceiling is {room.highest_ceiling_kw:g} kW, the decision's {record.charging_power_kw:g} kW"
    return None


def _phases(room: SiteRoom, headroom: Headroom) -> str | None:
    phases = len(room.phase_a)
    if headroom.current_a is not None and not len(headroom.current_a) == len(headroom.charging_a) == phases:
        return "the headroom is of another number of phases than the room"
    for phase, room_a in enumerate(room.phase_a, start=1):
        free_a = headroom.free_a(phase, phases, room.voltage_v)
        if room_a > free_a:
            return f"the headroom gives {free_a:g} A on L{phase}, the room says {room_a:g} A"
    return None
