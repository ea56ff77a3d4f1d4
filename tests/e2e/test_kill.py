"""The kill switch on the running stack: that it cuts the agent off, what it leaves, and who can not operate it."""

import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.stack import ARTIFACTS, start_service
from wso2_provisioning.switch.cli import main

A_MINUTE_AND_MORE_S = 61.0

pytestmark = pytest.mark.slow


@pytest.fixture
def operated(site: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stack as the operator's own terminal sees it."""
    plan = site.stack.plan
    variables = plan.client_environment() | plan.operator_environment()
    variables |= {
        "AGENT_URL": plan.agent_url,
        "OPERATOR_STATE_DIR": str(plan.state / "operator"),
        "SIM_CLOCK_FILE": str(site.clock_file),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # Every test begins with all its calls.
    site.pass_time(A_MINUTE_AND_MORE_S)
    assert site.decide()["charging_power_kw"] > 0
    return site


def switch(*arguments: str) -> int:
    return main(arguments, artifacts_dir=ARTIFACTS)


def recorded(site: Any) -> list[dict[str, Any]]:
    lines = (site.stack.plan.state / "chargers" / "kills.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def management(site: Any) -> httpx.Client:
    plan = site.stack.plan
    trusted = ssl.create_default_context(cafile=str(plan.ca_file))
    return httpx.Client(base_url=plan.management_url, verify=trusted, trust_env=False)


def revive(site: Any) -> None:
    site.pass_time(A_MINUTE_AND_MORE_S)
    assert switch("revive", "--reason", "tested") == 0


def test_a_kill_cuts_the_agent_off_at_once_and_a_revive_lets_it_go_on(
    operated: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert switch("kill", "--reason", 'sensor "fault" $5') == 0

    told = operated.decide()
    act = recorded(operated)[-1]
    assert (told["rule"], told["charging_power_kw"]) == ("fail_safe", 0.0)
    assert {reading["error"] for reading in told["readings"].values()} == {"blocked"}
    assert 0 < act["gateway_refused_after_s"] < act["agent_stopped_after_s"]
    assert act["reason"] == 'sensor "fault" $5'
    assert act["proved"] == {"application": "Operator", "user": "operator@carbon.super"}
    assert {step["outcome"] for step in act["steps"]} == {"done"}
    assert {change["name"] for change in act["changes"]} == {
        *("EVApp", "SolarAPI", "BatteryAPI", "GridAPI", "SolarMCP", "BatteryMCP", "GridMCP")
    }
    capsys.readouterr()
    assert switch("kill", "--status") == 0
    assert "EVApp is stopped: every call is denied" in capsys.readouterr().out

    revive(operated)
    assert operated.decide()["charging_power_kw"] > 0
    assert recorded(operated)[-1]["changes"] == act["changes"]


def test_a_killed_agent_asks_for_one_token_at_most(operated: Any) -> None:
    log = operated.stack.plan.logs / "agent.log"
    assert switch("kill", "--reason", "no token storm") == 0
    before = log.read_text(encoding="utf-8").count('"token ')

    for _ in range(5):
        operated.pass_time(A_MINUTE_AND_MORE_S)
        assert operated.decide()["charging_power_kw"] == 0

    assert log.read_text(encoding="utf-8").count('"token ') - before <= 1
    revive(operated)


def test_killing_what_is_killed_is_fine_and_still_undone_by_one_revive(operated: Any) -> None:
    assert switch("kill", "--reason", "first") == 0
    operated.pass_time(A_MINUTE_AND_MORE_S)
    assert switch("kill", "--reason", "second") == 0

    outcomes = {step["name"]: step["outcome"] for step in recorded(operated)[-1]["steps"]}
    assert outcomes["deny policy"] == "already"
    assert outcomes["block SolarAPI"] == "already"
    assert recorded(operated)[-1]["changes"] == []

    revive(operated)
    assert operated.decide()["charging_power_kw"] > 0


def test_a_kill_that_can_not_be_recorded_stands_and_is_recorded_with_the_next_act(
    operated: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = operated.stack
    stack.processes.end("chargers")
    assert switch("kill", "--reason", "nobody writes it down") == 1

    assert operated.decide()["charging_power_kw"] == 0
    assert "NOT RECORDED" in capsys.readouterr().err
    (kept,) = Path(stack.plan.state / "operator").glob("*.json")
    assert json.loads(kept.read_text(encoding="utf-8"))["reason"] == "nobody writes it down"

    start_service(stack.plan, stack.processes, "chargers")
    revive(operated)
    assert not kept.exists()
    assert {act["reason"] for act in recorded(operated)[-2:]} == {"nobody writes it down", "tested"}


def test_the_agents_own_credentials_operate_nothing(operated: Any) -> None:
    plan = operated.stack.plan
    key, secret = ((plan.credentials / name).read_text().strip() for name in ("client_id", "client_secret"))
    with management(operated) as client:
        wanted = "site:operate apim:admin apim:bl_manage apim:subscription_block solar:read device_thief"
        form = {"grant_type": "client_credentials", "scope": wanted}
        token = client.post("/oauth2/token", data=form, auth=(key, secret)).raise_for_status().json()
        bearer = {"Authorization": f"Bearer {token['access_token']}"}
        denied = [
            client.get("/api/am/admin/v4/throttling/deny-policies", headers=bearer),
            client.post("/api/am/publisher/v4/subscriptions/unblock-subscription?subscriptionId=x", headers=bearer),
        ]
        gateway = plan.gateway_url
        site_api = [
            httpx.get(
                f"{gateway}/site/1.0.0/kills",
                headers=bearer,
                verify=ssl.create_default_context(cafile=str(plan.ca_file)),
            ),
        ]

    assert "site:operate" not in token["scope"].split()
    assert not {scope for scope in token["scope"].split() if scope.startswith("apim:")}
    assert {answer.status_code for answer in denied} <= {401, 403}
    assert {answer.status_code for answer in site_api} == {403}


def test_without_the_operators_password_nothing_is_done(
    operated: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPERATOR_PASSWORD")
    assert switch("kill", "--reason", "no proof") == 1
    assert "OPERATOR_PASSWORD is not set" in capsys.readouterr().err

    monkeypatch.setenv("OPERATOR_PASSWORD", operated.stack.plan.passwords.evapp)
    assert switch("kill", "--reason", "not the operator's") == 1

    assert "nothing is done" in capsys.readouterr().err
    assert operated.decide()["charging_power_kw"] > 0


@pytest.mark.parametrize("reason", [None, "  ", "two\nlines", "x" * 501])
def test_a_kill_needs_a_reason_in_one_line(
    operated: Any, capsys: pytest.CaptureFixture[str], reason: str | None
) -> None:
    assert switch("kill", *(["--reason", reason] if reason is not None else [])) == 1

    assert "REASON" in capsys.readouterr().err
