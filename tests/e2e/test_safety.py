"""The stack among chargers that lie, lag, flap and disobey; for longer by SAFETY_SECONDS, otherwise by SAFETY_SEED."""

import os
from pathlib import Path

import pytest
from tests.safety.run import RunSettings, run_safely

SECONDS = float(os.environ.get("SAFETY_SECONDS", "180"))
SEED = int(os.environ.get("SAFETY_SEED", "20261130"))

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(SECONDS + 180)]


async def test_nothing_that_chargers_clocks_or_processes_do_overloads_the_connection(tmp_path: Path) -> None:
    findings = await run_safely(RunSettings(SEED, SECONDS), tmp_path, print)

    assert findings.violations == []
    # A run in which nothing happened, or no car charged, proves nothing.
    assert findings.seen["overloads"] > 0
    assert findings.seen["restarts of the charger service"] > 0
    assert findings.seen["restarts of the agent"] > 0
    assert findings.seen["jumps of the clock"] > 0
    assert findings.seen["Wh charged"] > 300
