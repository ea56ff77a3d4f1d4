"""Settings of load forecasts, and reading the history that they are made from."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from ev_forecasting.load_features import LoadCalendar
from ev_forecasting.series import TimeSeries
from ev_service.history.reading_history import ReadingHistory
from ev_service.settings import Settings, SiteSettings

RESOLUTION = timedelta(minutes=15)
"""Length of the intervals of a forecast."""

LEAD_DAYS = 2
"""Days that a forecast reaches ahead."""

TRAINING_DAYS = 400
"""Days of history that a model is fitted on at most."""

LOAD_FIELD = "load_kw"


class ForecastSettings(Settings):
    """Where load models are kept, and the calendar that they go by."""

    model_config = SettingsConfigDict(env_prefix="GRID_FORECAST_")

    dir: Path | None = Field(
        default=None, description="Folder of the load model; unset: the load is not forecast. Needs a history."
    )
    country: str | None = Field(
        default=None, pattern=r"^[A-Z]{2}$", description="Country whose holidays count, such as DE; unset: none."
    )
    region: str | None = Field(
        default=None,
        max_length=8,
        description="Region of the country, such as BY; unset: all count by their share.",
    )
    train_hours: float = Field(
        default=24.0, ge=1, le=720, description="A model that was fitted longer ago is fitted anew [h]."
    )

    @model_validator(mode="after")
    def _knows_the_country(self) -> Self:
        LoadCalendar(ZoneInfo("UTC"), self.country, self.region)
        return self

    @property
    def model_file(self) -> Path | None:
        """File of the model; None: the load is not forecast."""
        return None if self.dir is None else self.dir / "load.skops"

    def calendar(self, site: SiteSettings) -> LoadCalendar:
        """The calendar of a site."""
        return LoadCalendar(ZoneInfo(site.timezone), self.country, self.region)


def read_load(history: ReadingHistory, now: datetime, days: int) -> TimeSeries:
    """Read the load of the last days, up to the interval that is over [kW]; NaN where nothing was measured.

    Args:
        history: of the grid service.
        now: the run's time.
        days: how far back.

    Raises:
        HistoryUnavailableError: the database cannot be read.
    """
    step_s = int(RESOLUTION.total_seconds())
    end = datetime.fromtimestamp(now.timestamp() // step_s * step_s, UTC)
    start = end - timedelta(days=days)
    series = history.read_series(LOAD_FIELD, start, end, step_s)
    values = np.asarray(series.values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    first = int(known[0]) if len(known) else len(values)
    return TimeSeries(start + RESOLUTION * first, RESOLUTION, values[first:])
