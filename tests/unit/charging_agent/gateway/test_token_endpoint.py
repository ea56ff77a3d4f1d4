"""One request to the token endpoint, and what each answer means."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr

from charging_agent.gateway.calls import FailureReason
from charging_agent.gateway.tokens import Credentials, TokenEndpoint, TokenError
from ev_service.errors import ConfigurationError
from wso2_terms.basic_credentials import decode_client

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import World

pytestmark = pytest.mark.anyio

PATH = "/oauth2/token"


class Source:
    """Credentials that change when the test says so; counts how often they are read."""

    def __init__(self) -> None:
        self.reads = 0
        self.current = Credentials("id-1", SecretStr("secret-1"))
        self.broken = False

    def read(self) -> Credentials:
        self.reads += 1
        if self.broken:
            raise ConfigurationError("WSO2_CLIENT_SECRET_FILE is empty")
        return self.current


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def endpoint(world: World, source: Source) -> TokenEndpoint:
    return TokenEndpoint(
        world.http,
        url="https://gateway.test/oauth2/token",
        scopes="solar:read grid:read",
        source=source,
        clock=world.clock,
    )


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


async def failure_of(endpoint: TokenEndpoint) -> TokenError:
    with pytest.raises(TokenError) as failed:
        await endpoint.request_token()
    return failed.value


async def test_it_asks_with_basic_auth_for_client_credentials_and_the_scopes(
    world: World, endpoint: TokenEndpoint
) -> None:
    seen: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return await world.gateway.issue(request)

    world.gateway.does(PATH, answer)

    token = await endpoint.request_token()

    assert seen[0].headers["authorization"] == basic("id-1", "secret-1")
    assert parse_qs(seen[0].content.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["solar:read grid:read"],
    }
    assert seen[0].url.query == b""
    assert (token.expires_at - token.requested_at).total_seconds() == 3600


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408])
async def test_any_4xx_but_429_is_a_refusal(world: World, endpoint: TokenEndpoint, status: int) -> None:
    world.gateway.says(PATH, status, {"error": "invalid_client"})

    assert (await failure_of(endpoint)).reason is FailureReason.TOKEN_REFUSED


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"oops"),
        (503, b"{}"),
        (302, b""),
        (200, b"<html>login</html>"),
        (200, b""),
        (200, b"[]"),
        (200, b'"text"'),
        (200, b'{"expires_in": 3600}'),
        (200, b'{"access_token": 7, "expires_in": 3600}'),
        (200, b'{"access_token": "", "expires_in": 3600}'),
        (200, b'{"access_token": "a b", "expires_in": 3600}'),
        (200, b'{"access_token": "a\\r\\nX-Evil: 1", "expires_in": 3600}'),
        (200, '{"access_token": "tök", "expires_in": 3600}'.encode()),
        (200, b'{"access_token": "abc", "expires_in": 3600, "pad": "' + b"x" * 100_000 + b'"}'),
        (200, b"[" * 50_000),
    ],
)
async def test_anything_else_that_is_no_token_makes_it_unavailable(
    world: World, endpoint: TokenEndpoint, status: int, body: bytes
) -> None:
    world.gateway.says(PATH, status, body)

    assert (await failure_of(endpoint)).reason is FailureReason.TOKEN_UNAVAILABLE


@pytest.mark.parametrize(
    "said",
    ["", "null", '""', '"soon"', "0", "0.5", "-1", "-1e308", "NaN", "Infinity", "1e999", "true", "[]", "{}", "9" * 400],
)
async def test_a_token_that_does_not_say_how_long_it_lives_is_used_for_five_minutes(
    world: World, endpoint: TokenEndpoint, said: str
) -> None:
    body = f'{{"access_token": "abc", "expires_in": {said}}}' if said else '{"access_token": "abc"}'
    world.gateway.says(PATH, 200, body.encode())

    token = await endpoint.request_token()

    assert (token.value, (token.expires_at - token.requested_at).total_seconds()) == ("abc", 300)


@pytest.mark.parametrize(
    ("said", "life_s"), [("1800", 1800), ('"1800"', 1800), ("1", 1), ("86401", 86_400), ("1e300", 86_400)]
)
async def test_a_life_that_is_a_number_counts_up_to_a_day(
    world: World, endpoint: TokenEndpoint, said: str, life_s: float
) -> None:
    world.gateway.says(PATH, 200, f'{{"access_token": "abc", "expires_in": {said}}}'.encode())

    token = await endpoint.request_token()

    assert (token.expires_at - token.requested_at).total_seconds() == life_s


@pytest.mark.parametrize("status", [429, 503, 500])
@pytest.mark.parametrize(
    ("retry_after", "wait_s"),
    [
        ("120", 120),
        ("Sun, 21 Jun 2026 12:05:20 GMT", 300),
        ("Sun, 21 Jun 2026 11:00:00 GMT", 0),
        ("0", 0),
        ("-5", 0),
        ("soon", 0),
        ("", 0),
        ("9999999", 3600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
    ],
)
async def test_a_busy_endpoint_is_a_wait_and_not_a_refusal(
    world: World, endpoint: TokenEndpoint, source: Source, status: int, retry_after: str, wait_s: float
) -> None:
    world.gateway.says(PATH, status, {"error": "slow_down"}, retry_after=retry_after)

    failure = await failure_of(endpoint)

    assert (failure.reason, failure.wait_s) == (FailureReason.TOKEN_UNAVAILABLE, wait_s)
    assert (source.reads, world.gateway.token_requests) == (1, 1)


@pytest.mark.parametrize("status", [400, 401])
async def test_a_refusal_is_no_wait_whatever_its_header_says(
    world: World, endpoint: TokenEndpoint, status: int
) -> None:
    world.gateway.says(PATH, status, {"error": "invalid_client"}, retry_after="120")

    failure = await failure_of(endpoint)

    assert (failure.reason, failure.wait_s) == (FailureReason.TOKEN_REFUSED, 0)


@pytest.mark.parametrize(
    ("client_id", "secret", "joined"),
    [
        ("evapp", "abc_DEF", "evapp:abc_DEF"),
        ("a:b", "c:d", "a%3Ab:c%3Ad"),
        ("50%", "1 + 1", "50%25:1+%2B+1"),
        ("\u00fc", "\u5b57\u2713", "%C3%BC:%E5%AD%97%E2%9C%93"),
        ("a&b=c", "/?#", "a%26b%3Dc:%2F%3F%23"),
    ],
)
async def test_key_and_secret_are_form_encoded(
    world: World, endpoint: TokenEndpoint, source: Source, client_id: str, secret: str, joined: str
) -> None:
    source.current = Credentials(client_id, SecretStr(secret))

    await endpoint.request_token()

    header = world.gateway.authorizations[-1]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == joined
    assert decode_client(header) == (client_id, secret)


async def test_an_endless_answer_is_not_read_to_its_end(world: World, endpoint: TokenEndpoint) -> None:
    sent = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal sent
        while True:
            sent += 1024
            yield b"x" * 1024

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=endless())

    world.gateway.does(PATH, answer)

    assert (await failure_of(endpoint)).reason is FailureReason.TOKEN_UNAVAILABLE
    assert sent < 100_000


async def test_an_unreachable_endpoint_makes_the_token_unavailable(world: World, endpoint: TokenEndpoint) -> None:
    async def unreachable(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    world.gateway.does(PATH, unreachable)

    failure = await failure_of(endpoint)
    assert (failure.reason, str(failure)) == (FailureReason.TOKEN_UNAVAILABLE, "token endpoint: ConnectError")


async def test_a_hanging_endpoint_is_given_up(
    world: World, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charging_agent.gateway.tokens._TIMEOUT_S", 0.05)
    world.gateway.hangs(PATH)

    assert (await failure_of(endpoint)).reason is FailureReason.TOKEN_UNAVAILABLE


async def test_a_trickling_endpoint_is_given_up(
    world: World, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charging_agent.gateway.tokens._TIMEOUT_S", 0.05)

    async def trickle() -> AsyncGenerator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b" "

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=trickle())

    world.gateway.does(PATH, answer)

    assert (await failure_of(endpoint)).reason is FailureReason.TOKEN_UNAVAILABLE


async def test_refused_credentials_are_read_again_before_the_refusal_is_told(
    world: World, endpoint: TokenEndpoint, source: Source
) -> None:
    world.gateway.says(PATH, 401, {"error": "invalid_client"})

    await failure_of(endpoint)

    assert source.reads == 2
    assert world.gateway.token_requests == 1


async def test_changed_credentials_are_used_at_once(world: World, endpoint: TokenEndpoint, source: Source) -> None:
    await endpoint.request_token()
    world.gateway.says_once(PATH, 401, {"error": "invalid_client"})
    source.current = Credentials("id-2", SecretStr("secret-2"))

    token = await endpoint.request_token()

    assert token.value == "token-2"
    assert world.gateway.authorizations[-2:] == [basic("id-1", "secret-1"), basic("id-2", "secret-2")]


async def test_credentials_are_not_read_again_while_they_are_good(endpoint: TokenEndpoint, source: Source) -> None:
    await endpoint.request_token()
    await endpoint.request_token()

    assert source.reads == 1


async def test_an_unreachable_endpoint_does_not_read_credentials_again(
    world: World, endpoint: TokenEndpoint, source: Source
) -> None:
    world.gateway.says(PATH, 503)

    await failure_of(endpoint)

    assert source.reads == 1


async def test_refused_credentials_that_can_not_be_read_again_stay_refused(
    world: World, endpoint: TokenEndpoint, source: Source
) -> None:
    await endpoint.request_token()
    world.gateway.says(PATH, 401)
    source.broken = True

    assert (await failure_of(endpoint)).reason is FailureReason.TOKEN_REFUSED


async def test_credentials_that_are_not_there_yet_make_the_token_unavailable_until_they_are(
    endpoint: TokenEndpoint, source: Source
) -> None:
    source.broken = True
    assert (await failure_of(endpoint)).reason is FailureReason.TOKEN_UNAVAILABLE

    source.broken = False

    assert (await endpoint.request_token()).value == "token-1"


async def test_a_token_is_never_kept_longer_than_a_day(world: World, endpoint: TokenEndpoint) -> None:
    world.gateway.says(PATH, 200, {"access_token": "abc", "expires_in": 10**15})

    token = await endpoint.request_token()

    assert (token.expires_at - token.requested_at).total_seconds() == 86_400


async def test_a_tokens_life_counts_from_the_moment_it_was_asked_for(world: World, endpoint: TokenEndpoint) -> None:
    asked_at = world.clock.now()

    async def answer(_: httpx.Request) -> httpx.Response:
        world.clock.advance(5)
        return httpx.Response(200, content=json.dumps({"access_token": "abc", "expires_in": 30}))

    world.gateway.does(PATH, answer)

    token = await endpoint.request_token()

    assert (token.expires_at - asked_at).total_seconds() == 30
