from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from ev_service.forecasts import GridForecast

ISSUED_AT = datetime(2026, 6, 21, 16, 5, tzinfo=UTC)
FIRST = datetime(2026, 6, 21, 16, 0, tzinfo=UTC)


def forecast(minutes: tuple[int, ...] = (0, 15, 30), **fields: Any) -> dict[str, Any]:
    intervals = [
        {"interval_start": FIRST + timedelta(minutes=minute), "p10": 40.0, "p50": 50.0, "p90": 60.0}
        for minute in minutes
    ]
    common = {"site_id": "greensboro", "timestamp": ISSUED_AT, "source": "forecast"}
    return {
        **common,
        "issued_at": ISSUED_AT,
        "model": "boosted-trees",
        "resolution_s": 900,
        "intervals": intervals,
    } | fields


def test_a_forecast_travels_as_json_and_back() -> None:
    sent = GridForecast.model_validate(forecast())

    assert GridForecast.model_validate_json(sent.model_dump_json()) == sent


@pytest.mark.parametrize("minutes", [(0, 30), (0, 0), (15, 0), (15, 30), (-15, 0)])
def test_intervals_must_be_contiguous_and_begin_at_the_issue(minutes: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match=r"gap|issued_at"):
        GridForecast.model_validate(forecast(minutes))


@pytest.mark.parametrize("quantiles", [(50.0, 40.0, 60.0), (40.0, 70.0, 60.0), (40.0, float("nan"), 60.0)])
def test_quantiles_must_rise_and_be_numbers(quantiles: tuple[float, float, float]) -> None:
    interval = {"interval_start": FIRST, **dict(zip(("p10", "p50", "p90"), quantiles, strict=True))}

    with pytest.raises(ValidationError):
        GridForecast.model_validate(forecast(intervals=[interval]))
