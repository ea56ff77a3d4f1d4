"""Cut off for good: a deny policy stands, the subscriptions are blocked and the token is revoked; no token storm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from charging_agent.gateway.calls import FailureReason
from charging_agent.readings.apis import SOURCES
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import World

pytestmark = pytest.mark.anyio

STEP_S, STEPS = 1.0, 60


def cut_off(world: World, revoked: str, stands: codes.Fault) -> None:
    """Refuse the revoked token first, as the gateway does, and any other by what stands against the application."""

    async def answer(request: httpx.Request) -> httpx.Response:
        is_revoked = request.headers["authorization"] == f"Bearer {revoked}"
        fault = codes.INVALID_CREDENTIALS if is_revoked else stands
        return httpx.Response(fault.http_status, json=fault.body())

    for api in SOURCES:
        world.gateway.does(api.path, answer)


def revive(world: World) -> None:
    for api in SOURCES:
        world.gateway.gives(api.path)


@pytest.mark.parametrize("stands", [codes.SUBSCRIPTION_BLOCKED, codes.DENIED])
@pytest.mark.parametrize("age_s", [0.0, 9.0, 10.0, 1800.0])
async def test_after_a_kill_at_most_one_token_is_asked_for_and_the_cars_pause_until_the_agent_is_revived(
    either: World, stands: codes.Fault, age_s: float
) -> None:
    assert (await either.agent.decide_now()).decision.charging_power_kw == 22.0
    either.clock.advance(age_s)
    before = either.gateway.token_requests
    cut_off(either, "token-1", stands)

    errors: list[FailureReason | None] = []
    powers: list[float] = []
    for _ in range(STEPS):
        either.clock.advance(STEP_S)
        either.real_s += STEP_S
        decided = await either.agent.decide_now()
        errors.append(decided.observation.grid.error)
        powers.append(decided.decision.charging_power_kw)

    assert either.gateway.token_requests - before <= 1
    assert errors[-1] is FailureReason.BLOCKED
    # Before the held readings are 10 s old nothing is asked; then a token older than 10 s is renewed and refused.
    assert powers[21:] == [0.0] * (STEPS - 21)
    assert errors[21:] == [FailureReason.BLOCKED] * (STEPS - 21)

    revive(either)
    either.clock.advance(60)
    assert (await either.agent.decide_now()).decision.charging_power_kw == 22.0
    assert either.gateway.token_requests - before <= 1


async def test_a_renewal_that_was_due_anyway_and_the_one_after_the_refusal_are_the_same(either: World) -> None:
    await either.agent.decide_now()
    # Within the last fifth of its life a token is renewed in the background.
    either.clock.advance(3400)
    cut_off(either, "token-1", codes.DENIED)

    for _ in range(STEPS):
        await either.agent.decide_now()
        either.clock.advance(STEP_S)
        either.real_s += STEP_S

    assert either.gateway.token_requests == 2


async def test_an_endpoint_that_refuses_the_credentials_too_is_asked_ever_less_often(either: World) -> None:
    await either.agent.decide_now()
    either.clock.advance(20)
    cut_off(either, "token-1", codes.DENIED)
    either.gateway.says("/oauth2/token", 401, {"error": "invalid_client"})

    for _ in range(STEPS):
        await either.agent.decide_now()
        either.clock.advance(STEP_S)
        either.real_s += STEP_S

    # Pauses of 1, 2, 4, 8, 16 and 30 s.
    assert either.gateway.token_requests - 1 <= 7
    either.clock.advance(STEP_S)
    assert (await either.agent.decide_now()).decision.charging_power_kw == 0.0
