"""What is said of WSO2, held against the product itself: bootstrap, agent, and every row of `make verify-wso2`."""

import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(2400)]


def test_the_bootstrap_finds_nothing_to_change_after_its_first_run(site: Any) -> None:
    done = site.run("run", "--rm", "--no-deps", "bootstrap", "--check", "--credentials-dir", "/var/lib/ev/credentials")

    assert done.returncode == 0, done.stderr[-3000:]


def test_the_agent_decides_from_three_readings_fetched_through_it(site: Any) -> None:
    told = site.decide()

    assert {reading["status"] for reading in told["readings"].values()} <= {"fresh", "cached"}
    assert told["degraded"] is False


def test_every_row_of_the_verification_holds_and_the_agent_goes_on(site: Any) -> None:
    done, rows = site.verify()

    assert [row for row in rows if row["state"] != "holds"] == []
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(rows) >= 50
    assert site.decide()["rule"] != "fail_safe"


def test_the_eleventh_call_is_refused_and_the_agent_counts_it(site: Any) -> None:
    script = (Path(__file__).parents[3] / "scripts" / "demo_throttling.py").read_text(encoding="utf-8")

    done = site.run("exec", "-T", "agent", "python", "-", given=script)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "429 900804" in done.stdout
    deadline = time.monotonic() + 45
    # Its own loop meets the refusal with its next call, unless the minute is over before.
    while 'api="SolarAPI",outcome="429"' not in site.metrics():
        assert time.monotonic() < deadline
        time.sleep(0.2)
        site.run("exec", "-T", "agent", "python", "-", given=script)
