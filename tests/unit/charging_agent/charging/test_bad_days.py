"""What the agent does when chargers cannot be read, cars do not obey, or a plan is wrong."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from charging_agent.charging import controller
from charging_agent.charging.charger_api import CHARGERS
from charging_agent.charging.sharing import AllocationResult, Allotment, Memory
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.charging.conftest import FakeChargers
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


async def test_cars_that_can_not_be_seen_any_more_get_no_more_than_they_had_and_soon_nothing_is_commanded(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    async with served.client() as client:
        await chargers.rounds(2)
        last = {limit["charger_id"]: limit["limit_a"] for limit in chargers.commands[-1]["limits"]}
        served.gateway.refuses(CHARGERS.path, codes.SUBSCRIPTION_BLOCKED)
        before = len(chargers.commands)
        await chargers.rounds(3)
        blind = [limit for command in chargers.commands[before:] for limit in command["limits"]]
        await chargers.rounds(2)
        commands = len(chargers.commands)
        await chargers.rounds(3)
        told = (await client.get("/site-status")).json()["chargers"]
        decision = (await client.get("/optimize-charging")).json()

    # Within the ramp they would have risen.
    assert 6 < last["CP-1"] < 32
    assert blind
    assert all(limit["limit_a"] <= last[limit["charger_id"]] for limit in blind)
    assert len(chargers.commands) == commands
    assert chargers.in_force == {"CP-1": 6.0, "CP-2": 6.0}
    assert (told["status"], told["error"]) == ("missing", "blocked")
    assert (decision["action"], decision["degraded"]) == ("fast", False)


@pytest.mark.parametrize("back_s", [20, 3600])
async def test_what_was_read_before_the_clock_was_set_back_is_commanded_by_no_longer(
    served: AgentApplication, chargers: FakeChargers, back_s: float
) -> None:
    async with served.client() as client:
        await chargers.rounds(2)
        served.gateway.refuses(CHARGERS.path, codes.SUBSCRIPTION_BLOCKED)
        served.clock.set_back(back_s)
        before = len(chargers.commands)
        await chargers.rounds(4)
        told = (await client.get("/site-status")).json()["chargers"]

    assert len(chargers.commands) == before
    assert told["status"] == "missing"


async def test_after_the_clock_was_set_back_what_cars_draw_is_known_again_at_once(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    chargers.building_kw = 50.0
    async with served.client():
        await chargers.rounds(6)
        before = chargers.drawn_kw
        served.clock.set_back(3600)
        await chargers.rounds(8)

    assert chargers.building_kw + chargers.drawn_kw <= 85
    assert chargers.drawn_kw >= before - 1


async def test_a_meter_value_from_before_the_clock_was_set_back_says_nothing_of_now(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    chargers.building_kw = 50.0
    async with served.client():
        await chargers.rounds(5)
        chargers.places["CP-1"].is_metered = False
        served.clock.set_back(3600)
        await chargers.rounds(6)

    assert chargers.in_force["CP-1"] <= 6
    assert chargers.in_force["CP-2"] > 6


async def test_an_operators_stop_holds_the_agent_back_until_both_clocks_have_passed_its_end(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    until = served.clock.now() + timedelta(seconds=600)
    chargers.override = {"kind": "stop", "until": until.isoformat()}
    async with served.client():
        await chargers.first_round()
        served.clock.set_wall(until + timedelta(seconds=5))
        await chargers.rounds(1)

    assert chargers.commands == []


async def test_a_pause_reaches_also_cars_that_can_not_be_seen_any_more(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    async with served.client():
        await chargers.first_round()
        served.gateway.refuses(CHARGERS.path, codes.CONNECTION_FAILED)
        chargers.building_kw = 90.0
        await chargers.rounds(6)

    assert {limit["limit_a"] for limit in chargers.commands[-1]["limits"]} == {0}
    assert chargers.drawn_kw == 0


async def test_a_car_that_draws_more_than_it_may_is_alarmed_in_log_metrics_and_page_and_the_others_make_room(
    served: AgentApplication, chargers: FakeChargers, caplog: pytest.LogCaptureFixture
) -> None:
    chargers.building_kw = 60.0
    chargers.places["CP-1"].obeys = False
    async with served.client() as client:
        logging.getLogger().addHandler(caplog.handler)
        await chargers.rounds(6)
        metrics = (await client.get("/metrics")).text
        told = (await client.get("/site-status")).json()["chargers"]
        page = (await client.get("/")).text

    assert told["overdrawing"] == ["CP-1/1"]
    assert "agent_cars_overdrawing 1.0" in metrics
    assert "CP-1/1 draws more than its limit" in page
    assert [record.getMessage() for record in caplog.records].count("car above its limit") == 1
    # 60 kW and 22.08 kW leave nothing worth starting for.
    assert chargers.building_kw + chargers.drawn_kw <= 85


async def test_a_car_that_draws_without_a_session_is_shown_and_commanded_nothing(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    chargers.places["CP-1"].has_session = False
    async with served.client() as client:
        await chargers.rounds(2)
        told = (await client.get("/site-status")).json()["chargers"]
        page = (await client.get("/")).text

    drawing = next(car for car in told["cars"] if car["charger_id"] == "CP-1")
    assert (drawing["draws_without_session"], drawing["limit_a"]) == (True, 6.0)
    assert told["drawn_kw"] == pytest.approx(sum(car["power_kw"] for car in told["cars"]))
    assert all(limit["charger_id"] != "CP-1" or limit["limit_a"] == 0 for limit in chargers.commands[-1]["limits"])
    assert "CP-1/1 draws power without a session" in page


async def test_a_car_whose_meter_is_lost_is_alarmed_and_held_at_the_least_current(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    chargers.building_kw = 40.0
    for place in chargers.places.values():
        # What is drawn before the agent begins is not confirmed and would be left free.
        place.fallback_a = 0.0
    async with served.client() as client:
        await chargers.rounds(3)
        for place in chargers.places.values():
            place.is_metered = False
        await chargers.rounds(9)
        stopped = chargers.in_force
        await chargers.rounds(4)
        metrics = (await client.get("/metrics")).text
        told = (await client.get("/site-status")).json()["chargers"]

    assert told["without_meter"] == ["CP-1/1", "CP-2/1"]
    assert "agent_cars_without_meter 2.0" in metrics
    # All of the load counts as other load at first, which leaves no room; then they come back with little.
    assert stopped == {"CP-1": 0.0, "CP-2": 0.0}
    assert chargers.in_force == {"CP-1": 6.0, "CP-2": 6.0}


async def test_a_plan_above_the_envelope_is_clamped_recorded_and_alarmed(
    served: AgentApplication, chargers: FakeChargers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def reckless(*_: object) -> AllocationResult:
        return AllocationResult((Allotment(("CP-1", 1), 80.0), Allotment(("CP-2", 1), 3.0)), Memory.initial())

    monkeypatch.setattr(controller.ChargingController.__init__, "__kwdefaults__", _with_allocator(reckless))
    async with served.client() as client:
        logging.getLogger().addHandler(caplog.handler)
        await chargers.rounds(1)
        decision_id = chargers.commands[0]["decision_id"]
        record = (await client.get(f"/decisions/{decision_id}")).json()["record"]
        explained = (await client.get(f"/decisions/{decision_id}/explain")).json()
        metrics = (await client.get("/metrics")).text

    assert [limit["limit_a"] for limit in chargers.commands[0]["limits"]] == [31.8, 0]
    clamps = {clamp["key"][0]: clamp["limited_by"] for clamp in record["plan"]["clamps"]}
    assert clamps == {"CP-1": "ceiling", "CP-2": "least_current"}
    assert 'agent_plan_clamps_total{limited_by="ceiling"}' in metrics
    assert "CP-1/1: the guard gave 31.8 A of 80 A (limited by ceiling)." in explained["cars"]
    assert "plan violates the envelope" in {event.getMessage() for event in caplog.records}


def _with_allocator(allocator: object) -> dict[str, object]:
    defaults = controller.ChargingController.__init__.__kwdefaults__
    assert defaults is not None
    return defaults | {"allocator": allocator}


async def test_a_disconnected_charger_is_told_nothing_and_its_car_keeps_its_share(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    chargers.building_kw = 50.0
    async with served.client() as client:
        await chargers.rounds(5)
        chargers.places["CP-2"].is_connected = False
        await chargers.rounds(4)
        told = (await client.get("/site-status")).json()["chargers"]

    assert {limit["charger_id"] for limit in chargers.commands[-1]["limits"]} == {"CP-1"}
    assert chargers.building_kw + chargers.drawn_kw <= 85
    assert [car["is_connected"] for car in told["cars"]] == [True, False]
