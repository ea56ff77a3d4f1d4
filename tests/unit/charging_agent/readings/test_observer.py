"""Observations: shared, cached, within budget and deadline, through jumps of the clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from charging_agent.gateway.calls import FailureReason
from charging_agent.readings.apis import BATTERY, GRID, SOLAR, SOURCES
from charging_agent.readings.assessment import Status
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import World

    from charging_agent.readings.observer import Observation

pytestmark = pytest.mark.anyio


def statuses(observation: Observation) -> list[Status]:
    return [observation.readings["solar"].status, observation.readings["battery"].status, observation.grid.status]


async def test_the_first_observation_is_fresh(world: World) -> None:
    observation = await world.observer.observe()

    assert statuses(observation) == [Status.FRESH] * 3
    assert not observation.is_degraded


async def test_a_hundred_callers_at_a_cold_start_cause_one_token_request_and_one_call_per_api(world: World) -> None:
    world.gateway.delay_s = 0.02

    observations = await asyncio.gather(*(world.observer.observe() for _ in range(100)))

    assert world.gateway.token_requests == 1
    assert [world.gateway.calls_to(api.path) for api in SOURCES] == [1, 1, 1]
    assert all(statuses(observation) == [Status.FRESH] * 3 for observation in observations)


async def test_a_young_reading_is_served_without_a_call(world: World) -> None:
    await world.observer.observe()
    world.clock.advance(10)

    observation = await world.observer.observe()

    assert statuses(observation) == [Status.CACHED] * 3
    assert observation.grid.age_s == 10
    assert len(world.gateway.calls) == 4


async def test_a_reading_past_its_maximum_age_is_fetched_anew(world: World) -> None:
    await world.observer.observe()
    world.clock.advance(10.1)

    observation = await world.observer.observe()

    assert statuses(observation) == [Status.FRESH] * 3
    assert [world.gateway.calls_to(api.path) for api in SOURCES] == [2, 2, 2]


async def test_only_what_is_too_old_is_fetched(world: World) -> None:
    world.gateway.gives(GRID.path, age_s=5)
    await world.observer.observe()
    world.clock.advance(6)

    observation = await world.observer.observe()

    assert statuses(observation) == [Status.CACHED, Status.CACHED, Status.FRESH]
    assert [world.gateway.calls_to(api.path) for api in SOURCES] == [1, 1, 2]


async def test_a_failed_renewal_leaves_the_old_reading_until_the_stale_limit(world: World) -> None:
    await world.observer.observe()
    world.gateway.refuses(GRID.path, codes.NOT_SUBSCRIBED)

    world.clock.advance(60)
    at_limit = await world.observer.observe()
    world.clock.advance(0.001)
    beyond = await world.observer.observe()

    assert (at_limit.grid.status, at_limit.grid.error) == (Status.STALE, FailureReason.NOT_SUBSCRIBED)
    assert at_limit.grid.reading is not None
    assert (beyond.grid.status, beyond.grid.error) == (Status.MISSING, FailureReason.NOT_SUBSCRIBED)
    assert beyond.grid.reading is None


async def test_a_reading_that_is_old_when_it_comes_is_stale(world: World) -> None:
    world.gateway.gives(GRID.path, age_s=30)

    observation = await world.observer.observe()

    assert (observation.grid.status, observation.grid.error) == (Status.STALE, FailureReason.TOO_OLD)


async def test_a_reading_older_than_the_stale_limit_is_missing(world: World) -> None:
    world.gateway.gives(GRID.path, age_s=61)

    observation = await world.observer.observe()

    assert (observation.grid.status, observation.grid.error) == (Status.MISSING, FailureReason.TOO_OLD)
    assert observation.grid.age_s == pytest.approx(61)


async def test_a_reading_up_to_5_s_ahead_counts(world: World) -> None:
    world.gateway.gives(GRID.path, age_s=-5)

    assert (await world.observer.observe()).grid.status is Status.FRESH


async def test_a_reading_further_ahead_is_invalid(world: World) -> None:
    world.gateway.gives(GRID.path, age_s=-6)

    observation = await world.observer.observe()

    assert (observation.grid.status, observation.grid.error) == (Status.MISSING, FailureReason.INVALID_READING)


async def test_a_reading_from_the_future_does_not_push_out_the_one_held(world: World) -> None:
    await world.observer.observe()
    world.clock.advance(20)
    world.gateway.gives(GRID.path, age_s=-3600)

    observation = await world.observer.observe()

    assert (observation.grid.status, observation.grid.error) == (Status.STALE, FailureReason.INVALID_READING)
    assert observation.grid.age_s == 20


async def test_after_recovery_no_error_remains(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.DENIED)
    assert (await world.observer.observe()).grid.error is FailureReason.BLOCKED

    world.gateway.gives(GRID.path)
    observation = await world.observer.observe()

    assert (observation.grid.status, observation.grid.error) == (Status.FRESH, None)


async def test_one_hanging_api_does_not_keep_the_others_away(world: World) -> None:
    world.hurry()
    world.gateway.hangs(SOLAR.path)

    observation = await world.observer.observe()

    assert (observation.readings["solar"].status, observation.readings["solar"].error) == (
        Status.MISSING,
        FailureReason.TIMEOUT,
    )
    assert [observation.readings["battery"].status, observation.grid.status] == [Status.FRESH] * 2


async def test_a_reading_that_grows_too_old_while_another_is_slow_gets_its_turn(world: World) -> None:
    world.gateway.gives(SOLAR.path, age_s=5)
    await world.observer.observe()
    world.clock.advance(8)

    async def slow(_: httpx.Request) -> httpx.Response:
        world.clock.advance(3)
        return httpx.Response(200, json=world.gateway.reading(SOLAR.path))

    world.gateway.does(SOLAR.path, slow)
    observation = await world.observer.observe()

    assert statuses(observation) == [Status.FRESH] * 3
    assert [world.gateway.calls_to(api.path) for api in SOURCES] == [2, 2, 2]


async def test_a_clock_that_jumps_forward_makes_the_next_observation_fetch_anew(world: World) -> None:
    await world.observer.observe()

    world.clock.advance(86_400)

    assert world.observer.current_observation().grid.status is Status.MISSING
    assert statuses(await world.observer.observe()) == [Status.FRESH] * 3
    assert world.gateway.token_requests == 2


async def test_a_clock_that_is_set_back_makes_the_next_observation_fetch_anew(world: World) -> None:
    await world.observer.observe()

    world.clock.set_back(3600)

    assert world.observer.current_observation().grid.error is FailureReason.INVALID_READING
    assert statuses(await world.observer.observe()) == [Status.FRESH] * 3


@pytest.mark.parametrize("back_s", [12, 60, 3600])
async def test_no_reading_is_young_a_second_time_because_the_clock_was_set_back(world: World, back_s: float) -> None:
    await world.observer.observe()
    for path in (SOLAR.path, BATTERY.path, GRID.path):
        world.gateway.says(path, 500)
    world.clock.advance(9)
    world.clock.set_back(back_s)

    lost = world.observer.current_observation()
    world.clock.advance(back_s - 3)
    lost_again = world.observer.current_observation()

    for seen in (lost, lost_again):
        assert [one.reading for one in seen.readings.values()] == [None] * 3
        assert {one.error for one in seen.readings.values()} == {FailureReason.INVALID_READING}


async def test_a_clock_that_is_set_back_while_an_observation_flies_does_not_use_what_now_lies_ahead(
    world: World,
) -> None:
    async def answer_and_set_back(_: httpx.Request) -> httpx.Response:
        said = world.gateway.reading(GRID.path)
        world.clock.set_back(300)
        return httpx.Response(200, json=said)

    world.gateway.does(GRID.path, answer_and_set_back)

    observation = await world.observer.observe()

    assert (observation.grid.status, observation.grid.error) == (Status.MISSING, FailureReason.INVALID_READING)


async def test_a_throttled_api_is_called_again_when_the_clock_was_set_back(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.SUBSCRIPTION_THROTTLED)
    await world.observer.observe()

    world.gateway.gives(GRID.path)
    world.clock.set_back(3600)

    assert (await world.observer.observe()).grid.status is Status.FRESH


async def test_a_clock_that_jumps_while_an_observation_flies_judges_by_the_new_time(world: World) -> None:
    async def answer_and_jump(_: httpx.Request) -> httpx.Response:
        said = world.gateway.reading(GRID.path)
        world.clock.advance(300)
        return httpx.Response(200, json=said)

    world.gateway.does(GRID.path, answer_and_jump)

    observation = await world.observer.observe()

    assert (observation.grid.status, observation.grid.error) == (Status.MISSING, FailureReason.TOO_OLD)


async def test_an_unforeseen_error_is_one_missing_reading_and_not_a_failed_observation(world: World) -> None:
    async def unforeseen(_: httpx.Request) -> httpx.Response:
        raise ZeroDivisionError

    world.gateway.does(GRID.path, unforeseen)

    observation = await world.observer.observe()

    assert observation.grid.status is Status.MISSING
    assert [observation.readings["solar"].status, observation.readings["battery"].status] == [Status.FRESH] * 2


async def test_what_is_held_is_told_without_a_call(world: World) -> None:
    observation = world.observer.current_observation()

    assert statuses(observation) == [Status.MISSING] * 3
    assert world.gateway.calls == []


async def test_a_caller_that_gives_up_leaves_the_observation_to_the_others(world: World) -> None:
    world.gateway.delay_s = 0.02
    impatient = asyncio.create_task(world.observer.observe())
    patient = asyncio.create_task(world.observer.observe())
    await asyncio.sleep(0)

    impatient.cancel()

    assert statuses(await patient) == [Status.FRESH] * 3


async def test_everyone_shares_the_moment_of_the_observation(world: World) -> None:
    world.gateway.delay_s = 0.01

    one, other = await asyncio.gather(world.observer.observe(), world.observer.observe())

    assert one is other
    assert one.at - world.clock.now() == timedelta(0)
