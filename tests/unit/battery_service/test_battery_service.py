from datetime import UTC, datetime
from pathlib import Path

import pytest

from battery_service.sources import BatterySourceSettings, create_source
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.settings import RunSettings, SiteSettings
from ev_service.sources import ServiceSettings

pytestmark = pytest.mark.anyio


def _settings(**source: object) -> ServiceSettings:
    return ServiceSettings(BatterySourceSettings.model_validate(source), SiteSettings(), RunSettings())


async def test_charging_at_noon_is_positive_and_discharging_in_the_evening_negative() -> None:
    source = create_source(_settings(), SystemClock())

    noon = await source.read(datetime(2026, 6, 25, 16, 30, tzinfo=UTC))
    evening = await source.read(datetime(2026, 6, 25, 23, 30, tzinfo=UTC))

    assert noon.active_power_kw is not None
    assert evening.active_power_kw is not None
    assert evening.active_power_kw < 0 < noon.active_power_kw


@pytest.mark.parametrize("soc_percent", ["101", "100.001", "-1", "full"])
def test_a_recorded_charge_outside_0_to_100_percent_is_refused(tmp_path: Path, soc_percent: str) -> None:
    file = tmp_path / "battery.csv"
    file.write_text(f"timestamp,soc_percent,capacity_kwh\n2026-06-25T16:00:00Z,{soc_percent},100\n")

    with pytest.raises(ConfigurationError, match="line 2: soc_percent"):
        create_source(_settings(source="replay", replay_file=file), SystemClock())
