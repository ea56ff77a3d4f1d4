"""The whole stack as processes, on a clock that the test moves."""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ev_service.clock import FollowedClock, write_clock_file
from local_stack.environment import free_ports, make_passwords
from local_stack.stack import Stack, StackPlan, running

A_MINUTE_AND_MORE_S = 61.0
"""After it, every limit counts anew."""


@dataclass(frozen=True)
class Site:
    """A running stack, and the hand on its clock."""

    stack: Stack
    clock_file: Path

    def now(self) -> datetime:
        return FollowedClock(self.clock_file).now()

    def pass_time(self, seconds: float) -> None:
        write_clock_file(self.clock_file, self.now() + timedelta(seconds=seconds))

    def decide(self) -> dict[str, Any]:
        answer = httpx.get(f"{self.stack.plan.agent_url}/optimize-charging", timeout=8, trust_env=False)
        assert answer.status_code == 200
        return answer.json()


@pytest.fixture
def terminal(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The stack as the operator's own terminal sees it, in a minute of which no call is spent."""
    plan = site.stack.plan
    variables = plan.client_environment() | plan.operator_environment()
    variables |= {
        "AGENT_URL": plan.agent_url,
        "OPERATOR_STATE_DIR": str(plan.state / "operator"),
        "SIM_CLOCK_FILE": str(site.clock_file),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    site.pass_time(A_MINUTE_AND_MORE_S)
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[Site]:
    folder = tmp_path_factory.mktemp("stack")
    clock_file = folder / "clock.json"
    # A summer noon: the sun is medium or high, so that its loss shows.
    write_clock_file(clock_file, datetime(2026, 6, 25, 16, tzinfo=UTC))
    plan = StackPlan(free_ports(), make_passwords(), folder, {"SIM_CLOCK_FILE": str(clock_file)})
    with running(plan, lambda _step: None) as stack:
        yield Site(stack, clock_file)
