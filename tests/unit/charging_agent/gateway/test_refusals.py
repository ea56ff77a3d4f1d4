"""What the agent does when the gateway refuses a call: tokens, subscriptions, limits."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from charging_agent.gateway.calls import FailureReason, GatewayCallError, ReadingApi
from charging_agent.readings.apis import BATTERY, GRID, SOLAR, SOURCES
from wso2_terms import codes
from wso2_terms.windows import format_next_access_time, format_retry_after

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import World

pytestmark = pytest.mark.anyio

RENEWING = [{"code": "900901"}, {"code": "900902"}, {"code": "999999"}, {}]


async def trouble_of(world: World, api: ReadingApi[Any] = GRID) -> FailureReason:
    with pytest.raises(GatewayCallError) as failed:
        await world.client.fetch(api)
    return failed.value.reason


def refuse_token(world: World, value: str, body: dict[str, str]) -> None:
    """Refuse calls with this token, answer all others."""

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == f"Bearer {value}":
            return httpx.Response(401, json=body)
        return httpx.Response(200, json=world.gateway.reading(request.url.path))

    for api in SOURCES:
        world.gateway.does(api.path, answer)


async def test_a_reading_comes_with_the_token(world: World) -> None:
    reading = await world.client.fetch(GRID)

    assert reading.load_percent == 61.0
    assert world.gateway.authorizations[-1] == "Bearer token-1"


@pytest.mark.parametrize("body", RENEWING)
async def test_a_401_for_a_current_token_of_10_s_renews_once_and_repeats_once(
    world: World, body: dict[str, str]
) -> None:
    await world.tokens.get_token()
    refuse_token(world, "token-1", body)
    world.clock.advance(10)

    reading = await world.client.fetch(GRID)

    assert reading.load_percent == 61.0
    assert (world.gateway.token_requests, world.gateway.calls_to(GRID.path)) == (2, 2)


@pytest.mark.parametrize("body", RENEWING)
async def test_a_401_for_a_younger_token_renews_nothing(world: World, body: dict[str, str]) -> None:
    await world.tokens.get_token()
    refuse_token(world, "token-1", body)
    world.clock.advance(9.9)

    assert await trouble_of(world) is FailureReason.TOKEN_REFUSED
    assert (world.gateway.token_requests, world.gateway.calls_to(GRID.path)) == (1, 1)


async def test_a_renewal_held_back_is_made_by_the_next_refusal_after_10_s(world: World) -> None:
    await world.tokens.get_token()
    refuse_token(world, "token-1", {"code": "900901"})
    world.clock.advance(5)
    await trouble_of(world)
    assert world.gateway.token_requests == 1

    world.clock.advance(5)

    assert (await world.client.fetch(GRID)).load_percent == 61.0
    assert world.gateway.token_requests == 2


async def test_three_401_at_the_same_time_renew_once(world: World) -> None:
    await world.tokens.get_token()
    refuse_token(world, "token-1", {"code": "900901"})
    world.clock.advance(10)

    await asyncio.gather(world.client.fetch(SOLAR), world.client.fetch(BATTERY), world.client.fetch(GRID))

    assert world.gateway.token_requests == 2


async def test_a_401_for_a_renewed_token_too_is_told_as_refused(world: World) -> None:
    await world.tokens.get_token()
    world.gateway.refuses(GRID.path, codes.INVALID_CREDENTIALS)
    world.clock.advance(10)

    assert await trouble_of(world) is FailureReason.TOKEN_REFUSED
    assert (world.gateway.token_requests, world.gateway.calls_to(GRID.path)) == (2, 2)


async def test_a_401_for_an_older_token_is_repeated_once_with_the_current_one(world: World) -> None:
    await world.tokens.get_token()
    may_answer = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer token-1":
            await may_answer.wait()
            return httpx.Response(401, json={"code": "900901"})
        return httpx.Response(200, json=world.gateway.reading(GRID.path))

    world.gateway.does(GRID.path, answer)
    flying = asyncio.create_task(world.client.fetch(GRID))
    while not world.gateway.calls_to(GRID.path):
        await asyncio.sleep(0)
    world.clock.advance(3600)
    assert (await world.tokens.get_token()).value == "token-2"

    may_answer.set()

    assert (await flying).load_percent == 61.0
    assert (world.gateway.token_requests, world.gateway.calls_to(GRID.path)) == (2, 2)


@pytest.mark.parametrize("fault", [codes.SUBSCRIPTION_BLOCKED, codes.SUBSCRIPTION_INACTIVE])
async def test_a_blocked_subscription_renews_nothing_and_repeats_nothing(world: World, fault: codes.Fault) -> None:
    await world.tokens.get_token()
    world.clock.advance(60)
    world.gateway.refuses(GRID.path, fault)

    assert await trouble_of(world) is FailureReason.BLOCKED
    assert (world.gateway.token_requests, world.gateway.calls_to(GRID.path)) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        (codes.NOT_SUBSCRIBED, FailureReason.NOT_SUBSCRIBED),
        (codes.SCOPE_MISSING, FailureReason.FORBIDDEN),
        (codes.WRONG_AUDIENCE, FailureReason.FORBIDDEN),
        (codes.DENIED, FailureReason.BLOCKED),
        (codes.TRANSPORT_NOT_ALLOWED, FailureReason.FORBIDDEN),
        (codes.NOT_FOUND, FailureReason.NOT_FOUND),
        (codes.NO_RESOURCE, FailureReason.NOT_FOUND),
        (codes.METHOD_NOT_ALLOWED, FailureReason.NOT_FOUND),
    ],
)
async def test_a_4xx_is_never_repeated(world: World, fault: codes.Fault, trouble: FailureReason) -> None:
    # Each fault keeps its placeholders unfilled here; only status and code count.
    world.gateway.says(GRID.path, fault.http_status, {"code": fault.code, "message": fault.message})

    assert await trouble_of(world) is trouble
    assert world.gateway.calls_to(GRID.path) == 1


async def test_an_api_that_was_restored_answers_the_very_next_call(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.NOT_SUBSCRIBED)
    await trouble_of(world)

    world.gateway.gives(GRID.path)

    assert (await world.client.fetch(GRID)).load_percent == 61.0


@pytest.mark.parametrize("fault", [codes.SUBSCRIPTION_THROTTLED, codes.API_THROTTLED, codes.BACKEND_LIMIT])
async def test_a_throttled_api_is_left_alone_until_the_moment_in_the_body(world: World, fault: codes.Fault) -> None:
    until = world.clock.now() + timedelta(seconds=100)
    world.gateway.says_once(
        GRID.path, fault.http_status, fault.body() | {"nextAccessTime": format_next_access_time(until)}
    )

    assert await trouble_of(world) is FailureReason.THROTTLED
    world.clock.advance(99.9)
    assert await trouble_of(world) is FailureReason.THROTTLED
    assert world.gateway.calls_to(GRID.path) == 1
    world.clock.advance(0.1)
    assert (await world.client.fetch(GRID)).load_percent == 61.0


@pytest.mark.parametrize("kind", ["date", "both", "past", "garbage", "none"])
async def test_every_kind_of_hint_leads_to_a_moment_before_which_nothing_is_called(world: World, kind: str) -> None:
    now = world.clock.now()
    soon, late = now + timedelta(seconds=90), now + timedelta(seconds=500)
    body, headers, wait_s = {
        "date": ({}, {"retry_after": format_retry_after(soon)}, 90),
        "both": (
            {"nextAccessTime": format_next_access_time(soon)},
            {"retry_after": format_retry_after(late)},
            90,
        ),
        "past": ({"nextAccessTime": format_next_access_time(now - timedelta(days=1))}, {}, 40),
        "garbage": ({"nextAccessTime": "whenever"}, {"retry_after": "\u00fcbermorgen"}, 40),
        "none": ({}, {}, 40),
    }[kind]
    said: dict[str, Any] = {"code": "900804", **body}
    world.gateway.says_once(GRID.path, 429, said, **headers)

    assert await trouble_of(world) is FailureReason.THROTTLED
    world.clock.advance(wait_s - 0.001)
    assert await trouble_of(world) is FailureReason.THROTTLED
    assert world.gateway.calls_to(GRID.path) == 1
    world.clock.advance(0.001)
    assert (await world.client.fetch(GRID)).load_percent == 61.0


async def test_one_throttled_api_does_not_hold_up_the_others(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.SUBSCRIPTION_THROTTLED)
    await trouble_of(world)

    assert (await world.client.fetch(SOLAR)).generation_kw == 41.0


async def test_an_api_blocked_by_its_publisher_is_not_repeated(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.API_BLOCKED)

    assert await trouble_of(world) is FailureReason.BLOCKED
    assert world.gateway.calls_to(GRID.path) == 1


async def test_a_spent_budget_makes_no_call_and_the_next_utc_minute_does(world: World) -> None:
    for _ in range(10):
        await world.client.fetch(GRID)

    assert await trouble_of(world) is FailureReason.THROTTLED
    assert world.gateway.calls_to(GRID.path) == 10
    world.clock.advance(39.9)
    assert await trouble_of(world) is FailureReason.THROTTLED
    world.clock.advance(0.1)
    assert (await world.client.fetch(GRID)).load_percent == 61.0


async def test_every_attempt_counts_against_the_budget(world: World) -> None:
    await world.tokens.get_token()
    world.clock.advance(10)
    refuse_token(world, "token-1", {"code": "900901"})

    await world.client.fetch(GRID)

    assert world.budgets["GridAPI"].remaining(world.clock.now()) == 8


async def test_without_a_token_no_call_is_made_and_no_budget_spent(world: World) -> None:
    world.gateway.says("/oauth2/token", 401, {"error": "invalid_client"})

    assert await trouble_of(world) is FailureReason.TOKEN_REFUSED
    assert world.gateway.calls_to(GRID.path) == 0
    assert world.budgets["GridAPI"].remaining(world.clock.now()) == 10


async def test_a_token_endpoint_that_is_down_is_told_as_unavailable(world: World) -> None:
    world.gateway.says("/oauth2/token", 503)

    assert await trouble_of(world) is FailureReason.TOKEN_UNAVAILABLE


async def test_a_token_endpoint_that_fails_hurts_no_call_while_the_token_lives(world: World) -> None:
    world.gateway.token_life_s = 100
    await world.tokens.get_token()
    world.gateway.says("/oauth2/token", 500)
    world.clock.advance(90)

    for _ in range(10):
        assert (await world.client.fetch(GRID)).load_percent == 61.0

    world.clock.advance(30)
    assert await trouble_of(world) is FailureReason.TOKEN_UNAVAILABLE
