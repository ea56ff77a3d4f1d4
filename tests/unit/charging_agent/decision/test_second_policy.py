"""Another policy than the rules needs nothing but the protocol: the agent decides by it, its records replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue, ValidationError
from tests.unit.charging_agent.conftest import AgentApplication, World
from tests.unit.charging_agent.ledger.conftest import maker, observation
from tests.unit.charging_agent.ledger.test_charging_records import (
    HEADROOM,
    build_stored_record,
    car,
    made_with,
    plan_of,
)

from charging_agent.agent import Agent
from charging_agent.decision.explanations import explain_record
from charging_agent.decision.guard import PowerLimit
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.decision.policies import POLICIES
from charging_agent.decision.policy import Action, ConnectionLimits, DecisionInputs, Proposal, ScheduledPower
from charging_agent.decision.rules import Rule, RulePolicy
from charging_agent.ledger.keys import generate_key
from charging_agent.ledger.ledger_reader import read_records
from charging_agent.ledger.record_signing import ChainHead, RunMetadata, build_policy_record, sign_record
from charging_agent.ledger.records import SignedRecord
from charging_agent.ledger.replay import replay_record
from charging_agent.ledger.verification import verify
from charging_agent.readings.assessment import AgeLimits
from charging_agent.settings import AgentSettings
from charging_agent.web.schemas import build_decision_answer

KEY = generate_key()
pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True)
class EvenShares:
    """Gives each car an even part of what the connection leaves, and one car a plan for the next hour."""

    most_kw: float = 4.0

    name = "even"
    version = "3"

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        return {"most_kw": self.most_kw}

    def propose(self, inputs: DecisionInputs) -> Proposal:
        if inputs.limits is None or not inputs.cars:
            return Proposal(self.most_kw, f"{self.most_kw:g} kW for everybody.")
        share_kw = inputs.limits.free_kw / len(inputs.cars)
        first = inputs.cars[0].key
        hour = tuple(ScheduledPower(inputs.at + timedelta(minutes=15 * n), share_kw) for n in range(4))
        return Proposal(0.0, f"{share_kw:.1f} kW each.", {one.key: share_kw for one in inputs.cars}, {first: hour})


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, EvenShares.name, create_even_shares)


def create_even_shares(rules: RulePolicy, parameters: Mapping[str, JsonValue]) -> EvenShares:
    return EvenShares(float(str(parameters.get("most_kw", 4.0))))


def by(pipeline: DecisionPipeline) -> RunMetadata:
    return replace(maker(), policy=build_policy_record(pipeline, AgeLimits()))


def sealed_by(pipeline: DecisionPipeline, inputs: DecisionInputs | None = None, **changes: Any) -> SignedRecord:
    made = made_with(changes.pop("plan", None))
    outcome = pipeline.decide(inputs or made.observation.decision_inputs())
    return sign_record(replace(made, outcome=outcome, **changes), [], ChainHead(), by(pipeline), KEY)


async def test_the_agent_decides_by_it_and_the_answer_names_it(world: World) -> None:
    agent = Agent(world.observer, world.recorder, DecisionPipeline(EvenShares()), world.clock, period_s=15)

    told = build_decision_answer(await agent.decide_now(), "greensboro")

    assert (told.policy, told.charging_power_kw, told.action, told.limited_by) == ("even", 4.0, Action.SLOW, None)
    assert (told.rule, told.reason) == (Rule.SOLAR_AND_BATTERY_HIGH, "4 kW for everybody.")


async def test_the_guard_stands_above_it(world: World) -> None:
    world.gateway.gives("/grid/1.0.0/grid-load", load_percent=85.1)
    agent = Agent(world.observer, world.recorder, DecisionPipeline(EvenShares()), world.clock, period_s=15)

    told = build_decision_answer(await agent.decide_now(), "greensboro")

    assert (told.charging_power_kw, told.action, told.rule) == (0.0, Action.PAUSE, Rule.GRID_OVERLOAD)
    assert told.limited_by is PowerLimit.GRID_OVERLOAD
    assert told.reason == "4 kW for everybody. The guard allows 0 kW (limited by grid_overload)."


def test_its_records_verify_replay_and_are_explained() -> None:
    sealed = sealed_by(DecisionPipeline(EvenShares(3.5)))

    assert verify([build_stored_record(1, sealed)], {KEY.key_id: KEY.public}).broken is None
    assert replay_record(sealed.record) is None
    record = sealed.entry.record
    assert (record.policy.name, record.policy.version, record.policy.parameters.own) == ("even", "3", {"most_kw": 3.5})
    assert explain_record(sealed.entry).policy == (
        "The policy even version 3 proposed: 3.5 kW for everybody. "
        "Rule solar_and_battery_high applied: sun and battery were high."
    )


def test_a_plan_by_car_and_interval_is_recorded_and_replays() -> None:
    cars = (car(1), car(2))
    seen, limits = observation(), ConnectionLimits(HEADROOM.limit_kw, HEADROOM.total_kw)
    inputs = replace(seen.decision_inputs(), cars=cars, limits=limits)
    pipeline = DecisionPipeline(EvenShares())
    decision = pipeline.decide(inputs).decision
    plan = plan_of(cars, ceilings_kw=decision.evse_ceilings_kw, ceiling_kw=0.0)

    sealed = sealed_by(pipeline, inputs, plan=plan)

    record = sealed.entry.record
    assert record.proposal is not None
    share_kw = HEADROOM.total_kw / 2
    assert [one.ceiling_kw for one in record.proposal.evse_ceilings] == [share_kw, share_kw]
    assert len(record.proposal.schedule) == 4
    assert record.charging_power_kw == decision.ceiling_of(("CP-2", 1)) == pytest.approx(min(share_kw, 22.0))
    assert all(one.limit_a * 0.69 <= share_kw for one in plan.allotments)
    assert replay_record(sealed.record) is None


async def test_one_entry_makes_it_a_setting_whose_decisions_replay(tmp_path: Path) -> None:
    agent = AgentApplication(policy="even", state_dir=tmp_path)

    async with agent.client() as client:
        answer = (await client.get("/optimize-charging")).json()

    assert (answer["policy"], answer["charging_power_kw"]) == ("even", 4.0)
    records = list(read_records(tmp_path / "ledger.sqlite"))
    assert records
    assert [replay_record(one.record) for one in records] == [None] * len(records)


def test_an_unknown_policy_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValidationError, match="no such policy; known are: rules, plan, even"):
        AgentSettings(policy="cheapest")


def test_a_record_of_a_policy_that_this_code_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(POLICIES, EvenShares.name)

    difference = replay_record(sealed_by(DecisionPipeline(EvenShares())).record)

    assert difference is not None
    assert difference.cause == "policy"
    assert "decided by even version 3, this code has rules 1" in difference.what


@pytest.mark.parametrize("power_kw", [float("nan"), float("inf"), -1.0])
def test_a_power_that_is_none_is_recorded_as_null_and_replays(power_kw: float, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reckless(EvenShares):
        def propose(self, inputs: DecisionInputs) -> Proposal:
            return Proposal(power_kw, "As much as there is.")

    monkeypatch.setitem(POLICIES, EvenShares.name, lambda rules, parameters: Reckless())
    sealed = sealed_by(DecisionPipeline(Reckless()))

    record = sealed.entry.record
    assert (record.charging_power_kw, record.limited_by) == (0, "invalid_power")
    assert replay_record(sealed.record) is None
    assert "The guard allowed 0 kW of" in explain_record(sealed.entry).policy


def test_where_it_fails_the_rules_decide_and_the_record_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FailingPolicy(EvenShares):
        def propose(self, inputs: DecisionInputs) -> Proposal:
            raise ValueError("no solution")

    monkeypatch.setitem(POLICIES, EvenShares.name, lambda rules, parameters: FailingPolicy())
    sealed = sealed_by(DecisionPipeline(FailingPolicy()))

    record = sealed.entry.record
    assert record.proposal is not None
    assert (record.policy.name, record.proposal.policy, record.charging_power_kw) == ("even", "rules", 22)
    assert replay_record(sealed.record) is None
    assert "policy failed, the rules decide" in caplog.text
    assert explain_record(sealed.entry).policy.startswith(
        "The policy even version 3 failed; rule solar_and_battery_high"
    )
