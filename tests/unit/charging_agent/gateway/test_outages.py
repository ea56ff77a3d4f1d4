"""What the agent does when the gateway or a service fails: retries, the breaker, broken readings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from charging_agent.gateway.calls import FailureReason, GatewayCallError, ReadingApi
from charging_agent.gateway.client import RetryPlan
from charging_agent.readings.apis import BATTERY, GRID, SOLAR
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import World

pytestmark = pytest.mark.anyio


async def trouble_of(world: World, api: ReadingApi[Any] = GRID) -> FailureReason:
    with pytest.raises(GatewayCallError) as failed:
        await world.client.fetch(api)
    return failed.value.reason


RETRIED = [
    (codes.CONNECTION_FAILED, FailureReason.BACKEND_FAILED),
    (codes.BACKEND_TIMEOUT, FailureReason.BACKEND_FAILED),
    (codes.CONNECTION_CLOSED, FailureReason.BACKEND_FAILED),
    (codes.UNCLASSIFIED, FailureReason.GATEWAY_DOWN),
]


@pytest.mark.parametrize(("fault", "trouble"), RETRIED)
async def test_a_backend_failure_is_tried_once_more_and_then_told(
    world: World, fault: codes.Fault, trouble: FailureReason
) -> None:
    world.gateway.refuses(GRID.path, fault)

    assert await trouble_of(world) is trouble
    assert world.gateway.calls_to(GRID.path) == 2


@pytest.mark.parametrize("body", [b"", b"<h1>Internal Server Error</h1>", b"x" * 5_000_000])
async def test_a_500_without_a_code_is_the_services_failure(world: World, body: bytes) -> None:
    world.gateway.says(GRID.path, 500, body)

    assert await trouble_of(world) is FailureReason.BACKEND_FAILED
    assert world.gateway.calls_to(GRID.path) == 2


async def test_the_second_attempt_may_bring_the_reading(world: World) -> None:
    fault = codes.CONNECTION_FAILED
    world.gateway.says_once(GRID.path, fault.http_status, fault.body())

    assert (await world.client.fetch(GRID)).load_percent == 61.0


async def test_a_suspended_backend_is_not_asked_again_at_once(world: World) -> None:
    world.gateway.says(GRID.path, 500, {"code": codes.ENDPOINT_SUSPENDED.code})

    assert await trouble_of(world) is FailureReason.BACKEND_FAILED
    assert await trouble_of(world) is FailureReason.BACKEND_FAILED
    assert world.gateway.calls_to(GRID.path) == 1


async def test_a_hang_is_given_up_twice(world: World) -> None:
    world.hurry()
    world.gateway.hangs(GRID.path)

    assert await trouble_of(world) is FailureReason.TIMEOUT
    assert world.gateway.calls_to(GRID.path) == 2


async def test_a_body_that_trickles_is_given_up(world: World) -> None:
    world.hurry()

    async def trickle() -> AsyncGenerator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b" "

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=trickle())

    world.gateway.does(GRID.path, answer)

    assert await trouble_of(world) is FailureReason.TIMEOUT


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed without an answer"),
        httpx.DecodingError("no gzip"),
        httpx.ConnectError("certificate verify failed"),
    ],
)
async def test_a_connection_that_breaks_means_that_the_gateway_is_down(world: World, error: httpx.HTTPError) -> None:
    async def answer(_: httpx.Request) -> httpx.Response:
        raise error

    world.gateway.does(GRID.path, answer)

    assert await trouble_of(world) is FailureReason.GATEWAY_DOWN
    assert world.gateway.calls_to(GRID.path) == 2


async def test_no_attempt_begins_after_the_deadline(world: World) -> None:
    world.use(RetryPlan(attempts=50, deadline_s=0.1, attempt_timeout_s=0.05), deadline_s=0.5)
    world.gateway.hangs(GRID.path)

    assert await trouble_of(world) is FailureReason.TIMEOUT
    assert world.gateway.calls_to(GRID.path) <= 3


async def test_after_a_failed_call_the_breaker_keeps_the_api_from_being_asked(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.CONNECTION_FAILED)
    await trouble_of(world)

    world.real_s += 0.79

    assert await trouble_of(world) is FailureReason.BACKEND_FAILED
    assert world.gateway.calls_to(GRID.path) == 2


async def test_the_first_call_after_the_pause_is_a_single_trial(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.CONNECTION_FAILED)
    await trouble_of(world)

    world.real_s += 1.21

    assert await trouble_of(world) is FailureReason.BACKEND_FAILED
    assert world.gateway.calls_to(GRID.path) == 3


async def test_an_api_that_comes_back_is_read_at_the_end_of_the_pause(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.CONNECTION_FAILED)
    await trouble_of(world)

    world.gateway.gives(GRID.path)
    world.real_s += 1.21

    assert (await world.client.fetch(GRID)).load_percent == 61.0
    assert (await world.client.fetch(GRID)).load_percent == 61.0


async def test_a_lasting_outage_is_asked_ever_less_often_but_at_least_every_18_s(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.CONNECTION_FAILED)
    tried_at_s = list[float]()

    while world.real_s < 120:
        before = world.gateway.calls_to(GRID.path)
        await trouble_of(world)
        if world.gateway.calls_to(GRID.path) > before:
            tried_at_s.append(world.real_s)
        world.real_s += 0.5
        world.clock.advance(60)

    pauses_s = [later - earlier for earlier, later in pairwise(tried_at_s)]
    assert max(pauses_s) <= 18.5
    assert min(pauses_s[3:]) >= 5
    assert len(tried_at_s) <= 14


async def test_one_failing_api_does_not_open_the_breaker_of_another(world: World) -> None:
    world.gateway.refuses(GRID.path, codes.CONNECTION_FAILED)
    await trouble_of(world)

    assert (await world.client.fetch(SOLAR)).generation_kw == 41.0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<!doctype html><html>Sign in</html>", id="HTML"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[" * 60_000, id="deep nesting"),
        pytest.param(json.dumps({"pad": "x" * 5_000_000}).encode(), id="5 MB of JSON"),
    ],
)
async def test_a_200_that_is_no_reading_is_invalid_and_not_repeated(world: World, body: bytes) -> None:
    world.gateway.says(GRID.path, 200, body)

    assert await trouble_of(world) is FailureReason.INVALID_READING
    assert world.gateway.calls_to(GRID.path) == 1


async def test_five_megabytes_are_not_read_to_their_end(world: World) -> None:
    sent = 0

    async def much() -> AsyncGenerator[bytes]:
        nonlocal sent
        for _ in range(5000):
            sent += 1000
            yield b"x" * 1000

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=much())

    world.gateway.does(GRID.path, answer)

    assert await trouble_of(world) is FailureReason.INVALID_READING
    assert sent < 100_000


@pytest.mark.parametrize(
    ("api", "changes"),
    [
        (GRID, {"load_percent": float("nan")}),
        (GRID, {"load_percent": float("inf")}),
        (GRID, {"load_percent": -0.1}),
        (GRID, {"load_percent": "61"}),
        (GRID, {"load_percent": None}),
        (GRID, {"load_percent": True}),
        (GRID, {"load_kw": -1.0}),
        (GRID, {"limit_kw": 0.0}),
        (GRID, {"timestamp": "yesterday"}),
        (GRID, {"timestamp": "2026-06-21T12:00:00"}),
        (GRID, {"timestamp": 1782043220}),
        (GRID, {"timestamp": "0001-01-01T00:00:00+05:00"}),
        (GRID, {"timestamp": "9999-12-31T23:59:59-05:00"}),
        (GRID, {"site_id": ""}),
        (GRID, {"source": None}),
        (SOLAR, {"generation_kw": -0.001}),
        (SOLAR, {"generation_kw": float("-inf")}),
        (SOLAR, {"capacity_kwp": 0.0}),
        (BATTERY, {"soc_percent": 101.0}),
        (BATTERY, {"soc_percent": -1.0}),
        (BATTERY, {"capacity_kwh": 0.0}),
        (BATTERY, {"active_power_kw": float("nan")}),
    ],
)
async def test_a_reading_that_breaks_its_model_is_invalid(
    world: World, api: ReadingApi[Any], changes: dict[str, Any]
) -> None:
    world.gateway.gives(api.path, **changes)

    assert await trouble_of(world, api) is FailureReason.INVALID_READING
    assert world.gateway.calls_to(api.path) == 1


@pytest.mark.parametrize(
    ("api", "missing"),
    [
        (api, name)
        for api, names in (
            (SOLAR, ("generation_kw", "capacity_kwp")),
            (BATTERY, ("soc_percent", "capacity_kwh")),
            (GRID, ("load_percent", "load_kw", "limit_kw", "timestamp", "site_id", "source")),
        )
        for name in names
    ],
)
async def test_a_reading_without_a_required_field_is_invalid(world: World, api: ReadingApi[Any], missing: str) -> None:
    said = world.gateway.reading(api.path)
    del said[missing]
    world.gateway.says(api.path, 200, said)

    assert await trouble_of(world, api) is FailureReason.INVALID_READING


async def test_fields_that_nobody_knows_are_ignored(world: World) -> None:
    world.gateway.gives(GRID.path, colour="green", nested={"a": [1, 2]})

    assert (await world.client.fetch(GRID)).load_percent == 61.0
