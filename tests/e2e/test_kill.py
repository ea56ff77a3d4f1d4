"""The kill switch on the running stack: that it cuts the agent off, what it leaves, and who cannot operate it."""

import json
import sqlite3
import ssl
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.conftest import A_MINUTE_AND_MORE_S

from ev_service.settings import load
from local_stack.stack import ARTIFACTS, start_service
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.switch.cli import main
from wso2_provisioning.switch.context import SwitchContext as SwitchSite
from wso2_provisioning.switch.context import authenticate_operator
from wso2_provisioning.switch.kill_audit import EventJournal, KillAuditLog
from wso2_provisioning.switch.polling import AgentClient
from wso2_provisioning.switch.subscriptions import list_subscription_states
from wso2_provisioning.wso2 import SWITCH_SCOPES, Wso2
from wso2_terms.artifacts import load_artifacts

pytestmark = pytest.mark.slow
KEPT_BY_NOBODY = {"take portal role": "already"}
"""The one step of a kill that has nothing to do, because a bootstrap took the role back itself."""


@pytest.fixture
def operated(terminal: Any) -> Any:
    """The stack as the operator's own terminal sees it, while cars may charge."""
    assert terminal.decide()["charging_power_kw"] > 0
    return terminal


def switch(*arguments: str) -> int:
    return main(arguments, artifacts_dir=ARTIFACTS)


def read_kill_records(site: Any) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(site.stack.plan.state / "chargers" / "chargers.sqlite")) as connection:
        rows = connection.execute("SELECT content FROM kill_audit ORDER BY number")
        return [json.loads(content) for (content,) in rows]


def management(site: Any) -> httpx.Client:
    plan = site.stack.plan
    trusted = ssl.create_default_context(cafile=str(plan.ca_file))
    return httpx.Client(base_url=plan.management_url, verify=trusted, trust_env=False)


@contextmanager
def administering(site: Any) -> Generator[SwitchSite]:
    """The gateway as an administrator sees it, without any act."""
    settings = load(ProvisioningSettings)
    artifacts = load_artifacts(ARTIFACTS, site.stack.plan.operator_environment())
    with HttpClient(settings.wso2_ca_file) as http:
        wso2 = Wso2(http, settings, admin_scopes=SWITCH_SCOPES)
        record = KillAuditLog(http, settings.wso2_gateway_url, authenticate_operator(wso2, artifacts))
        agent, journal = AgentClient(http, site.stack.plan.agent_url), EventJournal(Path(), lambda _: None)
        yield SwitchSite(wso2, EVAPP, artifacts, record, agent, journal, lambda _: None)


def revive(site: Any) -> None:
    site.pass_time(A_MINUTE_AND_MORE_S)
    assert switch("revive", "--reason", "tested") == 0


