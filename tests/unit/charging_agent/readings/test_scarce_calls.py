"""The agent as a whole when the gateway allows fewer calls than its decisions want."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from charging_agent.gateway.budget import CallLimit
from charging_agent.gateway.calls import FailureReason
from charging_agent.readings.apis import SOLAR, SOURCES
from wso2_terms import codes

if TYPE_CHECKING:
    from tests.unit.charging_agent.conftest import AgentApplication, World

pytestmark = pytest.mark.anyio


def calls(world: World | AgentApplication) -> list[int]:
    return [world.gateway.calls_to(api.path) for api in SOURCES]


async def test_the_applications_own_limit_closes_all_apis_until_its_hint(world: World) -> None:
    fault = codes.APPLICATION_THROTTLED
    world.gateway.says(SOLAR.path, 429, fault.body(next_access_time="2026-Jun-21 12:00:50+0000 UTC"))
    await world.observer.observe()
    world.clock.advance(29)

    stale = await world.observer.observe()

    assert [stale.readings["solar"].error, stale.grid.error] == [FailureReason.THROTTLED] * 2
    assert calls(world) == [1, 1, 1]
    world.clock.advance(1)
    world.gateway.gives(SOLAR.path)
    assert not (await world.observer.observe()).is_degraded


async def test_scarce_calls_are_spread_over_the_minute(world: World) -> None:
    for name in world.budgets:
        world.budgets[name].limit = CallLimit(3)
    oldest_s = 0.0

    for second in range(240):
        observation = await world.observer.observe()
        oldest_s = max(oldest_s, observation.grid.age_s or 0.0) if second > 120 else 0.0
        world.clock.advance(1)

    assert oldest_s <= 21
    assert calls(world) == [13, 13, 13]
    assert world.observer.current_observation().grid.error is FailureReason.THROTTLED


async def test_the_applications_limit_in_the_limits_file_is_kept_by_all_apis_together(
    served: AgentApplication, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps({"*": {"requests": 6, "per_s": 60}}), encoding="utf-8")
    served.settings |= {"limits_file": limits, "period_s": 3600}
    # From the start of a clock minute, the agent's own first observation included.
    served.clock.advance(40)

    async with served.client() as client:
        for _ in range(120):
            assert (await client.get("/optimize-charging")).status_code == 200
            served.clock.advance(1)

    assert calls(served) == [4, 4, 4]


async def test_a_refusal_asked_about_every_second_leaves_calls_for_the_rest_of_the_minute(world: World) -> None:
    world.clock.advance(40)
    world.gateway.refuses(SOLAR.path, codes.NOT_SUBSCRIBED)

    called_at: list[int] = []
    for second in range(60):
        made = len(called_at)
        observation = await world.observer.observe()
        called_at += [second] * (world.gateway.calls_to(SOLAR.path) - made)
        world.clock.advance(1)
        # Once every call is spent, that is what stands in the way.
        assert observation.readings["solar"].error is (
            FailureReason.THROTTLED if made == 10 else FailureReason.NOT_SUBSCRIBED
        )

    assert sum(second >= 15 for second in called_at) >= 3
