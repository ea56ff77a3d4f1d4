"""The load forecast as a decision sees it: compact, so that each record can hold it whole."""

from datetime import datetime, timedelta
from typing import Self

from pydantic import Field, model_validator

from charging_agent.gateway.calls import ReadingApi
from charging_agent.readings.outlook_cache import HORIZON, MAX_INTERVALS, drop_past, is_young
from ev_service.forecasts import GridForecast
from ev_service.telemetry import Reading
from ev_service.units import UtcTimestamp

LOAD_FORECAST = "grid"
"""Name of the load forecast in `DecisionInputs.forecasts`."""

GRID_FORECAST = ReadingApi("grid", "/grid-forecast", "getGridForecast", GridForecast, max_bytes=256 * 1024)
"""Where the load forecast is read; published by the API of the grid's readings."""

MAX_AGE = timedelta(hours=2)
"""How old a forecast may be: it is made anew every few minutes."""


class LoadForecastOutlook(Reading):
    """Quantiles of the load from the interval that has begun on [kW].

    Raises:
        ValueError: the lists have different lengths, or quantiles are out of order.
    """

    model: str = Field(min_length=1, max_length=64, description="The model that made the forecast.")
    issued_at: UtcTimestamp = Field(description="Nothing that was learned after this moment is in it, UTC.")
    starts_at: UtcTimestamp = Field(description="Start of the first interval, UTC.")
    resolution_s: int = Field(gt=0, le=86_400, description="Length of each interval [s].")
    p10_kw: tuple[float, ...] = Field(
        min_length=1, max_length=MAX_INTERVALS, strict=False, description="10 % quantile of the load [kW]."
    )
    p50_kw: tuple[float, ...] = Field(strict=False, description="Median of the load [kW].")
    p90_kw: tuple[float, ...] = Field(strict=False, description="90 % quantile of the load [kW].")

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if not len(self.p10_kw) == len(self.p50_kw) == len(self.p90_kw):
            raise ValueError("the quantiles must have the same length")
        triples = zip(self.p10_kw, self.p50_kw, self.p90_kw, strict=True)
        if any(not low <= middle <= high for low, middle, high in triples):
            raise ValueError("the quantiles must rise: p10 <= p50 <= p90")
        return self

    @classmethod
    def from_forecast(cls, forecast: GridForecast) -> "LoadForecastOutlook":
        """Take from an answer what decisions need."""
        held = forecast.intervals[: min(MAX_INTERVALS, HORIZON // timedelta(seconds=forecast.resolution_s) + 1)]
        return cls(
            site_id=forecast.site_id,
            timestamp=forecast.timestamp,
            source=forecast.source,
            model=forecast.model,
            issued_at=forecast.issued_at,
            starts_at=held[0].interval_start,
            resolution_s=forecast.resolution_s,
            p10_kw=tuple(round(one.p10, 2) for one in held),
            p50_kw=tuple(round(one.p50, 2) for one in held),
            p90_kw=tuple(round(one.p90, 2) for one in held),
        )

    def cut(self, now: datetime) -> "LoadForecastOutlook | None":
        """Return what is left from the interval of `now` on; None if nothing is, or if it is too old."""
        if not is_young(self.issued_at, now, MAX_AGE):
            return None
        left = drop_past(self, ("p10_kw", "p50_kw", "p90_kw"), now)
        return left if left.p50_kw else None
