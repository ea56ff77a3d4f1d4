"""A further source is one entry of the list: records, answers and explanations follow."""

import json
import subprocess
import sys
from pathlib import Path

from tests.unit.charging_agent.ledger.conftest import chain

from charging_agent.ledger.keys import generate_key

ROOT = Path(__file__).resolve().parents[4]


def test_an_entry_reaches_decision_record_replay_explanation_and_answer_and_older_records_replay() -> None:
    (older,) = chain(generate_key(), 1)
    command = [sys.executable, "-m", "tests.unit.charging_agent.readings.fourth_source"]

    done = subprocess.run(
        command, cwd=ROOT, input=older.record, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["forecasts"], found["readings"]) == (["forecast"], ["solar", "battery", "grid"])
    assert found["recorded"] == 61.0
    assert found["differences"] == ["None", "None"]
    assert found["broken"] is None
    assert len(found["explained"]) == 1
    assert found["answered"] is True
    assert found["api"] == ["ForecastAPI", "/forecast/1.0.0/grid-forecast", "forecast:read"]
