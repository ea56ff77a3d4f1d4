"""The meter that the charger service reads: any that the grid service can read, and several as one."""

import json
from pathlib import Path

import pytest

from charger_service.meter_source import make_meter_source
from charger_service.settings import MeterSettings
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.settings import SiteSettings

pytestmark = pytest.mark.anyio

CLOCK = SystemClock()


async def _find_settings_error(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> str | None:
    for name, value in settings.items():
        monkeypatch.setenv(f"CHARGERS_METER_MQTT_{name}", value)
    source = make_meter_source(MeterSettings(source="mqtt"), SiteSettings(), CLOCK)
    assert source is not None
    return await source.health_error(CLOCK.now())


async def test_protection_reads_any_meter_by_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"DEVICE_ID": "head", "SHAPE": "json", "VALUES": "power=tele/head/SENSOR#/SML/curr_w W"}

    assert (
        await _find_settings_error(monkeypatch, settings) == "no reading of head yet: the broker has not answered yet"
    )


async def test_protection_reads_several_meters_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "meters.json"
    file.write_text(json.dumps([{"device_id": name, "shape": "shelly"} for name in ("main", "annex")]))

    told = await _find_settings_error(monkeypatch, {"DEVICES_FILE": str(file)})

    assert told is not None
    assert "no reading of main yet" in told
    assert "; no reading of annex yet" in told


async def test_a_setting_that_is_not_clear_names_the_variable_of_this_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="CHARGERS_METER_MQTT_VALUES: power=x hp must end with a unit"):
        await _find_settings_error(monkeypatch, {"SHAPE": "json", "VALUES": "power=x hp"})
