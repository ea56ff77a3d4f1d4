"""When a token is asked for and which one is used, without a network."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from charging_agent.gateway.calls import FailureReason
from charging_agent.gateway.tokens import Token, TokenCache, TokenError
from ev_service.clock import SteppedClock

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)


class SetBackClock(SteppedClock):
    """A system clock that someone sets."""

    def set_back(self, seconds: float) -> None:
        self._now -= timedelta(seconds=seconds)


class Endpoint:
    """Issues numbered tokens, as slowly or as badly as the test wants."""

    def __init__(self) -> None:
        self.clock = SetBackClock(NOON)
        self.real_s = 0.0
        self.requests = 0
        self.life_s = 3600.0
        self.failure: FailureReason | None = None
        self.wait_s = 0.0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.cache = TokenCache(self, self.clock, lambda: self.real_s)

    async def request_token(self) -> Token:
        self.requests += 1
        asked_at, number = self.clock.now(), self.requests
        await self.may_answer.wait()
        if self.failure is not None:
            raise TokenError(self.failure, "told to fail", wait_s=self.wait_s)
        return Token(f"token-{number}", asked_at, asked_at + timedelta(seconds=self.life_s))

    async def settle(self) -> None:
        """Let background renewals run."""
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def endpoint() -> AsyncGenerator[Endpoint]:
    made = Endpoint()
    yield made
    await made.cache.stop()


async def test_a_hundred_callers_at_a_cold_start_cause_one_request(endpoint: Endpoint) -> None:
    tokens = await asyncio.gather(*(endpoint.cache.get_token() for _ in range(100)))

    assert {token.value for token in tokens} == {"token-1"}
    assert endpoint.requests == 1


async def test_a_token_is_used_without_a_request_until_a_fifth_of_its_life_is_left(endpoint: Endpoint) -> None:
    endpoint.life_s = 100
    await endpoint.cache.get_token()

    endpoint.clock.advance(79)
    await endpoint.cache.get_token()
    await endpoint.settle()

    assert endpoint.requests == 1


async def test_a_token_is_renewed_ahead_of_its_end_and_nobody_waits_for_it(endpoint: Endpoint) -> None:
    endpoint.life_s = 100
    await endpoint.cache.get_token()
    endpoint.clock.advance(80)
    endpoint.may_answer.clear()

    used = await asyncio.gather(*(endpoint.cache.get_token() for _ in range(100)))

    assert {token.value for token in used} == {"token-1"}
    endpoint.may_answer.set()
    await endpoint.settle()
    assert (await endpoint.cache.get_token()).value == "token-2"
    assert endpoint.requests == 2


async def test_a_long_life_is_renewed_five_minutes_ahead() -> None:
    token = Token("value", NOON, NOON + timedelta(hours=24))

    assert token.renew_at() == token.expires_at - timedelta(minutes=5)


async def test_tokens_of_30_s_do_not_cause_a_request_per_call(endpoint: Endpoint) -> None:
    endpoint.life_s = 30

    for _ in range(120):
        await endpoint.cache.get_token()
        await endpoint.settle()
        endpoint.clock.advance(1)

    assert endpoint.requests == 5  # at 0, 24, 48, 72 and 96 s


async def test_a_failing_endpoint_hurts_nobody_while_the_token_lives(endpoint: Endpoint) -> None:
    endpoint.life_s = 100
    await endpoint.cache.get_token()
    endpoint.failure = FailureReason.TOKEN_UNAVAILABLE

    for _ in range(19):
        endpoint.clock.advance(1)
        endpoint.real_s += 1
        assert (await endpoint.cache.get_token()).value == "token-1"
    endpoint.clock.advance(80)
    for _ in range(10):
        assert (await endpoint.cache.get_token()).value == "token-1"
        await endpoint.settle()

    assert endpoint.requests == 2


async def test_when_the_token_has_died_the_endpoints_failure_is_told(endpoint: Endpoint) -> None:
    await endpoint.cache.get_token()
    endpoint.failure = FailureReason.TOKEN_UNAVAILABLE
    endpoint.clock.advance(3600)

    with pytest.raises(TokenError) as failed:
        await endpoint.cache.get_token()

    assert failed.value.reason is FailureReason.TOKEN_UNAVAILABLE


async def test_a_failing_endpoint_is_asked_ever_less_often(endpoint: Endpoint) -> None:
    endpoint.failure = FailureReason.TOKEN_UNAVAILABLE

    for _ in range(1200):
        with pytest.raises(TokenError):
            await endpoint.cache.get_token()
        endpoint.real_s += 0.1

    assert endpoint.requests in (8, 9)  # after 0, 1, 3, 7, 15, 31, 61 and 91 s, each pause up to a fifth shorter


async def test_after_the_pause_a_recovered_endpoint_is_used_again(endpoint: Endpoint) -> None:
    endpoint.failure = FailureReason.TOKEN_REFUSED
    with pytest.raises(TokenError):
        await endpoint.cache.get_token()

    endpoint.failure = None
    endpoint.real_s += 1

    assert (await endpoint.cache.get_token()).value == "token-2"


async def test_an_endpoint_that_asks_for_a_wait_is_not_asked_before_its_end(endpoint: Endpoint) -> None:
    endpoint.failure, endpoint.wait_s = FailureReason.TOKEN_UNAVAILABLE, 120.0

    for _ in range(120):
        with pytest.raises(TokenError) as failed:
            await endpoint.cache.get_token()
        assert failed.value.reason is FailureReason.TOKEN_UNAVAILABLE
        endpoint.real_s += 1
        # Whatever the wall clock does meanwhile.
        endpoint.clock.set_back(60)
    assert endpoint.requests == 1

    endpoint.failure = None
    assert (await endpoint.cache.get_token()).value == "token-2"


async def test_a_wait_holds_back_renewals_ahead_of_expiry_and_after_refusals_too(endpoint: Endpoint) -> None:
    token = await endpoint.cache.get_token()
    endpoint.failure, endpoint.wait_s = FailureReason.TOKEN_UNAVAILABLE, 60.0
    endpoint.clock.advance(3400)
    assert await endpoint.cache.get_token() is token
    await endpoint.settle()
    assert endpoint.requests == 2

    for _ in range(59):
        endpoint.real_s += 1
        assert await endpoint.cache.get_token() is token
        with pytest.raises(TokenError):
            await endpoint.cache.get_token_after_refusal(token)
        await endpoint.settle()
    assert endpoint.requests == 2

    endpoint.real_s += 1
    endpoint.failure = None
    await endpoint.cache.get_token()
    await endpoint.settle()
    assert (await endpoint.cache.get_token()).value == "token-3"


async def test_a_short_wait_does_not_shorten_the_pause(endpoint: Endpoint) -> None:
    endpoint.failure, endpoint.wait_s = FailureReason.TOKEN_UNAVAILABLE, 1.0

    for _ in range(1200):
        with pytest.raises(TokenError):
            await endpoint.cache.get_token()
        endpoint.real_s += 0.1

    assert endpoint.requests in (8, 9)


async def test_a_refusal_of_an_older_token_hands_out_the_current_one(endpoint: Endpoint) -> None:
    older = await endpoint.cache.get_token()
    endpoint.clock.advance(3600)
    current = await endpoint.cache.get_token()

    assert await endpoint.cache.get_token_after_refusal(older) is current
    assert endpoint.requests == 2


async def test_a_refusal_of_a_current_token_younger_than_10_s_renews_nothing(endpoint: Endpoint) -> None:
    token = await endpoint.cache.get_token()
    endpoint.clock.advance(9.9)

    assert await endpoint.cache.get_token_after_refusal(token) is None
    await endpoint.settle()
    assert endpoint.requests == 1


async def test_a_renewal_held_back_is_not_remembered(endpoint: Endpoint) -> None:
    token = await endpoint.cache.get_token()
    await endpoint.cache.get_token_after_refusal(token)

    endpoint.clock.advance(60)
    await endpoint.cache.get_token()
    await endpoint.settle()

    assert endpoint.requests == 1


async def test_a_hundred_refusals_of_a_current_token_of_10_s_renew_once(endpoint: Endpoint) -> None:
    token = await endpoint.cache.get_token()
    endpoint.clock.advance(10)

    newer = await asyncio.gather(*(endpoint.cache.get_token_after_refusal(token) for _ in range(100)))

    assert {other.value for other in newer if other is not None} == {"token-2"}
    assert endpoint.requests == 2


async def test_a_refusal_during_a_renewal_waits_for_that_renewal(endpoint: Endpoint) -> None:
    endpoint.life_s = 100
    token = await endpoint.cache.get_token()
    endpoint.clock.advance(85)
    endpoint.may_answer.clear()
    await endpoint.cache.get_token()
    waiting = asyncio.create_task(endpoint.cache.get_token_after_refusal(token))
    await endpoint.settle()

    endpoint.may_answer.set()

    newer = await waiting
    assert newer is not None
    assert newer.value == "token-2"
    assert endpoint.requests == 2


async def test_a_token_is_renewed_on_refusal_although_the_clock_was_set_back(endpoint: Endpoint) -> None:
    token = await endpoint.cache.get_token()
    endpoint.clock.set_back(3600)

    newer = await endpoint.cache.get_token_after_refusal(token)

    assert newer is not None
    assert newer.value == "token-2"


async def test_a_token_from_before_the_clock_was_set_back_is_renewed_in_the_background(endpoint: Endpoint) -> None:
    await endpoint.cache.get_token()
    endpoint.clock.set_back(3600)

    used = await endpoint.cache.get_token()
    await endpoint.settle()

    assert used.value == "token-1"
    assert (await endpoint.cache.get_token()).value == "token-2"
    assert endpoint.requests == 2


async def test_a_clock_that_jumps_past_the_tokens_end_renews_it(endpoint: Endpoint) -> None:
    await endpoint.cache.get_token()

    endpoint.clock.advance(86_400)

    assert (await endpoint.cache.get_token()).value == "token-2"


async def test_stopping_gives_up_a_renewal_in_flight(endpoint: Endpoint) -> None:
    endpoint.may_answer.clear()
    waiting = asyncio.create_task(endpoint.cache.get_token())
    await endpoint.settle()

    await endpoint.cache.stop()
    await endpoint.settle()

    assert waiting.cancelled()


def test_a_token_does_not_show_its_value() -> None:
    assert "very-secret" not in repr(Token("very-secret", NOON, NOON))
