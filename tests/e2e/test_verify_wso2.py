"""`make verify-wso2` on the stack with the local gateway: every row holds, a difference is told, nothing is left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.environment import free_ports, select_system_variables
from local_stack.stack import ROOT, start_service
from wso2_provisioning.verification.cli import main
from wso2_provisioning.verification.runner import APPLICATIONS

pytestmark = pytest.mark.slow

Verify = Callable[..., tuple[int, str]]


def environment(site: Any) -> dict[str, str]:
    plan = site.stack.plan
    return {
        **select_system_variables(os.environ),
        **plan.client_environment(),
        **plan.operator_environment(),
        "SIM_CLOCK_FILE": str(site.clock_file),
        "GATEWAY_CERT_FILE": str(plan.certificates / "gateway-signing.pem"),
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-u", str(ROOT / "scripts" / "verify_wso2.py"), "--wait", "10", *arguments]


@pytest.fixture
def verify(site: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Runs the verification in this process: exit code and what it printed."""
    for name, value in environment(site).items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str]:
        # Into the beginning of the next minute, so that nothing waits for it.
        site.pass_time(61 - site.now().second)
        code = main(["--wait", "10", *arguments], artifacts_dir=ROOT / "wso2")
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def left_behind(site: Any) -> dict[str, list[str]]:
    state = json.loads((site.stack.plan.state / "gateway" / "state.json").read_text())
    return {
        "deny policies": list(state["deny_policies"]),
        "blocked": [s["subscription_id"] for s in state["subscriptions"].values() if s["status"] != "UNBLOCKED"],
        "applications": [a["name"] for a in state["applications"].values() if a["name"].startswith("Verify")],
        "apis": [a["data"]["name"] for a in state["apis"].values() if a["data"]["name"].startswith("Verify")],
        "plans": [p["data"]["policyName"] for p in state["policies"].values() if "Verify" in p["data"]["policyName"]],
        "servers": [s["data"]["name"] for s in state["mcp_servers"].values() if s["data"]["name"].startswith("Verify")],
        "roles": [role for role in state["roles"] if "verify" in role],
    }


def test_every_row_holds_on_the_local_gateway_and_nothing_is_left(site: Any, verify: Verify, tmp_path: Path) -> None:
    metrics_log = site.stack.plan.state / "gateway" / "apim_metrics.log"
    echo_url = f"http://127.0.0.1:{free_ports().solar}"
    file = tmp_path / "out" / "rows.json"

    code, said = verify("--json", str(file), "--metrics-log", str(metrics_log), "--echo-url", echo_url)

    rows = json.loads(file.read_text())["rows"]
    assert [row for row in rows if row["state"] != "holds"] == []
    assert code == 0, said
    assert len(rows) >= 50
    assert all(row["expected"] == row["observed"] and row["needs"] for row in rows)
    assert not any(left_behind(site).values())
    assert "eyJ" not in said + file.read_text()


def test_what_cannot_be_looked_at_is_said_and_is_no_difference(verify: Verify, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"

    code, said = verify("--json", str(file))

    rows = json.loads(file.read_text())["rows"]
    told = {row["name"]: row["observed"] for row in rows if row["state"] == "not tried"}
    assert code == 0, said
    assert "--metrics-log" in told["metrics log: a call over the plan"]
    assert "--echo-url" in told["assertion: header"]


def test_a_service_that_is_down_is_a_difference_and_still_nothing_is_left(site: Any, verify: Verify) -> None:
    stack = site.stack
    stack.processes.end("solar")

    code, said = verify()
    start_service(stack.plan, stack.processes, "solar")

    assert code == 1
    assert "differs    call with a token" in said
    assert not any(left_behind(site).values())


def test_an_interrupt_half_way_leaves_nothing_and_the_agent_decides_on(site: Any) -> None:
    with subprocess.Popen(command(), env=environment(site), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "no token" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        told = process.stdout.read()

    site.pass_time(61)
    assert process.returncode == 1
    assert "what was made is removed" in told
    assert not any(left_behind(site).values())
    assert site.decide()["degraded"] is False


def test_what_a_killed_run_left_is_removed_by_the_next(site: Any, verify: Verify) -> None:
    with subprocess.Popen(command(), env=environment(site), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "API imported" not in process.stdout.readline():
            pass
        process.kill()
    left = left_behind(site)

    code, said = verify()

    assert left["apis"] == ["VerifyAPI"]
    assert set(left["applications"]) <= {f"Verify{name}" for name in APPLICATIONS}
    assert code == 0, said
    assert not any(left_behind(site).values())


def test_the_eleventh_call_is_refused_and_the_agent_counts_it(site: Any) -> None:
    plan = site.stack.plan
    site.pass_time(61 - site.now().second)
    credentials = {f"WSO2_{name.upper()}_FILE": str(plan.credentials / name) for name in ("client_id", "client_secret")}

    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo_throttling.py"],
        env=environment(site) | credentials,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    site.pass_time(11)
    site.decide()

    metrics = httpx.get(f"{plan.agent_url}/metrics", trust_env=False).text
    assert done.returncode == 0, done.stdout + done.stderr
    assert "429 900804" in done.stdout
    assert 'agent_gateway_calls_total{api="SolarAPI",outcome="429"} 1.0' in metrics
    assert (plan.credentials / "client_secret").read_text().strip() not in done.stdout + done.stderr
