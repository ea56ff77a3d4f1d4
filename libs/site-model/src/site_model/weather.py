"""The sky between the hourly values of a typical year, and clear skies with seeded clouds where there is no such year.

A weather file gives means over an hour. Between the middles of
two hours the clearness of the sky runs straight, not the irradiance: so dawn and dusk follow the sun.
"""

from dataclasses import dataclass
from datetime import date
from random import Random

import numpy as np
from numpy.typing import NDArray

from site_model.noise import draws

Series = NDArray[np.float64]

HOURS = 8760

_HIGHEST_CLEARNESS = 0.85
"""Bound on both clearness indices: in a coarse hourly mean a low sun would else shine brighter than in space."""

_LOWEST_MEAN_COSINE = 0.01
"""Hours with less sun than this say nothing about the sky: both numbers of the ratio are rounding."""

_SKIES = ((0.45, 0.96, 0.02), (0.35, 0.65, 0.22), (0.20, 0.28, 0.08))
"""Share of days, mean clearness and its spread: clear, broken, overcast."""

_CLOUD_MEMORY = 0.7
"""How much of a cloud is still there one instant later: clouds pass within the hour."""


@dataclass(frozen=True)
class TypicalYear:
    """Hourly weather of 365 days from 00:00 local standard time of 1 January, one value for each hour.

    ghi_w_m2, dni_w_m2 [W/m²]: global horizontal and direct normal irradiance, means over the hour. temp_air_deg_c [°C],
    wind_speed_m_s [m/s].

    Raises:
        ValueError: a series is not one year long, or holds values that no weather has.
    """

    utc_offset_h: float
    """Local standard time less UTC [h]."""

    ghi_w_m2: Series
    dni_w_m2: Series
    temp_air_deg_c: Series
    wind_speed_m_s: Series

    def __post_init__(self) -> None:
        bounds = {
            "ghi_w_m2": (0, 1500),
            "dni_w_m2": (0, 1500),
            "temp_air_deg_c": (-70, 60),
            "wind_speed_m_s": (0, 100),
        }
        for name, (low, high) in bounds.items():
            series: Series = getattr(self, name)
            if len(series) != HOURS:
                raise ValueError(f"a typical year has {HOURS} hours, {name} has {len(series)}")
            wrong = np.flatnonzero(~((series >= low) & (series <= high)))
            if wrong.size:
                first = int(wrong[0])
                raise ValueError(f"hour {first} of the year: {name} is {series[first]}, must be {low} to {high}")


@dataclass(frozen=True)
class Sky:
    """What is above the panels, one value for each instant; units as in `TypicalYear`."""

    ghi_w_m2: Series
    dni_w_m2: Series
    dhi_w_m2: Series
    temp_air_deg_c: Series
    wind_speed_m_s: Series


@dataclass(frozen=True)
class Hours:
    """Some hours of a typical year around the instants asked for."""

    index: NDArray[np.int64]
    """Place of each in the year, a ring."""

    middle_h: Series
    """Its middle [h], in hours of the UTC year."""


def hours_around(year: TypicalYear, first_h: float, last_h: float) -> Hours:
    """The hours from half a day before to half a day after a span [h, hours of the UTC year]."""
    local = np.arange(np.floor(first_h + year.utc_offset_h) - 12, last_h + year.utc_offset_h + 12)
    return Hours(index=local.astype(np.int64) % HOURS, middle_h=local + 0.5 - year.utc_offset_h)


def sky_between_hours(
    year: TypicalYear,
    hours: Hours,
    *,
    hourly_cosines: Series,
    instants_h: Series,
    cosines: Series,
    dni_extra_w_m2: float,
) -> Sky:
    """The sky at some instants, all of them with the sun above the horizon.

    Args:
        year: hourly weather.
        hours: those of its hours that reach around the instants.
        hourly_cosines: cosine of the sun's zenith angle, 0 below the horizon; one row for each of `hours`, one column
            for each of several instants spread over it.
        instants_h: the instants [h, hours of the UTC year].
        cosines: the same cosine at the instants.
        dni_extra_w_m2: irradiance outside the atmosphere [W/m²].
    """
    mean_cosines = hourly_cosines.mean(axis=1)
    lit = mean_cosines > _LOWEST_MEAN_COSINE
    lit_hours = hours.index[lit]
    clearness = year.ghi_w_m2[lit_hours] / (dni_extra_w_m2 * mean_cosines[lit])
    beam = year.dni_w_m2[lit_hours] / (dni_extra_w_m2 * (hourly_cosines > 0).mean(axis=1)[lit])
    ghi = dni_extra_w_m2 * cosines * _interpolate(instants_h, hours.middle_h[lit], clearness)
    dni = dni_extra_w_m2 * _interpolate(instants_h, hours.middle_h[lit], beam)
    return Sky(
        ghi_w_m2=ghi,
        dni_w_m2=dni,
        dhi_w_m2=np.maximum(ghi - dni * cosines, 0.0),
        temp_air_deg_c=np.interp(instants_h, hours.middle_h, year.temp_air_deg_c[hours.index]),
        wind_speed_m_s=np.interp(instants_h, hours.middle_h, year.wind_speed_m_s[hours.index]),
    )


def _interpolate(instants_h: Series, middles_h: Series, clearness: Series) -> Series:
    """Clearness at some instants, straight between the middles of hours; 0 where no hour has light enough to tell."""
    if not middles_h.size:
        return np.zeros_like(instants_h)
    return np.interp(instants_h, middles_h, np.minimum(clearness, _HIGHEST_CLEARNESS))


def cloud_factors(seed: int, day: date, count: int) -> Series:
    """What clouds leave of a clear sky's irradiance, 0.1 to 1, at `count` instants of a day."""
    generator = draws(seed, "clouds", day)
    _, mean, spread = generator.choices(_SKIES, weights=[share for share, _, _ in _SKIES])[0]
    return np.clip(mean + spread * np.array(_passing_clouds(generator, count)), 0.1, 1.0)


def _passing_clouds(generator: Random, count: int) -> list[float]:
    """Standard normal noise in which each value remembers the one before."""
    values = [generator.gauss()]
    news = (1 - _CLOUD_MEMORY**2) ** 0.5
    while len(values) < count:
        values.append(_CLOUD_MEMORY * values[-1] + news * generator.gauss())
    return values
