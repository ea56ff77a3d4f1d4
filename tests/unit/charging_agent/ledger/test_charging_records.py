"""What is planned and commanded stands in the record, and can be shared again from it alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.charging_agent.ledger.conftest import NOON, made_from, maker, observation

from charging_agent.charging.charger_api import CommandResult, LoweredLimit, LoweredLimits, RoundSnapshot
from charging_agent.charging.fleet import Fleet
from charging_agent.charging.meter_checks import Alarms
from charging_agent.charging.planning import ChargingPlan, Headroom, make_plan
from charging_agent.charging.sharing import Allotment, Car, CarKey, Memory, SharingPolicy, SiteRoom
from charging_agent.charging.surplus import Surplus
from charging_agent.decision.explanations import explain_record
from charging_agent.ledger.canonical import canonicalize
from charging_agent.ledger.keys import SigningKey, generate_key
from charging_agent.ledger.ledger_reader import StoredRecord
from charging_agent.ledger.record_signing import ChainHead, DecisionDraft, sign_record
from charging_agent.ledger.records import SignedRecord, members_since_format_1
from charging_agent.ledger.replay import replay_record
from charging_agent.ledger.verification import verify
from charging_agent.readings.assessment import AssessedReading, Status
from ev_service.charging import ChargingMode, LimitOutcome, LimitResult

KEY, BY = generate_key(), maker()
HEADROOM = Headroom(85.0, 100.0, 61.0, 22.08, 0.0)


def plan_of(
    cars: tuple[Car, ...],
    *,
    ceiling_kw: float = 22.0,
    ceilings_kw: Mapping[CarKey, float] | None = None,
    memory: Memory | None = None,
    at: datetime = NOON,
    pauses: bool = False,
) -> ChargingPlan:
    phase_a = HEADROOM.total_kw * 1000 / 690
    room = SiteRoom(
        HEADROOM.total_kw,
        (phase_a,) * 3,
        {"main": (125.0,) * 3},
        230.0,
        ceiling_kw,
        pauses,
        tuple((ceilings_kw or {}).items()),
    )
    return make_plan(Fleet(cars, (("CP-9", 1),), ()), room, HEADROOM, memory or Memory.initial(), at, SharingPolicy())


def made_with(plan: ChargingPlan | None, commanded: CommandResult | None = None) -> DecisionDraft:
    noted = RoundSnapshot(AssessedReading(Status.MISSING), Alarms(overdrawing=(("CP-1", 1),)), plan, commanded)
    return replace(made_from(observation()), charging=noted)


def car(number: int = 1, **changes: Any) -> Car:
    told: dict[str, Any] = {"phases": (1, 2, 3), "max_a": 32.0, "limit_a": 6.0, "drawn_a": (6.0,) * 3}
    return Car(key=(f"CP-{number}", 1), **(told | changes))


def sealed_record(made: DecisionDraft) -> dict[str, Any]:
    return json.loads(sign_record(made, [], ChainHead(), BY, KEY).record)


@settings(max_examples=30)
@given(
    limits=st.lists(st.one_of(st.just(0.0), st.floats(6, 32)), max_size=4),
    ceiling_kw=st.sampled_from([5.0, 11.0, 22.0]),
    since_s=st.integers(0, 2000),
)
def test_every_plan_comes_out_the_same(limits: list[float], ceiling_kw: float, since_s: int) -> None:
    cars = tuple(
        car(number, limit_a=limit_a, drawn_a=None if number % 2 else (limit_a,) * 3, departure=NOON)
        for number, limit_a in enumerate(limits)
    )
    before = plan_of(cars, at=NOON - timedelta(seconds=since_s))
    made = made_with(plan_of(cars, ceiling_kw=ceiling_kw, memory=before.after))
    # The decision of this observation allows 22 kW; another ceiling would be that of another one.
    decision = replace(made.decision, charging_power_kw=ceiling_kw)
    made = replace(made, outcome=replace(made.outcome, decision=decision))

    difference = replay_record(sign_record(made, [], ChainHead(), BY, KEY).record)

    assert difference is None if ceiling_kw == 22.0 else difference is not None and "22 kW" in difference.what


def test_a_plan_by_measured_phases_comes_out_the_same() -> None:
    headroom = Headroom(85.0, 100.0, 61.0, 22.08, 0.0, (150.0, 80.0, 35.2), (32.0, 32.0, 32.0))
    phase_a = tuple(headroom.free_a(phase, 3, 230.0) for phase in (1, 2, 3))
    room = SiteRoom(headroom.total_kw, phase_a, {"main": (125.0,) * 3}, 230.0, 22.0)
    cars = (car(1, limit_a=16.0), car(2, phases=(2,), limit_a=16.0), car(3, phases=(1,), limit_a=0.0))
    plan = make_plan(Fleet(cars, (), ()), room, headroom, Memory.initial(), NOON, SharingPolicy())

    record = sealed_record(made_with(plan))

    assert phase_a[0] == pytest.approx(5.19, abs=0.01)
    assert record["plan"]["headroom"]["current_a"] == [150, 80, 35.2]
    assert replay_record(json.dumps(record)) is None


def test_a_plan_from_before_phases_were_measured_comes_out_the_same() -> None:
    record = sealed_record(made_with(plan_of((car(),))))
    del record["plan"]["headroom"]["current_a"], record["plan"]["headroom"]["charging_a"]

    assert replay_record(json.dumps(record)) is None


def test_a_plan_of_cars_on_surplus_comes_out_the_same() -> None:
    record = sealed_record(made_with(_surplus_plan()))

    assert record["plan"]["cars"][0]["mode"] == "surplus"
    assert record["plan"]["headroom"]["surplus"]["export_kw"] == 4
    assert replay_record(json.dumps(record)) is None


def test_a_record_whose_surplus_was_not_measured_so_does_not_fit_together() -> None:
    record = sealed_record(made_with(_surplus_plan()))
    record["plan"]["headroom"]["surplus"]["charging_kw"] = 1

    difference = replay_record(json.dumps(record))

    assert difference is not None
    assert "the headroom gives 5 kW of surplus, the room says 10.9 kW" in str(difference)


def test_a_plan_from_before_there_was_a_surplus_comes_out_the_same() -> None:
    record = sealed_record(made_with(plan_of((car(),))))
    plan = record["plan"]
    for part, names in (
        (plan["cars"][0], ("mode",)),
        (plan["headroom"], ("surplus",)),
        (plan["room"], ("surplus_kw",)),
        (plan["memory"], ("surplus_at",)),
        (plan["policy"], ("surplus_start_s", "surplus_stop_s", "surplus_settle_s", "surplus_hysteresis_kw")),
    ):
        for name in names:
            del part[name]

    assert replay_record(json.dumps(record)) is None


def _surplus_plan() -> ChargingPlan:
    headroom = replace(HEADROOM, surplus=Surplus(export_kw=4.0, import_kw=0.0, charging_kw=6.9))
    phase_a = (headroom.total_kw * 1000 / 690,) * 3
    room = SiteRoom(headroom.total_kw, phase_a, {"main": (125.0,) * 3}, 230.0, 22.0, surplus_kw=headroom.surplus_kw)
    cars = (car(mode=ChargingMode.SURPLUS, limit_a=10.0, drawn_a=(10.0,) * 3), car(2, mode=ChargingMode.FAST))
    before = make_plan(
        Fleet(cars, (), ()), room, headroom, Memory.initial(), NOON - timedelta(hours=1), SharingPolicy()
    )
    return make_plan(Fleet(cars, (), ()), room, headroom, before.after, NOON, SharingPolicy())


def _allotment(record: dict[str, Any]) -> None:
    record["plan"]["allotments"][0]["limit_a"] = 31


def _room(record: dict[str, Any]) -> None:
    record["plan"]["room"]["total_kw"] = 90


def _phase(record: dict[str, Any]) -> None:
    record["plan"]["headroom"]["current_a"], record["plan"]["headroom"]["charging_a"] = [90, 20, 20], [0, 0, 0]


def _phases(record: dict[str, Any]) -> None:
    record["plan"]["headroom"]["current_a"] = [20, 20]


def _ceiling(record: dict[str, Any]) -> None:
    record["plan"]["room"]["ceiling_kw"] = 50


def _version(record: dict[str, Any]) -> None:
    record["plan"]["version"] = "0"
    record["plan"]["allotments"][0]["limit_a"] = 31


def _headroom(record: dict[str, Any]) -> None:
    record["plan"]["headroom"] = None


def _memory(record: dict[str, Any]) -> None:
    record["plan"]["memory"]["cars"] = []


@pytest.mark.parametrize(
    ("change", "cause", "words"),
    [
        (_allotment, "code", "CP-1/1 recorded 31 A, shared again"),
        (_version, "policy", "shared by version 0"),
        (_room, "data", "the room says 90 kW"),
        (_phase, "data", "the headroom gives 33.1884 A on L1, the room says"),
        (_phases, "data", "the headroom is of another number of phases"),
        (_ceiling, "data", "the plan's ceiling is 50 kW, the decision's 22 kW"),
        (_headroom, "data", "does not say how its room was reckoned"),
        (_memory, "code", "CP-1/1 recorded"),
    ],
)
def test_what_differs_in_a_plan_is_named(change: Callable[[dict[str, Any]], None], cause: str, words: str) -> None:
    # It was stopped a moment ago, so it may not start yet: without that memory it would.
    stopped = plan_of((car(is_charging=True),), at=NOON - timedelta(seconds=10), pauses=True)
    record = sealed_record(made_with(plan_of((car(limit_a=0.0, drawn_a=(0.0,) * 3),), memory=stopped.after)))
    assert replay_record(json.dumps(record)) is None
    change(record)

    difference = replay_record(json.dumps(record))

    assert difference is not None
    assert (difference.cause, words in difference.what) == (cause, True)


def test_a_record_says_what_came_of_each_limit_and_which_had_no_answer() -> None:
    asked = (Allotment(("CP-1", 1), 16.0), Allotment(("CP-2", 1), 0.0))
    result = LimitResult(
        charger_id="CP-1", evse_id=1, outcome=LimitOutcome.PARTLY_APPLIED, limit_a=10.0, limited_by="feeder_limit"
    )
    commanded = CommandResult(NOON, "d-1", "timeout", NOON + timedelta(seconds=45), asked, (result,))

    entry = sign_record(made_with(None, commanded), [], ChainHead(), BY, KEY).entry

    told = entry.record.commanded
    assert told is not None
    assert [(one.outcome, one.limit_a, one.limited_by) for one in told.results] == [
        (LimitOutcome.PARTLY_APPLIED, 10.0, "feeder_limit"),
        (None, None, None),
    ]
    assert explain_record(entry).cars == [
        "Limits of decision d-1, tried at 2026-06-21T12:00:00Z: timeout.",
        "CP-1/1: asked 16 A, partly_applied (limited by feeder_limit).",
        "CP-2/1: asked 0 A, no answer.",
    ]


def of_format(form: int, key: SigningKey, made: DecisionDraft) -> SignedRecord:
    """A record as it was written before chargers (1) or what was sent without a record (2) were recorded."""
    later = set(members_since_format_1(None)) - set(members_since_format_1(form))
    record = {name: value for name, value in sealed_record(made).items() if name not in later}
    text = canonicalize(record | {"format": form, "key_id": key.key_id})
    digest = hashlib.sha256(text).hexdigest()
    return SignedRecord(text.decode(), digest, key.sign(digest))


def build_stored_record(number: int, sealed: SignedRecord) -> StoredRecord:
    return StoredRecord(f"line {number}", sealed.record, sealed.sha256, sealed.signature)


def test_records_of_before_are_read_verified_and_replayed_and_the_chain_goes_on_with_new_ones() -> None:
    first = of_format(1, KEY, made_from(observation()))
    second = sign_record(made_with(plan_of((car(),))), [], ChainHead(1, first.sha256), BY, KEY)

    verified = verify([build_stored_record(1, first), build_stored_record(2, second)], {KEY.key_id: KEY.public})

    assert (verified.broken, len(verified.records)) == (None, 2)
    assert replay_record(first.record) is None
    assert (first.entry.record.format, first.entry.record.plan) == (1, None)
    assert explain_record(first.entry).cars == []


def test_records_without_late_limits_are_read_verified_and_replayed() -> None:
    sealed = of_format(2, KEY, made_with(plan_of((car(),))))

    verified = verify([build_stored_record(1, sealed)], {KEY.key_id: KEY.public})

    assert verified.broken is None
    assert replay_record(sealed.record) is None
    assert (sealed.entry.record.format, sealed.entry.record.late) == (2, None)


def late_record(sent_a: float | None = None) -> dict[str, Any]:
    """A record of a plan of which something was sent before it was recorded."""
    plan = plan_of((car(limit_a=10.0, drawn_a=(10.0,) * 3),))
    limit = LoweredLimit(("CP-1", 1), plan.allotments[0].limit_a, in_force_a=8.0, phases=None)
    made = made_with(plan)
    record = sealed_record(replace(made, late=LoweredLimits("disk is full", NOON + timedelta(seconds=45), (limit,))))
    if sent_a is not None:
        record["late"]["limits"][0]["limit_a"] = sent_a
    return record


def test_a_late_record_says_what_was_sent_and_replays() -> None:
    record = late_record()

    assert (record["format"], record["late"]["limits"][0]["limit_a"]) == (4, 8)
    assert replay_record(json.dumps(record)) is None


def test_a_late_record_of_more_than_was_in_force_is_named() -> None:
    difference = replay_record(json.dumps(late_record(sent_a=12.0)))

    assert difference is not None
    assert (difference.cause, "CP-1/1 was sent 12 A without a record, 8 A may have been" in difference.what) == (
        "data",
        True,
    )


def test_a_late_record_is_explained() -> None:
    plan = plan_of((car(limit_a=10.0, drawn_a=(10.0,) * 3),))
    limit = LoweredLimit(("CP-1", 1), 12.0, in_force_a=10.0, phases=None)
    late = LoweredLimits("disk is full", NOON + timedelta(seconds=45), (limit,))

    told = explain_record(sign_record(replace(made_with(plan), late=late), [], ChainHead(), BY, KEY).entry).cars

    assert any(line.startswith("Recorded late (disk is full): each car was sent the lower of plan") for line in told)
    assert "CP-1/1: sent 10 A (planned 12 A, in force 10 A)." in told


@pytest.mark.parametrize(
    ("planned_a", "in_force_a", "limit_a"),
    [(16.0, 10.0, 10.0), (10.0, 16.0, 10.0), (16.0, 3.0, 0.0), (0.0, 16.0, 0.0), (16.0, float("nan"), 0.0)],
)
def test_what_is_sent_without_a_record_is_the_lower_of_both_and_no_current_that_no_car_takes(
    planned_a: float, in_force_a: float, limit_a: float
) -> None:
    assert LoweredLimit(("CP-1", 1), planned_a, in_force_a, None).limit_a == limit_a


@pytest.mark.parametrize("missing", members_since_format_1(None))
def test_a_new_record_without_what_it_must_hold_is_broken(missing: str) -> None:
    record = sealed_record(made_with(None))
    del record[missing]
    text = canonicalize(record)
    digest = hashlib.sha256(text).hexdigest()

    verified = verify(
        [build_stored_record(1, SignedRecord(text.decode(), digest, KEY.sign(digest)))], {KEY.key_id: KEY.public}
    )
    difference = replay_record(text)

    assert verified.broken is not None
    assert missing in verified.broken.what
    assert difference is not None
    assert difference.cause == "data"
