"""Decisions are carried out by the agent's own loop, and by nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import httpx
import pytest

from charging_agent.charging.charger_api import CHARGERS, LIMITS, compute_validity_s
from charging_agent.readings.apis import GRID
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.charging.conftest import FakeChargers
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


async def told_of_chargers(client: httpx.AsyncClient) -> dict[str, Any]:
    return (await client.get("/site-status")).json()["chargers"]


async def test_each_round_sets_the_limits_of_all_cars_in_one_call_from_a_recorded_decision(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    async with served.client() as client:
        await chargers.first_round()
        command = chargers.commands[0]
        record = (await client.get(f"/decisions/{command['decision_id']}")).json()["record"]

    assert [limit["charger_id"] for limit in command["limits"]] == ["CP-1", "CP-2"]
    assert {limit["valid_until"] for limit in command["limits"]} == {"2026-06-21T12:01:05Z"}
    assert command["commander"] == "agent"
    assert {one["limit_a"] for one in record["plan"]["allotments"]} == {limit["limit_a"] for limit in command["limits"]}
    assert served.gateway.calls_to(CHARGERS.path) == served.gateway.calls_to(LIMITS.path) == 1


@pytest.mark.parametrize(("period_s", "life_s"), [(15, 45), (5, 45), (300, 900), (3600, 3600)])
def test_limits_live_three_periods_but_no_less_than_45_s_and_no_more_than_an_hour(
    period_s: float, life_s: float
) -> None:
    assert compute_validity_s(period_s) == life_s


async def test_whoever_asks_for_a_decision_commands_nothing(served: AgentApplication, chargers: FakeChargers) -> None:
    served.settings["period_s"] = 3600
    async with served.client() as client:
        await chargers.first_round()
        for _ in range(3):
            served.clock.advance(11)
            assert (await client.get("/optimize-charging")).status_code == 200

    assert len(chargers.commands) == 1


async def test_the_cars_come_to_what_the_decision_allows_and_the_site_stays_below_its_headroom(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    chargers.building_kw = 50.0
    highest_kw = 0.0
    async with served.client():
        await chargers.first_round()
        for _ in range(12):
            await chargers.rounds(1)
            highest_kw = max(highest_kw, chargers.building_kw + chargers.drawn_kw)

    assert 80 < highest_kw <= 85


async def test_an_overload_pauses_every_car_and_every_place_where_one_may_come(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    chargers.places["CP-2"].has_car = False
    async with served.client():
        await chargers.first_round()
        chargers.building_kw = 90.0
        await chargers.rounds(1)

    assert {limit["charger_id"]: limit["limit_a"] for limit in chargers.commands[-1]["limits"]} == {
        "CP-1": 0,
        "CP-2": 0,
    }
    assert chargers.drawn_kw == 0


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (codes.SUBSCRIPTION_INACTIVE, "blocked"),
        (codes.NOT_SUBSCRIBED, "not_subscribed"),
    ],
)
async def test_who_may_not_command_goes_on_deciding_and_says_so_while_limits_lapse(
    served: AgentApplication, chargers: FakeChargers, fault: codes.Fault, word: str
) -> None:
    async with served.client() as client:
        await chargers.first_round()
        served.gateway.refuses(LIMITS.path, fault)
        before = served.gateway.token_requests
        await chargers.rounds(4)
        status = await told_of_chargers(client)
        decision = (await client.get("/optimize-charging")).json()
        health = await client.get("/health")

    assert (status["commanding"], status["status"]) == (word, "fresh")
    assert word in status["trouble"]
    assert (decision["action"], decision["degraded"], health.status_code) == ("fast", False, 200)
    assert served.gateway.token_requests == before
    assert served.gateway.calls_to(LIMITS.path) <= 5
    assert chargers.in_force == {"CP-1": 6.0, "CP-2": 6.0}


async def test_a_scope_that_was_not_granted_takes_nothing_but_its_api(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    served.gateway.refuses(LIMITS.path, codes.SCOPE_MISSING)
    served.gateway.refuses(CHARGERS.path, codes.SCOPE_MISSING)
    async with served.client() as client:
        await chargers.first_round()
        status = await told_of_chargers(client)
        decision = (await client.get("/optimize-charging")).json()

    assert (status["status"], status["error"], status["commanding"]) == ("missing", "forbidden", "nothing_yet")
    assert (decision["action"], decision["degraded"]) == ("fast", False)
    assert chargers.commands == []


async def test_after_a_kill_the_limits_lapse_and_nobody_is_left_at_full_power(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    async with served.client() as client:
        await chargers.first_round()
        await chargers.rounds(6)
        before = chargers.in_force
        for path in (CHARGERS.path, LIMITS.path, GRID.path, "/solar/1.0.0/solar-status"):
            served.gateway.refuses(path, codes.INVALID_CREDENTIALS)
        served.gateway.says("/oauth2/token", 401, {"error": "invalid_client"})
        await chargers.rounds(5)
        decision = (await client.get("/optimize-charging")).json()

    assert before["CP-1"] > 20
    assert chargers.in_force == {"CP-1": 6.0, "CP-2": 6.0}
    assert (decision["rule"], decision["readings"]["grid"]["error"]) == ("fail_safe", "token_refused")


async def test_a_command_that_meets_an_outage_is_sent_once_more_in_the_same_round(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    served.gateway.says_once(LIMITS.path, 500, codes.CONNECTION_FAILED.body())
    async with served.client() as client:
        await chargers.first_round()
        status = await told_of_chargers(client)

    assert served.gateway.calls_to(LIMITS.path) == 2
    assert status["commanding"] == "ok"


async def test_while_somebody_else_commands_the_agent_says_who_and_asks_once_a_round(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    chargers.leased_by = "EVApp/other"
    async with served.client() as client:
        await chargers.first_round()
        await chargers.rounds(1)
        status = await told_of_chargers(client)
        page = (await client.get("/")).text

    assert len(chargers.commands) == 2
    assert status["commanding"] == "leased"
    assert "EVApp/other commands until 12:05" in status["trouble"]
    assert "EVApp/other commands until 12:05" in page


async def test_while_an_operator_commands_nothing_is_sent(served: AgentApplication, chargers: FakeChargers) -> None:
    until = served.clock.now() + timedelta(minutes=10)
    chargers.override = {"kind": "stop", "until": until.isoformat()}
    async with served.client() as client:
        await chargers.first_round()
        status = await told_of_chargers(client)

    assert chargers.commands == []
    assert status["commanding"] == "override"


async def test_an_answer_that_is_no_answer_to_these_limits_stops_nothing(
    served: AgentApplication, chargers: FakeChargers
) -> None:
    served.gateway.says(LIMITS.path, 200, {"results": "none"})
    async with served.client() as client:
        await chargers.first_round()
        status = await told_of_chargers(client)

    assert status["commanding"] == "invalid_reading"


@pytest.mark.parametrize("is_on", [True, False])
async def test_the_scopes_of_the_chargers_are_asked_for_only_where_they_are_commanded(
    served: AgentApplication, is_on: bool
) -> None:
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.extend(parse_qs(request.content.decode())["scope"][0].split())
        return await served.gateway.issue(request)

    served.settings["chargers"] = is_on
    served.gateway.does("/oauth2/token", answer)
    served.gateway.does(CHARGERS.path, _refuse)
    async with served.client() as client:
        await client.get("/optimize-charging")
        status = (await client.get("/site-status")).json()

    expected = {"solar:read", "battery:read", "grid:read"}
    assert set(asked) == (expected | {"chargers:read", "chargers:control"} if is_on else expected)
    assert ("chargers" in status) == is_on


async def _refuse(_: httpx.Request) -> httpx.Response:
    return httpx.Response(403, json=codes.NOT_SUBSCRIBED.body())


async def test_a_site_without_chargers_is_commanded_nothing(served: AgentApplication, chargers: FakeChargers) -> None:
    chargers.places.clear()
    async with served.client() as client:
        await chargers.first_round()
        status = await told_of_chargers(client)

    assert (status["cars"], status["commanding"]) == ([], "nothing_yet")
    assert "trouble" not in status


async def test_a_recheck_begins_a_round_at_once(served: AgentApplication, chargers: FakeChargers) -> None:
    served.settings["period_s"] = 3600
    async with served.client() as client:
        await chargers.first_round()
        answer = (await client.post("/recheck")).json()
        await served.until(lambda: len(chargers.commands) == 2)

    assert answer == {"rechecked": True, "blocked": False}


async def test_where_one_limit_counts_for_all_apis_the_chargers_take_turns_and_the_readings_stay_young(
    served: AgentApplication, chargers: FakeChargers, tmp_path: Any
) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text('{"*": {"requests": 10, "per_s": 60}}')
    served.settings["limits_file"] = limits
    statuses: set[str] = set()
    async with served.client() as client:
        for _ in range(9):
            await chargers.rounds(1)
            answer = (await client.get("/site-status")).json()
            statuses |= {reading["status"] for reading in answer["readings"].values()}

    assert 4 <= len(chargers.commands) <= 6
    assert "missing" not in statuses
