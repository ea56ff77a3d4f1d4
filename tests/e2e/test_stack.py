"""The stack through good and bad days: what stops is said, the power stays safe, and all recovers by itself."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import httpx
import pytest

from local_stack.stack import Stack, bootstrap, start_gateway, start_service

A_MINUTE_AND_MORE_S = 61.0
RECOVERY_S = 25.0


def test_a_decision_is_made_from_three_readings_fetched_through_the_gateway(site: Any) -> None:
    site.pass_time(A_MINUTE_AND_MORE_S)

    told = site.decide()

    assert told["degraded"] is False
    assert told["rule"] in ("solar_medium", "solar_and_battery_high")
    assert {reading["status"] for reading in told["readings"].values()} <= {"fresh", "cached"}


@pytest.mark.parametrize(
    ("service", "rules"),
    [("solar", {"solar_low"}), ("battery", {"solar_medium"}), ("grid", {"fail_safe"})],
    ids=["solar", "battery", "grid"],
)
def test_a_stopped_service_gives_a_safe_explained_decision_and_recovers(
    site: Any, service: str, rules: set[str]
) -> None:
    stack: Stack = site.stack
    stack.processes.end(service)
    site.pass_time(A_MINUTE_AND_MORE_S)

    told = site.decide()
    start_service(stack.plan, stack.processes, service)

    assert told["readings"][service]["status"] == "missing"
    assert told["readings"][service]["error"] == "backend_failed"
    assert told["degraded"] is True
    assert told["rule"] in rules
    assert re.search(r"unknown|No grid reading", told["reason"])

    recovered = until(lambda: healthy(site), RECOVERY_S)
    assert recovered["rule"] in ("solar_medium", "solar_and_battery_high")


def test_a_restarted_gateway_costs_no_credential_and_no_unsafe_power(site: Any) -> None:
    stack: Stack = site.stack
    stack.processes.end("gateway")
    site.pass_time(A_MINUTE_AND_MORE_S)

    told = site.decide()
    health = httpx.get(f"{stack.plan.agent_url}/health", trust_env=False)
    start_gateway(stack.plan, stack.processes)

    assert (told["rule"], told["charging_power_kw"]) == ("fail_safe", 0.0)
    assert told["readings"]["grid"]["error"] in ("gateway_down", "token_unavailable")
    assert health.status_code == 503
    assert "grid" in health.json()["failing"]["readings"]

    assert until(lambda: healthy(site), RECOVERY_S)["rule"] in ("solar_medium", "solar_and_battery_high")


def test_bootstrapping_again_changes_nothing_and_leaves_the_agent_its_token(site: Any) -> None:
    plan = site.stack.plan
    before = (plan.credentials / "client_secret").read_text()

    bootstrap(plan, site.stack.processes)
    site.pass_time(A_MINUTE_AND_MORE_S)

    assert (plan.credentials / "client_secret").read_text() == before
    assert "nothing to change" in (plan.logs / "bootstrap.log").read_text()
    assert site.decide()["degraded"] is False


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [
        ("solar", "GET", "solar-status"),
        ("battery", "GET", "battery-status"),
        ("grid", "GET", "grid-load"),
        ("chargers", "GET", "kills"),
        ("chargers", "GET", "chargers"),
        ("chargers", "PUT", "limits"),
        ("chargers", "PUT", "override"),
    ],
)
def test_services_answer_nobody_but_the_gateway(site: Any, service: str, method: str, path: str) -> None:
    past = httpx.request(method, f"{site.stack.plan.service_url(service)}/{path}", json=[], trust_env=False)

    assert past.status_code == 401
    assert past.json()["code"] == "assertion_refused"


def test_no_log_of_the_stack_holds_a_secret_or_a_token(site: Any) -> None:
    plan = site.stack.plan
    secrets = [*asdict(plan.passwords).values(), (plan.credentials / "client_secret").read_text().strip()]
    files = [*plan.logs.rglob("*.log"), *(plan.state / "gateway").rglob("*.log")]
    logs = "\n".join(path.read_text(errors="replace") for path in files)

    assert len(logs) > 1000
    assert not re.search(r"eyJ[\w-]{10,}\.", logs)
    assert [secret[:3] for secret in secrets if secret in logs] == []


def healthy(site: Any) -> dict[str, Any] | None:
    # A minute passes for each try, so that spent calls and the gateway's windows do not hold it back.
    site.pass_time(A_MINUTE_AND_MORE_S)
    told = site.decide()
    return None if told["degraded"] else told


def until(condition: Callable[[], dict[str, Any] | None], timeout_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while (result := condition()) is None:
        assert time.monotonic() < deadline, "did not recover"
        time.sleep(0.5)
    return result
