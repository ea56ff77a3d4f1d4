"""Adds a source to the list before anything else reads it, and prints what records and answers make of it.

Reads a record without that source from standard input.
"""

import json
import sys
from dataclasses import replace

from charging_agent.readings import apis
from ev_service.telemetry import GridLoad

FORECAST = apis.ReadingSource(
    "forecast",
    "/grid-forecast",
    "getGridForecast",
    GridLoad,
    about="the load to come",
    shown=("load_percent",),
    percent_of=lambda reading: reading.load_percent,
    kind=apis.SourceKind.FORECAST,
)


def main() -> None:
    # Imported after the entry is there: they build their models from the list.
    from pydantic import TypeAdapter
    from tests.unit.charging_agent.ledger.conftest import made_from, maker, observation
    from tests.unit.charging_agent.ledger.test_charging_records import build_stored_record

    from charging_agent.decision.explanations import explain_record
    from charging_agent.ledger.keys import generate_key
    from charging_agent.ledger.record_signing import ChainHead, sign_record
    from charging_agent.ledger.replay import replay_record
    from charging_agent.ledger.verification import verify
    from charging_agent.web.schemas import ReadingsAnswer

    seen = observation()
    seen = replace(seen, readings={**seen.readings, "forecast": seen.readings["grid"]})
    key = generate_key()
    record = sign_record(made_from(seen), [], ChainHead(), maker(), key)
    found = {
        "forecasts": list(seen.decision_inputs().forecasts),
        "readings": list(seen.decision_inputs().readings),
        "recorded": json.loads(record.record)["inputs"]["forecast"]["reading"]["load_percent"],
        "differences": [str(replay_record(record.record)), str(replay_record(sys.stdin.read()))],
        "broken": verify([build_stored_record(1, record)], {key.key_id: key.public}).broken,
        "explained": [line for line in explain_record(record.entry).readings if line.startswith("Forecast:")],
        "answered": "forecast" in TypeAdapter(ReadingsAnswer).json_schema()["properties"],
        "api": [FORECAST.name, FORECAST.path, FORECAST.scope],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    apis.SOURCES = (*apis.SOURCES, FORECAST)
    main()
