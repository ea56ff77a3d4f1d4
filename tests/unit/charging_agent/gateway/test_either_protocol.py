"""Care is the same over REST and over MCP: one table of what may be met, and what comes of it in both."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from charging_agent.gateway.calls import FailureReason, GatewayCallError, ReadingApi
from charging_agent.readings.apis import GRID, SOLAR, SOURCES
from wso2_terms import codes
from wso2_terms.windows import format_next_access_time, format_retry_after

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import World

pytestmark = pytest.mark.anyio

ONCE, TWICE = 1, 2
SUSPENDED = {"code": "303001", "type": "Status report", "message": "Runtime Error"}
PROBLEM = {"type": "about:blank", "title": "Service Unavailable", "status": 503, "code": "no_reading"}
REFUSED = {
    "type": "urn:ev-charging:problem:assertion_refused",
    "title": "Unauthorized",
    "status": 401,
    "detail": "the gateway's assertion does not verify",
    "code": "assertion_refused",
    "correlation_id": "c-1",
}
TABLE = [
    pytest.param(401, codes.SUBSCRIPTION_BLOCKED.body(), FailureReason.BLOCKED, ONCE, id="900907"),
    pytest.param(401, codes.SUBSCRIPTION_INACTIVE.body(), FailureReason.BLOCKED, ONCE, id="900909"),
    pytest.param(401, codes.INVALID_CREDENTIALS.body(), FailureReason.TOKEN_REFUSED, ONCE, id="900901 young"),
    pytest.param(401, REFUSED, FailureReason.BACKEND_REFUSED, ONCE, id="401 of the service"),
    pytest.param(403, codes.NOT_SUBSCRIBED.body(), FailureReason.NOT_SUBSCRIBED, ONCE, id="900908"),
    pytest.param(403, codes.SCOPE_MISSING.body(resource="/x"), FailureReason.FORBIDDEN, ONCE, id="900910"),
    pytest.param(403, codes.DENIED.body(), FailureReason.BLOCKED, ONCE, id="900805"),
    pytest.param(404, codes.NOT_FOUND.body(), FailureReason.NOT_FOUND, ONCE, id="404"),
    pytest.param(405, codes.METHOD_NOT_ALLOWED.body(), FailureReason.NOT_FOUND, ONCE, id="405"),
    pytest.param(429, codes.SUBSCRIPTION_THROTTLED.body(), FailureReason.THROTTLED, ONCE, id="900804"),
    pytest.param(503, codes.BACKEND_LIMIT.body(), FailureReason.THROTTLED, ONCE, id="900801"),
    pytest.param(503, codes.API_BLOCKED.body(), FailureReason.BLOCKED, ONCE, id="700700"),
    pytest.param(503, PROBLEM, FailureReason.BACKEND_FAILED, TWICE, id="503 of the service"),
    pytest.param(500, codes.CONNECTION_FAILED.body(), FailureReason.BACKEND_FAILED, TWICE, id="101503"),
    pytest.param(500, codes.UNCLASSIFIED.body(), FailureReason.GATEWAY_DOWN, TWICE, id="900900"),
    pytest.param(500, SUSPENDED, FailureReason.BACKEND_FAILED, ONCE, id="303001"),
    pytest.param(500, b"<h1>oops</h1>", FailureReason.BACKEND_FAILED, TWICE, id="500 without a code"),
    pytest.param(200, b"<h1>Sign in</h1>", FailureReason.INVALID_READING, ONCE, id="no JSON"),
    pytest.param(200, b"null", FailureReason.INVALID_READING, ONCE, id="null"),
    pytest.param(200, {"load_percent": 61}, FailureReason.INVALID_READING, ONCE, id="wrong model"),
    pytest.param(200, b"x" * 1_000_000, FailureReason.INVALID_READING, ONCE, id="too long"),
    pytest.param(302, b"", FailureReason.INVALID_READING, ONCE, id="302"),
]


async def fetch(world: World, api: ReadingApi[Any]) -> None:
    await world.client.fetch(api)


async def trouble_of(world: World) -> FailureReason:
    with pytest.raises(GatewayCallError) as failed:
        await world.client.fetch(GRID)
    return failed.value.reason


@pytest.mark.parametrize(("status", "body", "trouble", "attempts"), TABLE)
async def test_what_is_refused_or_fails_has_one_word_and_one_number_of_attempts(
    either: World, status: int, body: bytes | dict[str, str], trouble: FailureReason, attempts: int
) -> None:
    await either.tokens.get_token()
    either.gateway.says(GRID.path, status, body)

    assert await trouble_of(either) is trouble
    assert either.gateway.calls_to(GRID.path) == attempts
    assert either.gateway.token_requests == 1
    assert [call.outcome for call in either.calls if call.resource != "tools/list"] == [trouble.value] * attempts


async def test_a_service_that_refuses_the_gateway_renews_no_token_however_often_and_however_old(either: World) -> None:
    either.gateway.says(GRID.path, 401, REFUSED)

    for _ in range(8):
        assert await trouble_of(either) is FailureReason.BACKEND_REFUSED
        either.clock.advance(15)

    assert either.gateway.token_requests == 1
    either.gateway.gives(GRID.path)
    assert (await either.client.fetch(GRID)).load_percent == 61.0


async def test_a_hang_is_given_up_twice(either: World) -> None:
    either.hurry()
    either.gateway.hangs(GRID.path)

    assert await trouble_of(either) is FailureReason.TIMEOUT
    assert [(call.status, call.outcome) for call in either.calls if call.resource != "tools/list"] == [
        (None, "timeout")
    ] * 2


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.RemoteProtocolError("bad status line")])
async def test_a_broken_connection_means_that_the_gateway_is_down(either: World, error: httpx.HTTPError) -> None:
    async def answer(_: httpx.Request) -> httpx.Response:
        raise error

    either.gateway.does(GRID.path, answer)

    assert await trouble_of(either) is FailureReason.GATEWAY_DOWN


@pytest.mark.parametrize("kind", ["body", "header"])
async def test_the_hint_of_a_429_is_never_lost(either: World, kind: str) -> None:
    until = either.clock.now() + timedelta(seconds=100)
    body = codes.SUBSCRIPTION_THROTTLED.body()
    headers = {"retry_after": format_retry_after(until)} if kind == "header" else {}
    if kind == "body":
        body["nextAccessTime"] = format_next_access_time(until)
    either.gateway.says_once(GRID.path, 429, body, **headers)

    assert await trouble_of(either) is FailureReason.THROTTLED
    either.clock.advance(99.9)
    assert await trouble_of(either) is FailureReason.THROTTLED
    assert either.gateway.calls_to(GRID.path) == 1
    either.clock.advance(0.1)
    assert (await either.client.fetch(GRID)).load_percent == 61.0


async def test_three_401_at_the_same_time_renew_once(either: World) -> None:
    await asyncio.gather(*(fetch(either, api) for api in SOURCES))

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["authorization"] == "Bearer token-1":
            return httpx.Response(401, json={"code": "900901"})
        return httpx.Response(200, json=either.gateway.reading(request.url.path))

    for api in SOURCES:
        either.gateway.does(api.path, answer)
    either.clock.advance(10)

    await asyncio.gather(*(fetch(either, api) for api in SOURCES))

    assert either.gateway.token_requests == 2
    assert [call.outcome for call in either.calls[-6:]].count("token_refused") == 3


async def test_after_a_failed_call_the_breaker_keeps_the_api_from_being_asked(either: World) -> None:
    either.gateway.refuses(GRID.path, codes.CONNECTION_FAILED)
    await trouble_of(either)

    either.real_s += 0.79

    assert await trouble_of(either) is FailureReason.BACKEND_FAILED
    assert either.gateway.calls_to(GRID.path) == 2


async def test_a_spent_budget_makes_no_call(either: World) -> None:
    while either.budgets["SolarAPI"].remaining(either.clock.now()):
        await either.client.fetch(SOLAR)
    sent = len(either.gateway.authorizations)

    with pytest.raises(GatewayCallError, match="throttled"):
        await either.client.fetch(SOLAR)

    assert len(either.gateway.authorizations) == sent
    assert len([call for call in either.calls if call.api in ("SolarAPI", "SolarMCP")]) == 10


async def test_a_call_is_told_with_what_the_gateways_log_must_hold_too(either: World) -> None:
    await either.client.fetch(GRID)

    told = either.calls[-1]
    rest = ("GridAPI", "rest", "GET /grid/1.0.0/grid-load", None)
    mcp = ("GridMCP", "mcp", "getGridLoad", "from-the-gateway")
    assert (told.api, told.protocol, told.resource, told.correlation_id) == (
        rest if either.adapter.protocol == "rest" else mcp
    )
    assert (told.status, told.outcome, told.code, told.at) == (200, "ok", None, either.clock.now())
