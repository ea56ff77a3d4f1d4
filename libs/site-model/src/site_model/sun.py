"""Sun and panels with pvlib: position, transposition, cell temperature, PVWatts DC and AC.

The only module that imports pvlib (extra `site-model[sun]`); pvlib has no types, so its functions are `Any` here and
plain numbers beyond. It computes the typical year day by day, so that a service pays only for the day it lives in.

Source: A. P. Dobos, PVWatts Version 5 Manual, NREL/TP-6A20-62641 (2014).
"""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pvlib

from site_model.parameters import SiteParameters, stands_at_greensboro
from site_model.sunlight import STEP_S, STEPS_PER_DAY, SunDay
from site_model.weather import Series, Sky, TypicalYear, cloud_factors, hours_around, sky_between_hours

_pvlib: Any = pvlib
_pandas: Any = pd

_YEAR = 2023
"""The calendar year whose sun the typical year has: between two leap years, so its sun is nearly that of any year."""

_GREENSBORO = "723170TYA.CSV"
"""NREL TMY3 of Greensboro Piedmont Triad International Airport, part of the pvlib package."""

_GAMMA_PDC_PER_DEG_C = -0.0037
"""Power lost with temperature, of today's crystalline modules [1/°C]."""

_DC_AC_RATIO = 1.1
"""Panels over inverter, the ratio at which PVWatts begins to clip in the clearest hours only."""

_INVERTER_EFFICIENCY = 0.96
"""Nominal, the default of PVWatts."""

_ALBEDO = 0.2
_LINKE_TURBIDITY = 3.0
"""Of a clear sky over land; monthly maps of it would cost another dependency for a sky that is invented anyway."""

_CLEAR_SKY_TEMP_AIR_DEG_C = 18.0
_CLEAR_SKY_WIND_SPEED_M_S = 2.0

_LOWEST_SUN_DEG = 0.25
"""Elevation of the sun's centre below which nothing is given [°]. The sun of any calendar year stands less than that
next to the sun of the typical year, so night is exactly 0 in each of them."""

_SAMPLES_PER_HOUR = 6


