"""Settings of load forecasts; without them none of the libraries that make forecasts is loaded."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ev_service.settings import Settings

RESOLUTION = timedelta(minutes=15)
"""Length of the intervals of a forecast."""

MAX_HOURS = 48
"""Longest forecast [h]."""


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

    @property
    def model_file(self) -> Path | None:
        """File of the model; None: the load is not forecast."""
        return None if self.dir is None else self.dir / "load.skops"
