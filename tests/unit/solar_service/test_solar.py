from datetime import UTC, datetime

import pytest

from ev_service.clock import SystemClock
from ev_service.errors import ConfigurationError
from ev_service.replay import replay_from_settings
from ev_service.settings import RunSettings, SiteSettings
from ev_service.sources import ServiceSettings
from ev_service.telemetry import SolarStatus
from solar_service.sources import SolarSourceSettings, create_source, why_implausible

pytestmark = pytest.mark.anyio

SETTINGS = ServiceSettings(SolarSourceSettings(), SiteSettings(), RunSettings())


def _status(generation_kw: float) -> SolarStatus:
    now = datetime(2026, 6, 25, 16, tzinfo=UTC)
    return SolarStatus(site_id="x", source="replay", timestamp=now, generation_kw=generation_kw, capacity_kwp=50.0)


async def test_noon_in_june_gives_two_thirds_of_the_capacity_and_its_irradiance() -> None:
    noon = await create_source(SETTINGS, SystemClock()).read(datetime(2026, 6, 25, 17, tzinfo=UTC))

    assert noon.generation_kw / noon.capacity_kwp == pytest.approx(0.69, abs=0.05)
    assert noon.poa_global_w_m2 == pytest.approx(900, abs=60)


async def test_midnight_gives_exactly_nothing() -> None:
    night = await create_source(SETTINGS, SystemClock()).read(datetime(2026, 6, 25, 6, tzinfo=UTC))

    assert (night.generation_kw, night.poa_global_w_m2) == (0.0, 0.0)


async def test_twice_the_panels_give_twice_the_power(monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2026, 6, 25, 17, tzinfo=UTC)
    once = await create_source(SETTINGS, SystemClock()).read(noon)

    monkeypatch.setenv("SOLAR_CAPACITY_KWP", "200")
    twice = await create_source(SETTINGS, SystemClock()).read(noon)

    assert (twice.generation_kw, twice.capacity_kwp) == (pytest.approx(2 * once.generation_kw), 200.0)


def test_a_bright_cloud_edge_is_believed_and_more_is_not() -> None:
    assert why_implausible(_status(65.0)) is None
    assert why_implausible(_status(76.0)) == "generation_kw 76 is more than panels of 50 kWp can give"


def test_a_recording_needs_a_file_to_be_named() -> None:
    with pytest.raises(ConfigurationError, match="no file to replay"):
        replay_from_settings(SolarStatus, SETTINGS, why_implausible)
