"""The agent as its callers see it: always 200, always explained."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from charging_agent import app as composition
from charging_agent.readings.apis import BATTERY, GRID, SOLAR, SOURCES
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication

pytestmark = pytest.mark.anyio


async def decision_of(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/optimize-charging")
    assert answer.status_code == 200
    return answer.json()


async def test_a_decision_looks_as_the_contract_says(served: AgentApplication) -> None:
    async with served.client() as client:
        # What the agent has read by itself is too old by now, so it is fetched for this decision.
        served.clock.advance(11)
        decision = await decision_of(client)

    decision_id = decision.pop("decision_id")
    assert len(decision_id) == 36
    assert decision == {
        "decided_at": "2026-06-21T12:00:31Z",
        "site_id": "greensboro",
        "action": "fast",
        "charging_power_kw": 22.0,
        "rule": "solar_and_battery_high",
        "policy": "rules",
        "reason": "Solar 41.0 kW of 50 kWp, battery at 83.0 %, grid at 61.0 %: 22 kW.",
        "degraded": False,
        "readings": {
            "solar": {"status": "fresh", "age_s": 0.0, "generation_kw": 41.0, "capacity_kwp": 50.0},
            "battery": {"status": "fresh", "age_s": 0.0, "soc_percent": 83.0},
            "grid": {"status": "fresh", "age_s": 0.0, "load_percent": 61.0},
        },
    }


async def test_decisions_from_the_same_unchanged_observation_share_one_id_and_tell_their_own_ages(
    served: AgentApplication,
) -> None:
    async with served.client() as client:
        first = await decision_of(client)
        served.clock.advance(4)
        second = await decision_of(client)

    assert (second["decision_id"], second["decided_at"]) == (first["decision_id"], first["decided_at"])
    assert second["readings"]["grid"] == {"status": "cached", "age_s": 4.0, "load_percent": 61.0}


async def test_a_decision_from_new_readings_has_an_id_of_its_own(served: AgentApplication) -> None:
    ids: set[str] = set()
    async with served.client() as client:
        for _ in range(3):
            ids.add((await decision_of(client))["decision_id"])
            served.clock.advance(11)

    assert len(ids) == 3


async def test_a_hundred_callers_at_a_cold_start_cause_one_token_request_and_one_call_per_api(
    served: AgentApplication,
) -> None:
    served.gateway.delay_s = 0.02
    async with served.client() as client:
        decisions = await asyncio.gather(*(decision_of(client) for _ in range(100)))

    assert served.gateway.token_requests == 1
    assert [served.gateway.calls_to(api.path) for api in SOURCES] == [1, 1, 1]
    assert {decision["action"] for decision in decisions} == {"fast"}


@pytest.mark.parametrize(
    ("path", "name", "action"),
    [(SOLAR.path, "solar", "slow"), (BATTERY.path, "battery", "normal"), (GRID.path, "grid", "pause")],
)
@pytest.mark.parametrize("fault", [codes.CONNECTION_FAILED, codes.NOT_SUBSCRIBED, codes.SUBSCRIPTION_THROTTLED])
async def test_each_api_failing_in_turn_gives_a_safe_explained_decision_and_recovers(
    served: AgentApplication, path: str, name: str, action: str, fault: codes.Fault
) -> None:
    # The loop keeps still: it would meet the breaker's pause before the caller does.
    served.settings["period_s"] = 3600
    served.gateway.refuses(path, fault)
    async with served.client() as client:
        failing = await decision_of(client)
        served.gateway.gives(path)
        served.clock.advance(60)
        await asyncio.sleep(0.02)
        recovered = await decision_of(client)

    assert failing["action"] == action
    assert failing["degraded"] is True
    assert failing["readings"][name]["status"] == "missing"
    assert failing["readings"][name]["error"] in {"backend_failed", "not_subscribed", "throttled"}
    assert failing["reason"].endswith(".")
    assert (recovered["action"], recovered["degraded"]) == ("fast", False)
    assert "error" not in recovered["readings"][name]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("hanging", [(GRID.path,), tuple(api.path for api in SOURCES), ("/oauth2/token",)])
async def test_hanging_never_keeps_an_answer_away(served: AgentApplication, hanging: tuple[str, ...]) -> None:
    for path in hanging:
        served.gateway.hangs(path)

    async with served.client() as client, asyncio.timeout(2):
        decision = await decision_of(client)

    assert (decision["rule"], decision["charging_power_kw"]) == ("fail_safe", 0.0)


def test_the_shipped_deadlines_leave_room_within_the_8_s() -> None:
    assert composition._OBSERVATION_S <= 7  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("status", "error"), [(400, "token_refused"), (401, "token_refused"), (500, "token_unavailable")]
)
async def test_without_a_token_the_cars_pause_and_the_answer_says_why(
    served: AgentApplication, status: int, error: str
) -> None:
    served.gateway.says("/oauth2/token", status, {"error": "no"})

    async with served.client() as client:
        decision = await decision_of(client)

    assert decision["rule"] == "fail_safe"
    assert {reading["error"] for reading in decision["readings"].values()} == {error}
    assert [served.gateway.calls_to(api.path) for api in SOURCES] == [0, 0, 0]


async def test_a_reading_too_old_to_count_tells_its_age(served: AgentApplication) -> None:
    for api in SOURCES:
        served.gateway.gives(api.path, age_s=90)

    async with served.client() as client:
        decision = await decision_of(client)

    assert decision["readings"] == {
        name: {"status": "missing", "age_s": 90.0, "error": "too_old"} for name in ("solar", "battery", "grid")
    }


async def test_an_unforeseen_error_is_answered_with_200_too(served: AgentApplication) -> None:
    async def unforeseen(_: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    for api in SOURCES:
        served.gateway.does(api.path, unforeseen)

    async with served.client() as client:
        assert (await decision_of(client))["rule"] == "fail_safe"


@pytest.mark.parametrize("offered", ["not ascii: \u00e9", "line\tbreak", "x" * 65])
async def test_a_strange_correlation_id_is_replaced_and_harms_nothing(served: AgentApplication, offered: str) -> None:
    async with served.client() as client:
        answer = await client.get("/optimize-charging", headers={b"activityid": offered.encode("latin-1")})

    assert answer.json()["action"] == "fast"
    assert answer.headers["activityid"] != offered


async def test_the_callers_correlation_id_travels_to_the_gateway(served: AgentApplication) -> None:
    seen: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("activityid", ""))
        return httpx.Response(200, json=served.gateway.reading(GRID.path))

    async with served.client() as client:
        await decision_of(client)
        served.gateway.does(GRID.path, answer)
        served.clock.advance(11)
        await client.get("/optimize-charging", headers={"activityid": "call-17"})

    assert seen == ["call-17"]


async def test_health_is_503_with_the_reason_until_a_decision_is_possible(served: AgentApplication) -> None:
    served.gateway.refuses(GRID.path, codes.DENIED)
    async with served.client() as client:
        await decision_of(client)
        unwell = await client.get("/health")
        served.gateway.gives(GRID.path)
        await decision_of(client)
        calls = len(served.gateway.calls)
        well = await client.get("/health")

    assert unwell.status_code == 503
    assert unwell.json()["failing"] == {"readings": "no grid reading young enough to decide from (blocked)"}
    assert (well.status_code, well.json()["status"]) == (200, "ok")
    assert len(served.gateway.calls) == calls


async def test_health_needs_no_sun_and_no_battery(served: AgentApplication) -> None:
    served.gateway.refuses(SOLAR.path, codes.SUBSCRIPTION_BLOCKED)
    served.gateway.refuses(BATTERY.path, codes.SUBSCRIPTION_BLOCKED)

    async with served.client() as client:
        await decision_of(client)

        assert (await client.get("/health")).status_code == 200


async def test_health_turns_503_when_the_grid_reading_grows_too_old(served: AgentApplication) -> None:
    served.settings["period_s"] = 3600
    async with served.client() as client:
        await decision_of(client)
        served.clock.advance(61)

        assert (await client.get("/health")).status_code == 503
        assert (await client.get("/livez")).status_code == 200


async def test_metrics_count_decisions_and_calls(served: AgentApplication) -> None:
    async with served.client() as client:
        await decision_of(client)
        metrics = (await client.get("/metrics")).text

    assert 'agent_decisions_total{degraded="false",rule="solar_and_battery_high"}' in metrics
    assert 'agent_gateway_calls_total{api="GridAPI",outcome="200"} 1.0' in metrics
    assert "agent_charging_power_kw 22.0" in metrics


async def test_the_page_shows_the_last_decision_and_calls_nothing(served: AgentApplication) -> None:
    async with served.client() as client:
        await decision_of(client)
        calls = len(served.gateway.calls)
        page = await client.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert "<b>22 kW</b>" in page.text
    assert "load_percent 61.0" in page.text
    assert "Solar 41.0 kW of 50 kWp" in page.text
    assert len(served.gateway.calls) == calls


async def test_the_page_of_an_agent_that_has_not_decided_yet_says_so(served: AgentApplication) -> None:
    for api in SOURCES:
        served.gateway.hangs(api.path)

    async with served.client() as client:
        assert "No decision yet" in (await client.get("/")).text


async def test_the_page_shows_a_sites_name_as_text(served: AgentApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_ID", "<script>$site</script>")

    async with served.client() as client:
        page = (await client.get("/")).text

    assert "<script>" not in page
    assert "&lt;script&gt;$site&lt;/script&gt;" in page
