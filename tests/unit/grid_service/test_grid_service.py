from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_sensors.connection_meter import load_percent, why_implausible
from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.settings import RunSettings, SiteSettings
from ev_service.sources import ServiceSettings
from ev_service.telemetry import GridLoad
from grid_service.sources import GridSourceSettings, create_source

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 25, 16, tzinfo=UTC)


def _settings(**source: object) -> ServiceSettings:
    return ServiceSettings(GridSourceSettings.model_validate(source), SiteSettings(), RunSettings())


@given(load_kw=st.floats(0, 1e5), limit_kw=st.floats(0.1, 1e5))
def test_a_load_over_its_limit_is_plausible(load_kw: float, limit_kw: float) -> None:
    reading = GridLoad(
        site_id="x",
        source="replay",
        timestamp=NOON,
        load_percent=load_percent(load_kw, limit_kw),
        load_kw=load_kw,
        limit_kw=limit_kw,
    )

    assert why_implausible(reading, 230.0) is None


async def test_simulated_load_says_that_charging_comes_on_top() -> None:
    assert (await create_source(_settings(), SystemClock()).read(NOON)).includes_charging is False


async def test_share_and_load_agree_and_an_export_leaves_no_load() -> None:
    source = create_source(_settings(), SystemClock())

    for hour in range(24):
        reading = await source.read(NOON.replace(hour=hour))
        assert why_implausible(reading, 230.0) is None


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("60,40,100,0", "load_percent 60 does not fit load_kw 40 over limit_kw 100, which is 40.0 %"),
        ("40,40,100,5", "it draws 40 kW and gives 5 kW at once"),
        ("-1,0,100,0", "load_percent: Input should be greater than or equal to 0"),
        ("0,-1,100,0", "load_kw: Input should be greater than or equal to 0"),
        ("0,0,0,0", "limit_kw: Input should be greater than 0"),
        ("40,40,100,0,1 1 1", "current_a 1, 1, 1 does not fit 40 kW in all, it would be -1.7 to 2.8 kW"),
        ("40,40,100,0,80 nan 34", "current_a.1: Input should be a finite number"),
        ("40,40,100,0,80 x 34", "current_a.1: Input should be a valid number"),
    ],
)
def test_a_recorded_load_that_cannot_be_is_refused(tmp_path: Path, cells: str, reason: str) -> None:
    file = tmp_path / "grid.csv"
    columns = ["timestamp", "load_percent", "load_kw", "limit_kw", "export_kw", "current_a"][: cells.count(",") + 2]
    file.write_text(f"{','.join(columns)}\n2026-06-25T16:00:00Z,{cells}\n")

    with pytest.raises(ConfigurationError) as refused:
        create_source(_settings(source="replay", replay_file=file), SystemClock())

    assert f"line 2: {reason}" in refused.value.message


async def test_a_recorded_load_holds_charging_unless_it_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text("timestamp,load_percent,load_kw,limit_kw\n2026-06-25T16:00:00Z,40,40,100\n")

    reading = await create_source(_settings(source="replay", replay_file=file), SystemClock()).read(NOON)

    assert reading.includes_charging is True


async def test_a_recorded_load_may_tell_its_phases(tmp_path: Path) -> None:
    file = tmp_path / "grid.csv"
    file.write_text("timestamp,load_percent,load_kw,limit_kw,current_a\n2026-06-25T16:00:00Z,40,40,100,80 60.5 34\n")

    reading = await create_source(_settings(source="replay", replay_file=file), SystemClock()).read(NOON)

    assert reading.current_a == (80.0, 60.5, 34.0)