def test_a_kill_cuts_the_agent_off_at_once_and_a_revive_lets_it_go_on(
    operated: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert switch("kill", "--reason", 'sensor "fault" $5') == 0

    told = operated.decide()
    act = read_kill_records(operated)[-1]
    assert (told["rule"], told["charging_power_kw"]) == ("fail_safe", 0.0)
    assert {reading["error"] for reading in told["readings"].values()} == {"blocked"}
    assert 0 < act["gateway_refused_after_s"] < act["agent_stopped_after_s"]
    assert act["reason"] == 'sensor "fault" $5'
    assert act["proved"] == {"application": "Operator", "user": "operator@carbon.super"}
    assert {step["name"]: step["outcome"] for step in act["steps"] if step["outcome"] != "done"} == KEPT_BY_NOBODY
    assert [step["name"] for step in act["steps"][:2]] == ["deny user", "deny application"]
    assert {change["name"] for change in act["changes"]} == {
        *("evapp", "EVApp", "SolarAPI", "BatteryAPI", "GridAPI", "ChargerAPI", "ChargerControlAPI"),
        *("SolarMCP", "BatteryMCP", "GridMCP"),
    }
    capsys.readouterr()
    assert switch("kill", "--status") == 0
    assert "EVApp is stopped: every call is denied" in capsys.readouterr().out

    revive(operated)
    assert operated.decide()["charging_power_kw"] > 0
    assert read_kill_records(operated)[-1]["changes"] == act["changes"]


def test_a_kill_of_control_refuses_limits_and_leaves_reading(operated: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert switch("kill", "--scope", "control", "--reason", "charger fault") == 0

    act = read_kill_records(operated)[-1]
    details = {step["name"]: step["detail"] for step in act["steps"]}
    assert (act["scope"], [change["name"] for change in act["changes"]]) == ("control", 2 * ["ChargerControlAPI"])
    assert {step["name"]: step["outcome"] for step in act["steps"] if step["outcome"] != "done"} == KEPT_BY_NOBODY
    assert details["gateway refuses limits"].startswith("PUT /limits: 403 900805")
    assert details["reading goes on"].startswith("GET /chargers: ")
    assert operated.decide()["charging_power_kw"] > 0
    capsys.readouterr()
    assert switch("kill", "--status") == 0
    told = capsys.readouterr().out
    assert "EVApp is not stopped, but may set no limits on chargers" in told
    assert "last: kill of control at" in told

    assert switch("revive", "--scope", "control", "--reason", "charger mended") == 0
    assert read_kill_records(operated)[-1]["changes"] == act["changes"]
    assert switch("kill", "--status") == 0
    assert "EVApp is not stopped\n" in capsys.readouterr().out


def test_a_revive_of_control_does_not_let_go_what_a_kill_of_all_stopped(
    operated: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert switch("kill", "--reason", "everything") == 0

    assert switch("revive", "--scope", "control", "--reason", "only limits") == 1

    assert "every call of EVApp is denied" in capsys.readouterr().err
    assert operated.decide()["charging_power_kw"] == 0
    revive(operated)


def test_a_revive_of_all_lets_go_what_a_kill_of_control_shut(operated: Any) -> None:
    assert switch("kill", "--scope", "control", "--reason", "charger fault") == 0

    revive(operated)

    assert [change["name"] for change in read_kill_records(operated)[-1]["changes"]] == 2 * ["ChargerControlAPI"]


def test_a_scope_that_is_none_does_nothing(
    operated: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(read_kill_records(operated))
    monkeypatch.setenv("SCOPE", "reading")

    assert switch("kill", "--reason", "no such scope") == 1

    assert "nothing is done: SCOPE must be all" in capsys.readouterr().err
    assert len(read_kill_records(operated)) == before


def test_a_revive_leaves_what_somebody_else_blocked_and_all_takes_that_back_too(
    operated: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with administering(operated) as administered:
        (door,) = list_subscription_states(administered, "GridAPI").states
        administered.wso2.publisher.block_subscription(door.subscription_id)
        assert switch("kill", "--reason", "sensor fault") == 0
        operated.pass_time(A_MINUTE_AND_MORE_S)

        assert switch("revive", "--reason", "sensor replaced") == 1

        assert "no kill that is known here did it" in capsys.readouterr().err
        assert [one.name for one in list_subscription_states(administered).states if not one.is_unblocked] == [
            "GridAPI"
        ]
        steps = {step["name"]: step["outcome"] for step in read_kill_records(operated)[-1]["steps"]}
        assert (steps["unblock GridAPI"], steps["unblock SolarAPI"]) == ("skipped", "done")
        assert steps["agent decides"] == "skipped"
        operated.pass_time(A_MINUTE_AND_MORE_S)
        assert switch("revive", "--all", "--reason", "that, too") == 0
        assert all(one.is_unblocked for one in list_subscription_states(administered).states)


def test_a_kill_revokes_the_token_of_the_device_that_is_named_and_no_others(operated: Any) -> None:
    plan = operated.stack.plan
    key, secret = ((plan.credentials / name).read_text().strip() for name in ("client_id", "client_secret"))
    scopes = "solar:read battery:read grid:read chargers:read chargers:control"

    def status(device: str) -> int:
        url, trusted = f"{plan.gateway_url}/solar/1.0.0/solar-status", ssl.create_default_context(cafile=plan.ca_file)
        return httpx.get(url, headers=bearers[device], verify=trusted, trust_env=False).status_code

    with management(operated) as client:
        asked = {device: f"{scopes} device_{device}" for device in ("named", "other")}
        forms = {device: {"grant_type": "client_credentials", "scope": scope} for device, scope in asked.items()}
        answers = {
            device: client.post("/oauth2/token", data=form, auth=(key, secret)) for device, form in forms.items()
        }
    bearers = {
        device: {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}
        for device, answer in answers.items()
    }
    assert [status("named"), status("other")] == [200, 200]
    operated.pass_time(A_MINUTE_AND_MORE_S)

    assert switch("kill", "--device", "named", "--reason", "one of two") == 0

    revive(operated)
    assert [status("named"), status("other")] == [401, 200]


def test_a_kill_stands_though_the_agent_can_not_be_reached_and_says_so(
    operated: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGENT_URL", "http://127.0.0.1:9")

    assert switch("kill", "--reason", "agent out of reach") == 0

    act = read_kill_records(operated)[-1]
    outcomes = {step["name"]: step["outcome"] for step in act["steps"]}
    assert {name for name, outcome in outcomes.items() if outcome != "done"} == {"agent stops", *KEPT_BY_NOBODY}
    assert outcomes["agent stops"] == "failed"
    assert act["agent_stopped_after_s"] is None
    assert "it falls back to 0 kW" in capsys.readouterr().err

    monkeypatch.setenv("AGENT_URL", operated.stack.plan.agent_url)
    # Nobody told it to look again: what it holds counts until it is too old.
    operated.pass_time(A_MINUTE_AND_MORE_S)
    assert operated.decide()["charging_power_kw"] == 0
    revive(operated)


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

    outcomes = {step["name"]: step["outcome"] for step in read_kill_records(operated)[-1]["steps"]}
    assert (outcomes["deny user"], outcomes["deny application"]) == ("already", "already")
    assert outcomes["block SolarAPI"] == "already"
    assert {change["kind"] for change in read_kill_records(operated)[-1]["changes"]} == {"key"}

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
    assert {act["reason"] for act in read_kill_records(operated)[-2:]} == {"nobody writes it down", "tested"}


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
