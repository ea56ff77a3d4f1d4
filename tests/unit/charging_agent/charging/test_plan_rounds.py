"""The whole agent with AGENT_POLICY=plan: limits follow it, people can read it, and every bound stays above it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from charging_agent.decision import plan_policy
from charging_agent.ledger.ledger_reader import read_records
from charging_agent.ledger.replay import replay_record
from charging_agent.scheduling import SolverError
from ev_service.charging import Override

if TYPE_CHECKING:
    from tests.unit.charging_agent.charging.conftest import FakeChargers
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


@pytest.fixture
def planned(served: AgentApplication, chargers: FakeChargers) -> FakeChargers:
    """CP-1 needs full power until it leaves, CP-2 has until the evening."""
    served.settings |= {"policy": "plan"}
    now = served.clock.now()
    soon, late = chargers.places["CP-1"], chargers.places["CP-2"]
    soon.departure, soon.energy_wanted_kwh = now + timedelta(minutes=45), 14.0
    late.departure, late.energy_wanted_kwh = now + timedelta(hours=8), 21.0
    return chargers


async def test_limits_follow_the_plan_and_it_can_be_read_verified_and_replayed(
    served: AgentApplication, planned: FakeChargers, tmp_path: Path
) -> None:
    served.settings["state_dir"] = tmp_path
    planned.building_kw = 66.0
    async with served.client() as client:
        await planned.rounds(14)
        plan = (await client.get("/plan")).json()
        page = (await client.get("/")).text
        explained = (await client.get(f"/decisions/{plan['decision_id']}/explain")).json()

    # 85 kW less the building leave 19 kW: all of it for the one that is in a hurry.
    assert planned.in_force["CP-1"] > 20
    assert planned.in_force["CP-2"] < 7
    assert plan["policy"] == "plan"
    assert plan["rule_ceiling_kw"] == 22
    cars = {car["charger_id"]: car for car in plan["cars"]}
    assert set(cars) == {"CP-1", "CP-2"}
    assert cars["CP-1"]["powers"][0]["power_kw"] > 13
    assert all(car["shortfall_kwh"] < 0.1 for car in cars.values())
    assert "no prices" in plan["basis"][0].lower()
    assert "<h2>Plan</h2>" in page
    assert cars["CP-2"]["explanation"] in page
    assert "The policy plan version 1 proposed: By plan" in explained["policy"]
    records = list(read_records(tmp_path / "ledger.sqlite"))
    assert sum('"plan":{"basis"' in one.record for one in records) > 10
    assert [replay_record(one.record) for one in records] == [None] * len(records)


async def test_before_the_first_limits_there_is_no_plan(served: AgentApplication) -> None:
    async with served.client() as client:
        answer = await client.get("/plan")

    assert (answer.status_code, answer.json()["code"]) == (404, "no_plan_yet")


async def test_under_the_rules_the_answer_says_so(served: AgentApplication, chargers: FakeChargers) -> None:
    async with served.client() as client:
        await chargers.rounds(1)
        plan = (await client.get("/plan")).json()
        page = (await client.get("/")).text

    assert (plan["policy"], plan["cars"]) == ("rules", [])
    assert "<h2>Plan</h2>" not in page


async def test_above_85_percent_the_guard_pauses_whatever_was_planned(
    served: AgentApplication, planned: FakeChargers
) -> None:
    async with served.client() as client:
        await planned.rounds(3)
        planned.building_kw = 90.0
        await planned.rounds(2)
        plan = (await client.get("/plan")).json()

    assert planned.in_force == {"CP-1": 0.0, "CP-2": 0.0}
    assert plan["cars"] == []
    assert "charging pauses" in plan["reason"]


async def test_without_a_grid_reading_charging_fails_safe(served: AgentApplication, planned: FakeChargers) -> None:
    async with served.client():
        await planned.rounds(3)
        served.gateway.says("/grid/1.0.0/grid-load", 500)
        await planned.rounds(6)

    assert planned.in_force == {"CP-1": 0.0, "CP-2": 0.0}


async def test_while_an_operator_commands_the_plan_sends_nothing(
    served: AgentApplication, planned: FakeChargers
) -> None:
    async with served.client():
        await planned.rounds(2)
        until = served.clock.now() + timedelta(hours=1)
        ordered = Override(kind="fixed_power", charging_power_kw=3.0, until=until)
        planned.override = ordered.model_dump(mode="json", exclude_none=True)
        await planned.rounds(1)
        before = len(planned.commands)
        await planned.rounds(3)

    assert len(planned.commands) == before


async def test_an_operators_lower_limit_is_planned_within(served: AgentApplication, planned: FakeChargers) -> None:
    planned.site_limit_kw = 40.0
    async with served.client() as client:
        await planned.rounds(8)
        plan = (await client.get("/plan")).json()

    # 85 % of 40 kW less the building's 20 kW.
    assert sum(car["ceiling_kw"] for car in plan["cars"]) <= 14.0
    assert planned.drawn_kw <= 14.0


async def test_when_the_solver_gives_up_the_rules_go_on_and_say_so(
    served: AgentApplication, planned: FakeChargers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(*_: Any, **__: Any) -> None:
        raise SolverError("HiGHS: Iteration limit reached")

    async with served.client() as client:
        await planned.rounds(2)
        monkeypatch.setattr(plan_policy, "plan_charging", give_up)
        await planned.rounds(2)
        plan = (await client.get("/plan")).json()
        health = (await client.get("/health")).json()
        metrics = (await client.get("/metrics")).text

    assert (plan["policy"], plan["cars"]) == ("rules", [])
    assert "The rules decide in place of the policy plan" in plan["reason"]
    assert "Iteration limit" in health["warnings"]["policy"]
    assert "agent_policy_failures_total 2.0" in metrics
    assert len(planned.commands) >= 4
