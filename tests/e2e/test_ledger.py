"""The ledger of a live agent beside the live gateway's own log: the same calls, refused ones too."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def verify_ledger(state: Path, log: Path) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "scripts/verify.py", str(state / "ledger.sqlite"), "--gateway-log", str(log), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_every_call_of_the_gateways_log_stands_in_a_signed_record_until_one_is_added(site: Any, tmp_path: Path) -> None:
    for _ in range(14):
        # More than the plan allows: the last ones are refused.
        site.pass_time(3.5)
        site.decide()
    site.pass_time(61)
    site.decide()
    site.stack.processes.end("agent")
    state, log = site.stack.plan.state / "agent", site.stack.plan.state / "gateway" / "apim_metrics.log"

    exit_code, told = verify_ledger(state, log)

    found = told["gateway_log"]
    assert (exit_code, told["broken"], found["omitted"], found["invented"]) == (0, None, [], [])
    assert (found["joined"] > 10, found["joined_by_time"]) == (True, 0)

    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    mine = [line for line in lines if '"applicationName": "EVApp"' in line]
    doctored = tmp_path / "apim_metrics.log"
    doctored.write_text("".join([*lines, mine[-4]]), encoding="utf-8")
    exit_code, told = verify_ledger(state, doctored)
    assert exit_code == 1
    assert len(told["gateway_log"]["omitted"]) == 1
