"""What is assumed of the site, each figure with its unit and its bounds.

Read from the environment like all settings. The place itself (latitude, longitude, time
zone, limit of the connection) is given by whoever owns the `SITE_` settings, in any object of the form `Place`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound=BaseSettings)


class Place(Protocol):
    """Where the site stands and what its grid connection carries."""

    @property
    def latitude_deg(self) -> float: ...

    @property
    def longitude_deg(self) -> float: ...

    @property
    def timezone(self) -> str: ...

    @property
    def limit_kw(self) -> float: ...


class Loader(Protocol):
    """Reads settings of one class."""

    def __call__(self, settings: type[S], /) -> S: ...


class _Parameters(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)


class Weather(_Parameters):
    """Where the weather of the site's typical year comes from."""

    model_config = SettingsConfigDict(env_prefix="SITE_")

    altitude_m: float = Field(default=273.0, ge=-430, le=6000, description="Height above sea level [m].")
    weather_file: Path | None = Field(
        default=None,
        description="Typical year of the site, TMY3 (.csv) or EPW (.epw). Unset: the measured year of Greensboro that "
        "ships with pvlib where the site stands there, else a clear sky with seeded clouds.",
    )
    yield_file: Path | None = Field(
        default=None, description="Table of the site's yearly yield, made by `python -m site_model`."
    )


class Panels(_Parameters):
    """The solar panels and their inverter."""

    model_config = SettingsConfigDict(env_prefix="SOLAR_")

    capacity_kwp: float = Field(default=100.0, gt=0, le=100_000, description="Rated DC power of the panels [kWp].")
    surface_tilt_deg: float = Field(default=25.0, ge=0, le=90, description="Tilt from the horizontal [°].")
    surface_azimuth_deg: float = Field(default=180.0, ge=0, lt=360, description="Facing, from north clockwise [°].")


class Storage(_Parameters):
    """The stationary battery."""

    model_config = SettingsConfigDict(env_prefix="BATTERY_")

    capacity_kwh: float = Field(default=100.0, gt=0, le=1_000_000, description="Usable capacity [kWh].")
    max_charge_power_kw: float = Field(default=30.0, ge=0, le=100_000, description="Highest charging power [kW].")
    max_discharge_power_kw: float = Field(default=12.0, ge=0, le=100_000, description="Highest discharging power [kW].")
    round_trip_efficiency: float = Field(
        default=0.9, gt=0, le=1, description="Energy given back over energy taken, at the terminals."
    )
    reserve_percent: float = Field(default=40.0, ge=0, le=100, description="Charge that is never spent [%].")
    evening_from_hour: int = Field(default=17, ge=0, le=23, description="Local hour from which it discharges.")
    evening_to_hour: int = Field(default=24, ge=1, le=24, description="Local hour at which it stops discharging.")

    @model_validator(mode="after")
    def _evening_has_a_length(self) -> "Storage":
        if self.evening_to_hour <= self.evening_from_hour:
            raise ValueError("BATTERY_EVENING_TO_HOUR must be later than BATTERY_EVENING_FROM_HOUR")
        return self


class Building(_Parameters):
    """What the building draws behind the connection."""

    model_config = SettingsConfigDict(env_prefix="GRID_")

    building_mean_kw: float = Field(default=33.0, ge=0, le=100_000, description="Mean load over the year [kW].")
    building_noise: float = Field(default=0.05, ge=0, le=0.3, description="Standard deviation of the load's noise.")
    surges_per_day: float = Field(default=2.0, ge=0, le=12, description="How often a big consumer starts, on average.")
    surge_kw: float = Field(default=55.0, ge=0, le=100_000, description="What a big consumer adds, on average [kW].")


@dataclass(frozen=True, slots=True)
class SiteParameters:
    """Everything that the scenario depends on, except the moment."""

    place: Place
    weather: Weather
    panels: Panels
    storage: Storage
    building: Building
    seed: int


def read_parameters(load: Loader, *, place: Place, seed: int) -> SiteParameters:
    """Read what is not given from the environment.

    Args:
        load: reads one class of settings and names what is wrong (`ev_service.settings.load`).
        place: where the site stands.
        seed: of every pseudo-random part of the scenario.
    """
    return SiteParameters(place, load(Weather), load(Panels), load(Storage), load(Building), seed)


def stands_at_greensboro(place: Place) -> bool:
    """Whether the weather measured at Greensboro (36.1° N, 79.95° W) counts as that of the site."""
    near_deg = 0.3  # about 30 km: the same weather front, and less than the station's own year-to-year difference
    return abs(place.latitude_deg - 36.1) < near_deg and abs(place.longitude_deg + 79.95) < near_deg
