"""Prices on the real stack: from a run's tariff file through the gateway into records, over REST and MCP."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local_stack.environment import free_ports, make_passwords
from local_stack.stack import Stack, StackPlan, running

pytestmark = [pytest.mark.slow]

# A refresh waits until the readings have their calls for the rest of the minute.
_WITHIN_S = 120.0


@pytest.fixture(scope="module", params=["rest", "mcp"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"AGENT_PROTOCOL": request.param, "AGENT_PRICES": "true"}
    plan = StackPlan(free_ports(), make_passwords(), tmp_path_factory.mktemp("stack") / "state", settings)
    with running(plan, lambda _step: None) as started:
        yield started


def get(stack: Stack, path: str) -> Any:
    return httpx.get(f"{stack.plan.agent_url}{path}", trust_env=False, timeout=10).raise_for_status().json()


def newest_record(stack: Stack) -> dict[str, Any]:
    newest = get(stack, "/decisions?limit=1")["decisions"][0]
    return get(stack, f"/decisions/{newest['decision_id']}")["record"]


def test_prices_of_the_tariff_file_are_recorded_with_decisions(stack: Stack) -> None:
    last = time.monotonic() + _WITHIN_S
    while (prices := newest_record(stack)["inputs"].get("prices")) is None and time.monotonic() < last:
        time.sleep(0.2)

    assert prices is not None
    assert (prices["currency"], prices["source"], prices["resolution_s"]) == ("USD", "tariff", 3600)
    assert len(prices["import_price_per_kwh"]) == 25
    assert all(price is not None and price > 0 for price in prices["import_price_per_kwh"])
    assert newest_record(stack)["rule"] != "fail_safe"
