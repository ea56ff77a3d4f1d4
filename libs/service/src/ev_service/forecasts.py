"""Forecasts as they travel: what a service answers and what the agent accepts."""

from datetime import timedelta
from itertools import pairwise
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ev_service.telemetry import Reading
from ev_service.units import UtcTimestamp

MAX_INTERVALS = 400
"""Most intervals of one forecast: four days of 15 min, and some."""


class QuantileInterval(BaseModel):
    """Quantiles of the mean value in one interval, in the unit of the forecast's quantity.

    Raises:
        ValueError: the quantiles are out of order.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    interval_start: UtcTimestamp = Field(
        description="Start of the interval, UTC; it lasts `resolution_s`.", examples=["2026-06-21T16:00:00Z"]
    )
    p10: float = Field(description="The value is below this with a probability of 10 %.", examples=[48.2])
    p50: float = Field(description="Median.", examples=[61.0])
    p90: float = Field(description="The value is below this with a probability of 90 %.", examples=[74.5])

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.p10 <= self.p50 <= self.p90:
            raise ValueError("the quantiles must rise: p10 <= p50 <= p90")
        return self


class RecentError(BaseModel):
    """Mean absolute error of the model's median over the recent past beside that of the naive model."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    model_mae: float = Field(ge=0, description="Mean absolute error of the model, in the unit of the quantity.")
    naive_mae: float = Field(ge=0, description="The same of the naive model, which repeats the past.")
    naive_model: str = Field(min_length=1, max_length=64, description="Name of the naive model.")
    days: float = Field(gt=0, description="Days over which both were measured.", examples=[14.0])


class Forecast(Reading):
    """A forecast of one quantity: contiguous intervals of equal length, the first of which holds `issued_at`.

    Raises:
        ValueError: intervals are not contiguous, or the first does not hold `issued_at`.
    """

    issued_at: UtcTimestamp = Field(description="Nothing that was learned after this moment is in it, UTC.")
    model: str = Field(min_length=1, max_length=64, description="The model that made it.", examples=["boosted-trees"])
    resolution_s: int = Field(gt=0, le=86_400, description="Length of each interval [s].", examples=[900])
    intervals: tuple[QuantileInterval, ...] = Field(
        min_length=1, max_length=MAX_INTERVALS, strict=False, description="The intervals, the earliest first."
    )
    recent_error: RecentError | None = Field(
        default=None, description="Measured error of model and naive model; null: too little history to measure it."
    )

    @model_validator(mode="after")
    def _is_contiguous(self) -> Self:
        step = timedelta(seconds=self.resolution_s)
        starts = [interval.interval_start for interval in self.intervals]
        if any(later - earlier != step for earlier, later in pairwise(starts)):
            raise ValueError("the intervals must follow each other without a gap, each resolution_s long")
        if not starts[0] <= self.issued_at < starts[0] + step:
            raise ValueError("the first interval must hold issued_at")
        return self


class GridForecast(Forecast):
    """Forecast of `load_kw`, the power that the site draws from the grid [kW]."""


class SolarForecast(Forecast):
    """Forecast of `generation_kw`, the AC power that the panels give [kW]."""
