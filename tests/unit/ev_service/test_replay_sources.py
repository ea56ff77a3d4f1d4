"""How a service tells fresh from stuck."""

from datetime import UTC, datetime, timedelta

import pytest

from ev_service.clock import SteppedClock
from ev_service.errors import SourceUnavailableError
from ev_service.sources import Source, source_health
from ev_service.telemetry import SolarStatus

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 6, 25, 16, tzinfo=UTC)


class _StuckSource(Source[SolarStatus]):
    """A device that measured once and never again."""

    async def read(self, now: datetime) -> SolarStatus:
        return SolarStatus(site_id="x", source="mqtt", timestamp=NOON, generation_kw=1.0, capacity_kwp=50.0)


class _Failing(Source[SolarStatus]):
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def read(self, now: datetime) -> SolarStatus:
        raise self._error


@pytest.mark.parametrize(("age_s", "reason"), [(0, None), (60, None), (61, "the newest reading is 61 s old")])
async def test_a_reading_that_is_no_longer_renewed_is_told_as_stuck(age_s: float, reason: str | None) -> None:
    health = source_health(_StuckSource(), SteppedClock(NOON + timedelta(seconds=age_s)))

    assert await health() == {"source": reason}


async def test_a_source_in_trouble_is_told_though_it_still_has_a_value() -> None:
    class Silent(_StuckSource):
        async def health_error(self, now: datetime) -> str | None:
            return "the inverter has been silent for 31 s"

    health = source_health(Silent(), SteppedClock(NOON))

    assert await health() == {"source": "the inverter has been silent for 31 s"}


async def test_a_source_without_a_value_names_its_reason() -> None:
    health = source_health(_Failing(SourceUnavailableError("no message from the inverter")), SteppedClock(NOON))

    assert await health() == {"source": "no message from the inverter"}


async def test_health_answers_also_when_the_source_breaks_and_keeps_the_details_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health = source_health(_Failing(ZeroDivisionError("inverter 3")), SteppedClock(NOON))

    assert await health() == {"source": "the source failed; the service's log has the reason"}
    assert "inverter 3" in caplog.text
