"""Recorded decisions as AgentAPI answers them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from charging_agent.ledger.canonical import sha256_hex
from charging_agent.readings.apis import SOLAR
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


async def request_decisions(
    served: AgentApplication, client: httpx.AsyncClient, times: int = 1
) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    for _ in range(times):
        served.clock.advance(11)
        answers.append((await client.get("/optimize-charging")).json())
    return answers


async def test_decisions_are_listed_newest_first_and_page_by_page(served: AgentApplication) -> None:
    async with served.client() as client:
        made = await request_decisions(served, client, 5)
        first = (await client.get("/decisions", params={"limit": 2})).json()
        second = (await client.get("/decisions", params={"limit": 2, "before": first["next_before"]})).json()

    listed = [one["decision_id"] for one in first["decisions"] + second["decisions"]]
    assert listed == [one["decision_id"] for one in reversed(made)][:4]
    sequences = [one["sequence"] for one in first["decisions"] + second["decisions"]]
    assert sequences == sorted(sequences, reverse=True)


@pytest.mark.parametrize("limit", ["0", "101", "many"])
async def test_a_page_holds_1_to_100(served: AgentApplication, limit: str) -> None:
    async with served.client() as client:
        refused = await client.get("/decisions", params={"limit": limit})

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


async def test_a_decision_is_answered_whole_and_its_hash_holds(served: AgentApplication) -> None:
    async with served.client() as client:
        [made] = await request_decisions(served, client)
        answer = await client.get(f"/decisions/{made['decision_id']}")

    entry = answer.json()
    record = entry["record"]
    assert sha256_hex(record) == entry["sha256"]
    assert answer.text == json.dumps(entry, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    assert record["inputs"]["solar"]["reading"]["generation_kw"] == 41
    assert (record["rule"], record["charging_power_kw"], record["clamps"]) == ("solar_and_battery_high", 22, [])
    assert {(call["api"], call["status"], call["outcome"]) for call in record["calls"]} == {
        ("SolarAPI", 200, "ok"),
        ("BatteryAPI", 200, "ok"),
        ("GridAPI", 200, "ok"),
    }


async def test_refused_calls_stand_in_the_record_with_wso2s_code(served: AgentApplication) -> None:
    served.gateway.refuses(SOLAR.path, codes.SUBSCRIPTION_THROTTLED)
    async with served.client() as client:
        made = (await client.get("/optimize-charging")).json()
        record = (await client.get(f"/decisions/{made['decision_id']}")).json()["record"]

    refused = next(call for call in record["calls"] if call["api"] == "SolarAPI")
    assert (refused["status"], refused["outcome"], refused["code"]) == (429, "throttled", "900804")
    assert record["inputs"]["solar"] == {"age_s": None, "error": "throttled", "reading": None, "status": "missing"}


@pytest.mark.parametrize("tail", ["", "/explain"])
async def test_an_unknown_decision_is_a_404_and_a_name_that_is_none_a_422(served: AgentApplication, tail: str) -> None:
    async with served.client() as client:
        unknown = await client.get(f"/decisions/{uuid4()}{tail}")
        nameless = await client.get(f"/decisions/12{tail}")

    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_decision")
    assert unknown.headers["content-type"] == "application/problem+json"
    assert nameless.status_code == 422


async def test_a_decision_is_explained_with_values_thresholds_and_refusals(served: AgentApplication) -> None:
    served.gateway.refuses(SOLAR.path, codes.SUBSCRIPTION_THROTTLED)
    async with served.client() as client:
        made = (await client.get("/optimize-charging")).json()
        told = (await client.get(f"/decisions/{made['decision_id']}/explain")).json()

    assert told["summary"].startswith("slow, 5 kW for each charging point.")
    assert told["readings"][0] == "Solar: missing (throttled); counted as low."
    assert told["readings"][2].startswith("Grid: load 61 % of the limit (above 85 % pauses); ")
    assert any("SolarAPI GET /solar/1.0.0/solar-status: 429 (throttled, code 900804)" in call for call in told["calls"])
    assert told["policy"] == "Rule solar_low of policy rules version 1 decided: the sun was low."


async def test_the_sites_status_asks_the_gateway_nothing(served: AgentApplication) -> None:
    # The loop keeps still: only what the route itself does may call.
    served.settings["period_s"] = 3600
    async with served.client() as client:
        [made] = await request_decisions(served, client)
        calls = len(served.gateway.calls)
        served.clock.advance(20)
        status = (await client.get("/site-status")).json()
        listed = (await client.get("/decisions")).json()["decisions"]

    assert status["readings"]["grid"]["status"] == "stale"
    assert "trouble" not in status
    assert status["latest_decision"]["decision_id"] == made["decision_id"] == listed[0]["decision_id"]
    assert len(served.gateway.calls) == calls


async def test_the_status_page_shows_the_records(served: AgentApplication) -> None:
    async with served.client() as client:
        [made] = await request_decisions(served, client)
        page = (await client.get("/")).text

    assert f'<a href="/decisions/{made["decision_id"]}/explain">explain</a>' in page
    assert "kept in memory only" in page
