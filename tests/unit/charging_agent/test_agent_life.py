"""The loop: it observes by itself, within its budget, and nothing ends it but its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from charging_agent.agent import Agent, DecisionResult
from charging_agent.decision.pipeline import DecisionPipeline
from charging_agent.decision.rules import Rule
from charging_agent.readings.apis import GRID, SOURCES

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication, World

pytestmark = pytest.mark.anyio


async def test_it_observes_by_itself_at_start(served: AgentApplication) -> None:
    async with served.client() as client:
        async with asyncio.timeout(5):
            while (await client.get("/health")).status_code != 200:
                await asyncio.sleep(0.001)

    assert [served.gateway.calls_to(api.path) for api in SOURCES] == [1, 1, 1]


async def test_it_observes_every_period_within_its_budget(served: AgentApplication) -> None:
    async with served.client():
        for round_number in range(1, 9):
            await served.until(lambda: served.gateway.calls_to(GRID.path) == round_number)  # noqa: B023
            await asyncio.sleep(0.005)
            served.clock.advance(15)

    assert served.gateway.token_requests == 1


async def test_after_a_jump_of_the_clock_one_observation_follows_and_not_all_that_were_missed(
    served: AgentApplication,
) -> None:
    async with served.client():
        await served.until(lambda: len(served.gateway.calls) == 4)
        await asyncio.sleep(0.005)
        served.clock.advance(1000)
        await served.until(lambda: served.gateway.calls_to(GRID.path) == 2)
        await asyncio.sleep(0.05)

    assert [served.gateway.calls_to(api.path) for api in SOURCES] == [2, 2, 2]


async def test_after_the_clock_was_set_back_the_loop_goes_on(served: AgentApplication) -> None:
    async with served.client():
        await served.until(lambda: len(served.gateway.calls) == 4)
        await asyncio.sleep(0.005)

        served.clock.set_back(3600)
        served.clock.advance(15)

        await served.until(lambda: served.gateway.calls_to(GRID.path) == 2)


async def test_an_error_in_one_round_does_not_end_the_next(world: World) -> None:
    seen: list[DecisionResult] = []

    class FailingOnce:
        def report_decision(self, result: DecisionResult) -> None:
            seen.append(result)
            if len(seen) == 1:
                raise RuntimeError("disk full")

    agent = Agent(world.observer, world.recorder, DecisionPipeline(), world.clock, period_s=15, listener=FailingOnce())
    life = asyncio.create_task(agent.run())
    async with asyncio.timeout(5):
        while len(seen) < 2:
            await asyncio.sleep(0.001)
            world.clock.advance(1)

    life.cancel()
    await asyncio.gather(life, return_exceptions=True)
    assert seen[1].decision.rule is Rule.SOLAR_AND_BATTERY_HIGH


async def test_the_latest_decision_is_kept_for_whoever_asks(world: World) -> None:
    decided = await world.agent.decide_now()

    assert world.agent.latest is decided


async def test_trouble_is_told_from_what_is_held_alone(world: World) -> None:
    assert world.agent.health_error() is not None

    await world.agent.decide_now()

    assert world.agent.health_error() is None
