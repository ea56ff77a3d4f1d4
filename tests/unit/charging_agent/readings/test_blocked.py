"""Who is cut off goes on with nothing of what it was told before, and notices when told to look again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from charging_agent.gateway.budget import CallLimit
from charging_agent.gateway.calls import FailureReason
from charging_agent.readings.apis import BATTERY, GRID, SOLAR, SOURCES
from charging_agent.readings.assessment import Status
from charging_agent.web.refresh_endpoint import ReadingRefresh
from ev_service.openapi import build_published_definition
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication, World

    from charging_agent.readings.observer import Observation

pytestmark = pytest.mark.anyio

OF_ONE_API = [codes.SUBSCRIPTION_BLOCKED, codes.SUBSCRIPTION_INACTIVE, codes.API_BLOCKED]


def errors(observation: Observation) -> list[FailureReason | None]:
    return [observation.readings["solar"].error, observation.readings["battery"].error, observation.grid.error]


def statuses(observation: Observation) -> list[Status]:
    return [observation.readings["solar"].status, observation.readings["battery"].status, observation.grid.status]


def calls(world: World) -> list[int]:
    return [world.gateway.calls_to(api.path) for api in SOURCES]


@pytest.mark.parametrize("path", [api.path for api in SOURCES])
async def test_a_deny_policy_met_by_one_call_takes_every_reading_away(world: World, path: str) -> None:
    world.gateway.gives(path, age_s=5)
    await world.observer.observe()
    world.clock.advance(6)
    world.gateway.refuses(path, codes.DENIED)

    observation = await world.observer.observe()

    assert statuses(observation) == [Status.MISSING] * 3
    assert errors(observation) == [FailureReason.BLOCKED] * 3
    assert observation.grid.reading is None
    assert sum(calls(world)) == 4


async def test_the_cars_pause_with_the_next_decision_after_a_deny_policy(world: World) -> None:
    await world.agent.decide_now()
    for api in SOURCES:
        world.gateway.refuses(api.path, codes.DENIED)
    world.clock.advance(11)

    decided = await world.agent.decide_now()

    assert decided.decision.charging_power_kw == 0
    assert "blocked" in (world.agent.health_error() or "")


@pytest.mark.parametrize("fault", OF_ONE_API, ids=lambda fault: fault.code)
async def test_a_blocked_subscription_or_api_takes_its_own_reading_away(world: World, fault: codes.Fault) -> None:
    await world.observer.observe()
    world.gateway.refuses(GRID.path, fault)
    world.clock.advance(11)

    observation = await world.observer.observe()

    assert statuses(observation) == [Status.FRESH, Status.FRESH, Status.MISSING]
    assert errors(observation) == [None, None, FailureReason.BLOCKED]


async def test_the_answer_to_a_call_sent_before_the_block_brings_no_reading_back(world: World) -> None:
    was_denied = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await was_denied.wait()
        return httpx.Response(200, json=world.gateway.reading(SOLAR.path))

    world.gateway.does(SOLAR.path, slow)
    world.gateway.refuses(GRID.path, codes.DENIED)
    flying = asyncio.create_task(world.observer.observe())
    async with asyncio.timeout(5):
        while world.observer.current_observation().grid.error is not FailureReason.BLOCKED:
            await asyncio.sleep(0)

    was_denied.set()

    assert errors(await flying) == [FailureReason.BLOCKED] * 3


async def test_readings_are_gone_at_once_although_another_call_still_hangs(world: World) -> None:
    world.gateway.gives(BATTERY.path, age_s=-5)
    await world.observer.observe()
    world.gateway.hangs(SOLAR.path)
    world.gateway.refuses(GRID.path, codes.DENIED)
    world.clock.advance(11)

    flying = asyncio.create_task(world.observer.observe())
    async with asyncio.timeout(5):
        while world.observer.current_observation().grid.error is not FailureReason.BLOCKED:
            await asyncio.sleep(0)

    assert errors(world.observer.current_observation()) == [FailureReason.BLOCKED] * 3
    assert not flying.done()


async def test_a_spent_budget_does_not_hide_that_the_agent_is_blocked(world: World) -> None:
    for api in SOURCES:
        world.gateway.refuses(api.path, codes.DENIED)
    for _ in range(50):
        await world.observer.observe()
        while world.budgets[GRID.name].take(world.clock.now()):
            pass
        world.clock.advance(1)

    assert errors(world.observer.current_observation()) == [FailureReason.BLOCKED] * 3


async def test_a_call_that_was_not_sent_does_not_end_a_block_and_one_that_the_plan_refuses_does(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.SUBSCRIPTION_BLOCKED)
    await world.observer.observe()
    while world.budgets[GRID.name].take(world.clock.now()):
        pass

    assert (await world.observer.observe_anew()).grid.error is FailureReason.BLOCKED

    world.clock.advance(60)
    world.gateway.refuses(GRID.path, codes.SUBSCRIPTION_THROTTLED)
    assert (await world.observer.observe()).grid.error is FailureReason.THROTTLED


async def test_a_block_that_was_lifted_is_noticed_within_ten_seconds_or_so_however_often_decisions_were_asked_for(
    world: World,
) -> None:
    for api in SOURCES:
        world.gateway.refuses(api.path, codes.DENIED)
    for _ in range(30):
        await world.observer.observe()
        world.clock.advance(1)
    for api in SOURCES:
        world.gateway.gives(api.path)

    for _ in range(12):
        await world.observer.observe()
        world.clock.advance(1)

    assert not world.observer.current_observation().is_degraded


async def test_a_recheck_takes_young_readings_anew_and_finds_the_block(world: World) -> None:
    await world.observer.observe()
    world.gateway.refuses(GRID.path, codes.DENIED)

    assert await ReadingRefresh(world.observer, world.clock).refresh()

    assert errors(world.observer.current_observation()) == [FailureReason.BLOCKED] * 3
    assert calls(world) == [2, 2, 2]


async def test_a_recheck_leaves_more_than_half_of_the_calls_to_the_decisions(world: World) -> None:
    recheck = ReadingRefresh(world.observer, world.clock)

    done = [await recheck.refresh() for _ in range(20)]

    assert done == [True] * 5 + [False] * 15
    assert calls(world) == [5, 5, 5]


async def test_a_recheck_asks_nothing_while_one_api_has_only_half_of_its_calls(world: World) -> None:
    for _ in range(5):
        world.budgets[SOLAR.name].take(world.clock.now())

    assert not await ReadingRefresh(world.observer, world.clock).refresh()
    assert calls(world) == [0, 0, 0]


async def test_a_recheck_asks_nothing_while_the_application_has_only_half_of_its_calls(world: World) -> None:
    world.whole.limit = CallLimit(6)
    for _ in range(3):
        world.whole.take(world.clock.now())

    assert not await ReadingRefresh(world.observer, world.clock).refresh()


async def test_rechecks_are_bounded_also_where_the_gateway_sets_no_limit(world: World) -> None:
    for name in world.budgets:
        world.budgets[name].limit = CallLimit(None)
    recheck = ReadingRefresh(world.observer, world.clock)

    done = [await recheck.refresh() for _ in range(20)]
    world.clock.advance(60)

    assert sum(done) == 5
    assert await recheck.refresh()


async def test_a_hundred_rechecks_at_once_share_two_observations(world: World) -> None:
    world.gateway.delay_s = 0.01
    recheck = ReadingRefresh(world.observer, world.clock)
    first = asyncio.create_task(recheck.refresh())
    while not world.gateway.calls_to(GRID.path):
        await asyncio.sleep(0.001)

    done = await asyncio.gather(*(recheck.refresh() for _ in range(99)))

    assert await first
    assert all(done)
    assert calls(world) == [2, 2, 2]


async def test_a_recheck_does_not_take_an_observation_that_flew_before_it_for_its_answer(world: World) -> None:
    may_answer = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await may_answer.wait()
        return httpx.Response(200, json=world.gateway.reading(GRID.path))

    world.gateway.does(GRID.path, slow)
    flying = asyncio.create_task(world.observer.observe())
    while not world.gateway.calls_to(GRID.path):
        await asyncio.sleep(0)
    asked = asyncio.create_task(ReadingRefresh(world.observer, world.clock).refresh())
    world.gateway.refuses(GRID.path, codes.DENIED)

    may_answer.set()
    await asyncio.gather(flying, asked)

    assert world.observer.current_observation().is_blocked


async def test_the_route_says_whether_it_looked_and_what_it_found(served: AgentApplication) -> None:
    served.settings["period_s"] = 3600
    async with served.client() as client:
        await client.get("/optimize-charging")
        free = await client.post("/recheck")
        for api in SOURCES:
            served.gateway.refuses(api.path, codes.DENIED)
        cut_off = await client.post("/recheck")
        decision = (await client.get("/optimize-charging")).json()

    assert (free.status_code, free.json()) == (200, {"rechecked": True, "blocked": False})
    assert (cut_off.status_code, cut_off.json()) == (200, {"rechecked": True, "blocked": True})
    assert (decision["charging_power_kw"], decision["readings"]["grid"]["error"]) == (0.0, "blocked")


def test_the_route_is_not_among_those_that_the_gateway_publishes(served: AgentApplication) -> None:
    app = served.app()

    assert "/recheck" in app.openapi()["paths"]
    assert "/recheck" not in build_published_definition(app)["paths"]
