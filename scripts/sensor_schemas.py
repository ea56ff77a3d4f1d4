"""Write the JSON Schemas of the sensors' messages to docs/schemas, from the models that read them.

`--check` changes nothing and exits 1 when a file is not what its model says.
"""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from charger_service.grid_signal import SignalMessage
from ev_sensors.measurement import QuarantinedMessage
from ev_sensors.shapes.native import BatteryTelemetry, DeviceStatus, GridTelemetry, SolarTelemetry
from ev_sensors.shapes.sunspec import Models

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"
MODELS: dict[str, type[BaseModel]] = {
    "solar-telemetry": SolarTelemetry,
    "battery-telemetry": BatteryTelemetry,
    "grid-telemetry": GridTelemetry,
    "device-status": DeviceStatus,
    "quarantined": QuarantinedMessage,
    "sunspec-models": Models,
    "grid-signal": SignalMessage,
}


def main() -> int:
    """Write the files, or check them."""
    texts = {FOLDER / f"{name}.schema.json": _text(model) for name, model in MODELS.items()}
    if "--check" in sys.argv[1:]:
        is_current = set(FOLDER.glob("*.schema.json")) == set(texts) and all(
            file.read_text(encoding="utf-8") == text for file, text in texts.items()
        )
        print("as they must be" if is_current else "docs/schemas is not current: run scripts/sensor_schemas.py")
        return 0 if is_current else 1
    FOLDER.mkdir(exist_ok=True)
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8", newline="\n")
    return 0


def _text(model: type[BaseModel]) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | model.model_json_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