class PvlibSun:
    """The typical year of one site, computed on demand."""

    def __init__(self, parameters: SiteParameters, year: TypicalYear | None) -> None:
        """Put the panels of `parameters` under the weather of `year`.

        Args:
            parameters: place, height above the sea, mounting of the panels, and the seed of invented clouds.
            year: measured weather; None for a clear sky with clouds.
        """
        self._place, self._altitude_m = parameters.place, parameters.weather.altitude_m
        self._panels, self._seed = parameters.panels, parameters.seed
        self._year = year
        self._computed_day = lru_cache(maxsize=32)(self._compute_day)

    def day(self, month: int, day: int) -> SunDay:
        """The UTC day of that date."""
        return self._computed_day(month, day)

    def _compute_day(self, month: int, day: int) -> SunDay:
        on = date(_YEAR, month, day)
        instants_h = (on - date(_YEAR, 1, 1)).days * 24.0 + np.arange(STEPS_PER_DAY) * STEP_S / 3600
        position = self._position(instants_h)
        lit = position.zenith_deg < 90 - _LOWEST_SUN_DEG
        sunlit = _Position(position.zenith_deg[lit], position.azimuth_deg[lit], position.apparent_zenith_deg[lit])
        poa, ac = np.zeros(STEPS_PER_DAY), np.zeros(STEPS_PER_DAY)
        if lit.any():
            dni_extra = float(_pvlib.irradiance.get_extra_radiation(on.timetuple().tm_yday))
            if self._year is None:
                sky = self._compute_sky(on, cloud_factors(self._seed, on, STEPS_PER_DAY)[lit], sunlit, dni_extra)
            else:
                sky = self._typical_sky(self._year, instants_h[lit], sunlit, dni_extra)
            poa[lit], ac[lit] = self._panels_under(sky, sunlit, dni_extra)
        return SunDay(yield_w_per_kwp=_whole(ac), poa_global_w_m2=_whole(poa))

    def _position(self, hours: Series) -> "_Position":
        """Where the sun stands at some hours of the UTC year."""
        seconds = np.round(hours * 3600).astype("timedelta64[s]")
        moments = _pandas.DatetimeIndex(np.datetime64(f"{_YEAR}-01-01", "s") + seconds, tz="UTC")
        found = _pvlib.solarposition.get_solarposition(
            moments, self._place.latitude_deg, self._place.longitude_deg, altitude=self._altitude_m
        )
        return _Position(*(found[name].to_numpy() for name in ("zenith", "azimuth", "apparent_zenith")))

    def _typical_sky(self, year: TypicalYear, instants_h: Series, sun: "_Position", dni_extra: float) -> Sky:
        hours = hours_around(year, instants_h[0], instants_h[-1])
        sampled_h = hours.middle_h[:, None] + (np.arange(_SAMPLES_PER_HOUR) + 0.5) / _SAMPLES_PER_HOUR - 0.5
        return sky_between_hours(
            year,
            hours,
            hourly_cosines=self._position(sampled_h.ravel()).cosines.reshape(sampled_h.shape),
            instants_h=instants_h,
            cosines=sun.cosines,
            dni_extra_w_m2=dni_extra,
        )

    def _compute_sky(self, on: date, clouds: Series, sun: "_Position", dni_extra: float) -> Sky:
        atmosphere, altitude_m = _pvlib.atmosphere, self._altitude_m
        airmass = atmosphere.get_absolute_airmass(
            atmosphere.get_relative_airmass(sun.apparent_zenith_deg), atmosphere.alt2pres(altitude_m)
        )
        clear = _pvlib.clearsky.ineichen(sun.apparent_zenith_deg, airmass, _LINKE_TURBIDITY, altitude_m, dni_extra)
        ghi: Series = clear["ghi"] * clouds
        parts = _pvlib.irradiance.erbs(ghi, sun.zenith_deg, on.timetuple().tm_yday)
        return Sky(
            ghi_w_m2=ghi,
            dni_w_m2=parts["dni"],
            dhi_w_m2=parts["dhi"],
            temp_air_deg_c=np.full_like(ghi, _CLEAR_SKY_TEMP_AIR_DEG_C),
            wind_speed_m_s=np.full_like(ghi, _CLEAR_SKY_WIND_SPEED_M_S),
        )

    def _panels_under(self, sky: Sky, sun: "_Position", dni_extra: float) -> tuple[Series, Series]:
        """Irradiance on the panels [W/m²] and their AC power [W/kWp]."""
        tilt, facing = self._panels.surface_tilt_deg, self._panels.surface_azimuth_deg
        poa = _pvlib.irradiance.get_total_irradiance(
            tilt,
            facing,
            sun.apparent_zenith_deg,
            sun.azimuth_deg,
            dni=sky.dni_w_m2,
            ghi=sky.ghi_w_m2,
            dhi=sky.dhi_w_m2,
            dni_extra=dni_extra,
            albedo=_ALBEDO,
            model="haydavies",
        )
        aoi = _pvlib.irradiance.aoi(tilt, facing, sun.apparent_zenith_deg, sun.azimuth_deg)
        through_glass = poa["poa_direct"] * _pvlib.iam.physical(aoi) + poa["poa_diffuse"]
        cell = _pvlib.temperature.faiman(poa["poa_global"], sky.temp_air_deg_c, sky.wind_speed_m_s)
        dc = _pvlib.pvsystem.pvwatts_dc(through_glass, cell, pdc0=1000.0, gamma_pdc=_GAMMA_PDC_PER_DEG_C)
        delivered = dc * (1 - _pvlib.pvsystem.pvwatts_losses() / 100)
        ac = _pvlib.inverter.pvwatts(delivered, pdc0=1000.0 / _DC_AC_RATIO / _INVERTER_EFFICIENCY)
        return poa["poa_global"], np.maximum(ac, 0.0)


@dataclass(frozen=True)
class _Position:
    zenith_deg: Series
    azimuth_deg: Series
    apparent_zenith_deg: Series

    @property
    def cosines(self) -> Series:
        """Cosine of the zenith angle, 0 below the horizon."""
        return np.maximum(np.cos(np.radians(self.zenith_deg)), 0.0)


def _whole(values: Series) -> tuple[int, ...]:
    return tuple(int(value) for value in np.rint(values))


def pvlib_sun(parameters: SiteParameters) -> PvlibSun:
    """The sun of a site under its own weather file, the measured year of Greensboro, or a clear sky with clouds.

    Raises:
        ValueError: the weather file cannot be used.
    """
    file = parameters.weather.weather_file
    if file is None and stands_at_greensboro(parameters.place):
        file = Path(pvlib.__file__).parent / "data" / _GREENSBORO
    return PvlibSun(parameters, None if file is None else read_typical_year(file))


def read_typical_year(file: Path) -> TypicalYear:
    """Read a TMY3 (`.csv`) or EPW (`.epw`) file.

    Both name 8,760 hours by their ends in local standard time, so the first row is the first hour of the year.

    Raises:
        ValueError: the file cannot be read, is not of its format, or holds values that no weather has.
    """
    read = _pvlib.iotools.read_epw if file.suffix.lower() == ".epw" else _pvlib.iotools.read_tmy3
    try:
        table, about = read(file, coerce_year=_YEAR)
        columns = (table[name].to_numpy(dtype=float) for name in ("ghi", "dni", "temp_air", "wind_speed"))
        return TypicalYear(float(about["TZ"]), *columns)
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(f"weather file {file} cannot be used: {error}") from error
