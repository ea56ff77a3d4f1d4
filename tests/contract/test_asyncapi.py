"""What is written down for those who build devices holds: topics, schemas and examples are what the services take."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import yaml

from battery_service.sources import battery_device
from ev_sensors.checks import Past, Rules, validate
from ev_sensors.connection_meter import connection_meter
from ev_sensors.measurement import Measurement, Reason
from ev_sensors.settings import MqttDeviceSettings
from ev_sensors.shapes import Role
from ev_sensors.source_factory import shape_of
from ev_service.settings import SiteSettings
from solar_service.sources import solar_device

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DOCUMENT: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
RULES: dict[Role, Rules] = {
    "solar": solar_device("greensboro", 100.0).rules,
    "battery": battery_device("greensboro", 100.0).rules,
    "grid": connection_meter(SiteSettings()).rules,
}


def _resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for word in reference.removeprefix("#/").split("/"):
        found = found[word]
    return found


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        named = cast(dict[str, Any], part)
        own: list[str] = [named["$ref"]] if "$ref" in named else []
        return own + [found for value in named.values() for found in _references(value)]
    return [found for value in cast(list[Any], part) for found in _references(value)] if isinstance(part, list) else []


def _schema(message: str) -> dict[str, Any]:
    return json.loads((DOCS / MESSAGES[message]["payload"]["schema"]["$ref"]).read_text(encoding="utf-8"))


def _address(channel: str, **names: str) -> str:
    return DOCUMENT["channels"][channel]["address"].format_map({"site_id": "greensboro", "device_id": "d", **names})


def test_the_schemas_are_what_the_models_say() -> None:
    command = [sys.executable, ROOT / "scripts" / "sensor_schemas.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_every_reference_leads_somewhere() -> None:
    references = _references(DOCUMENT)

    assert references
    for reference in references:
        assert _resolve(reference) if reference.startswith("#/") else (DOCS / reference).is_file()


@pytest.mark.parametrize("message", MESSAGES)
def test_every_example_fits_its_schema(message: str) -> None:
    schema = _schema(message)
    jsonschema.Draft202012Validator.check_schema(schema)

    assert MESSAGES[message]["examples"]
    for example in MESSAGES[message]["examples"]:
        jsonschema.validate(example["payload"], schema, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("role", "message", "settings"),
    [
        ("solar", "solarTelemetry", {}),
        ("battery", "batteryTelemetry", {}),
        ("grid", "gridTelemetry", {}),
        ("solar", "sunspecModels", {"shape": "sunspec"}),
    ],
)
def test_every_example_of_a_device_counts_at_its_service(role: Role, message: str, settings: dict[str, str]) -> None:
    shape = shape_of(role, MqttDeviceSettings.model_validate({"device_id": "d", **settings}), SiteSettings())
    past = Past()
    for example in MESSAGES[message]["examples"]:
        moment = datetime.fromisoformat(example["payload"]["timestamp"]) + timedelta(seconds=1)
        said = shape.parse(json.dumps(example["payload"]).encode(), moment)
        assert isinstance(said, Measurement)
        past, refusal = validate(said, past, moment, RULES[role])

        assert refusal is None

    assert shape.telemetry == _address(message)


@pytest.mark.parametrize("role", RULES)
def test_births_and_wills_are_heard_where_the_document_says(role: Role) -> None:
    shape = shape_of(role, MqttDeviceSettings(device_id="d"), SiteSettings())

    assert shape.status == _address("deviceStatus", role=role)
    for example in MESSAGES["deviceStatus"]["examples"]:
        assert shape.parse_status(json.dumps(example["payload"]).encode()) == "online"


def test_every_reason_of_the_quarantine_is_explained() -> None:
    page = (DOCS / "sensors.md").read_text(encoding="utf-8")

    assert [reason for reason in Reason if f"`{reason}`" not in page] == []
