"""What panels give under a cloudless sky, with pvlib (extra `ev-forecasting[sun]`), and how they are mounted.

pvlib has no types, so its functions are `Any` here and plain arrays beyond. Without it this module imports, and
`ClearSky` raises `SolarExtraError`.

Source: Ineichen and Perez, A new airmass independent formulation for the Linke turbidity coefficient, Solar Energy 73
(2002); Hay and Davies (1980) for the tilted plane.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Self
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from ev_forecasting.series import FloatArray, TimeSeries

_LINKE_TURBIDITY = 3.0
"""Of a clear sky over land; the season's course of it is learned with the level of the panels."""

_ALBEDO = 0.2
_SAMPLE = timedelta(minutes=10)
"""Longest distance of the instants over which an interval is averaged: at dawn the middle of an hour may be dark."""

_ENVELOPE_LEVEL = 0.9
"""Share of the energy below a clear sky's power: most hours of most climates are cloudier than a clear one."""

_FIT_INTERVALS = 5000
"""Intervals that a fit of the mounting uses at most; more change tilt and azimuth by less than its last step."""

_FIT_DAYS = 21
"""Days of measured power from which on the mounting is fitted: fewer see too little of the sun's course."""


class SolarExtraError(RuntimeError):
    """pvlib is not installed."""


@dataclass(frozen=True, slots=True)
class SolarSite:
    """Where the panels stand, and what is known of them.

    Raises:
        ValueError: a value is outside of its range.
    """

    latitude_deg: float
    """North positive [°], -90 to 90."""

    longitude_deg: float
    """East positive [°], -180 to 180."""

    altitude_m: float = 0.0
    """Above the sea [m]."""

    capacity_kwp: float | None = None
    """Rated DC power, in the unit of the measured power; None: learned from the history."""

    surface_tilt_deg: float | None = None
    """From the horizontal [°], 0 to 90; None: learned."""

    surface_azimuth_deg: float | None = None
    """Facing, from north clockwise [°], 0 to 360; None: learned."""

    def __post_init__(self) -> None:
        bounds = {
            "latitude_deg": (-90, 90),
            "longitude_deg": (-180, 180),
            "capacity_kwp": (1e-6, 1e9),
            "surface_tilt_deg": (0, 90),
            "surface_azimuth_deg": (0, 360),
        }
        for name, (low, high) in bounds.items():
            value: float | None = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} must be {low:g} to {high:g}, got {value}")


@dataclass(frozen=True, slots=True)
class Mounting:
    """How panels that behave like the measured ones are mounted."""

    surface_tilt_deg: float
    """From the horizontal [°]."""

    surface_azimuth_deg: float
    """Facing, from north clockwise [°]."""

    scale: float
    """Power at 1000 W/m² on the panels, in the unit of the measured power, >= 0."""

    loss: float
    """Pinball loss of the envelope over the mean clear power: how badly the clear sky describes the history, >= 0.
    Infinity where nothing was fitted."""


class ClearSky:
    """The sun over one place in contiguous intervals, and the irradiance of a cloudless sky."""

    def __init__(self, site: SolarSite, grid: TimeSeries) -> None:
        """Compute the sun's course.

        Args:
            site: place of the panels.
            grid: the intervals; its values are not used.

        Raises:
            SolarExtraError: pvlib is not installed.
        """
        if find_spec("pvlib") is None:
            raise SolarExtraError("solar forecasts need pvlib: install ev-forecasting[sun]")
        self._pvlib: Any = import_module("pvlib")
        pandas: Any = import_module("pandas")
        self._samples = -(-grid.resolution // _SAMPLE)
        step_s = grid.resolution.total_seconds()
        middles = (np.arange(self._samples) + 0.5) / self._samples * step_s
        seconds = grid.timestamps().astype(np.int64)[:, None] + middles
        moments = pandas.DatetimeIndex((seconds.ravel() * 1000).astype("datetime64[ms]"), tz="UTC")
        place = (site.latitude_deg, site.longitude_deg)
        sun = self._pvlib.solarposition.get_solarposition(moments, *place, altitude=site.altitude_m)
        self._zenith, self._azimuth = sun["apparent_zenith"].to_numpy(), sun["azimuth"].to_numpy()
        self._extra: FloatArray = np.asarray(self._pvlib.irradiance.get_extra_radiation(moments.dayofyear.to_numpy()))
        self._sky = self._compute_sky(site.altitude_m)
        self.elevation_deg: FloatArray = 90 - self._zenith.reshape(-1, self._samples).mean(axis=1)
        """Mean apparent elevation of the sun in each interval [°], negative at night."""
        solar_h = seconds.mean(axis=1) / 3600 + site.longitude_deg / 15
        self.solar_hour: FloatArray = solar_h % 24
        """Mean local solar time of each interval [h], 0 to 24; the equation of time is left out."""
        self.year_angle: FloatArray = 2 * np.pi * (seconds.mean(axis=1) / 86400 / 365.2425)
        """Season as an angle [rad], any multiple of a whole turn added."""

    def __len__(self) -> int:
        return len(self.solar_hour)

    def select(self, positions: npt.NDArray[np.int64]) -> Self:
        """The same sun in some of the intervals."""
        chosen = object.__new__(type(self))
        chosen.__dict__.update(self.__dict__)
        flat = (positions[:, None] * self._samples + np.arange(self._samples)).ravel()
        for name in ("_zenith", "_azimuth", "_extra"):
            setattr(chosen, name, getattr(self, name)[flat])
        chosen._sky = {name: values[flat] for name, values in self._sky.items()}
        for name in ("elevation_deg", "solar_hour", "year_angle"):
            setattr(chosen, name, getattr(self, name)[positions])
        return chosen

    def relative_power(self, surface_tilt_deg: float, surface_azimuth_deg: float) -> FloatArray:
        """Clear-sky power of panels over that at 1000 W/m², one per interval: exactly 0 while the sun is down."""
        mounted = (surface_tilt_deg, surface_azimuth_deg, self._zenith, self._azimuth)
        irradiance = self._pvlib.irradiance
        poa = irradiance.get_total_irradiance(
            *mounted, **self._sky, dni_extra=self._extra, albedo=_ALBEDO, model="haydavies"
        )
        through_glass = poa["poa_direct"] * self._pvlib.iam.physical(irradiance.aoi(*mounted)) + poa["poa_diffuse"]
        shining: FloatArray = np.where(self._zenith < 90, np.nan_to_num(np.asarray(through_glass)), 0.0)
        return np.maximum(shining, 0).reshape(-1, self._samples).mean(axis=1) / 1000

    def _compute_sky(self, altitude_m: float) -> dict[str, FloatArray]:
        atmosphere = self._pvlib.atmosphere
        airmass = atmosphere.get_absolute_airmass(
            atmosphere.get_relative_airmass(np.minimum(self._zenith, 89.99)), atmosphere.alt2pres(altitude_m)
        )
        # The model divides by zero at the horizon and below, where `relative_power` takes nothing from it.
        zenith = np.minimum(self._zenith, 89.99)
        clear = self._pvlib.clearsky.ineichen(zenith, airmass, _LINKE_TURBIDITY, altitude_m, self._extra)
        return {name: np.nan_to_num(np.asarray(clear[name], dtype=np.float64)) for name in ("dni", "ghi", "dhi")}


def assume_mounting(site: SolarSite) -> Mounting:
    """The mounting as configured; what is not is that of a common roof: 30° towards the equator.

    The scale is 0 while the capacity is unknown, else 85 % of it: losses of the inverter, of heat and of dirt.
    """
    tilt = 30.0 if site.surface_tilt_deg is None else site.surface_tilt_deg
    facing = 180.0 if site.latitude_deg >= 0 else 0.0
    azimuth = facing if site.surface_azimuth_deg is None else site.surface_azimuth_deg
    return Mounting(tilt, azimuth, 0.85 * (site.capacity_kwp or 0.0), np.inf)


def fit_mounting(site: SolarSite, sky: ClearSky, power: FloatArray) -> Mounting:
    """Find the mounting whose clear-sky power is the closest upper envelope of what was measured.

    Tilt and azimuth are searched on a grid that is refined twice. The configured mounting is kept unless another
    describes the history clearly better: settings may be wrong, and a fit of few days may be too.

    Args:
        site: place, and the mounting as far as it is configured.
        sky: the sun in the intervals of `power`.
        power: measured power, NaN where missing.
    """
    assumed = assume_mounting(site)
    known = np.flatnonzero(~np.isnan(power) & (sky.elevation_deg > 3))
    producing = known[power[known] > 0]
    if not len(producing):
        return assumed
    chosen = known[np.linspace(0, len(known) - 1, min(len(known), _FIT_INTERVALS)).astype(np.int64)]
    sun, measured = sky.select(chosen), power[chosen]
    best = configured = _fit_scale(sun, measured, assumed)
    days = len(np.unique(((sky.year_angle[known] / (2 * np.pi)) * 365.2425).astype(np.int64)))
    if days < _FIT_DAYS:
        # A few overcast days would make the panels small.
        part = days / _FIT_DAYS if assumed.scale else 1.0
        return replace(configured, scale=part * configured.scale + (1 - part) * assumed.scale)
    coarse = ((tilt, turn) for tilt in range(0, 81, 10) for turn in range(-100, 101, 20))
    base = 180.0 if site.latitude_deg >= 0 else 0.0
    for tilt, turn in coarse:
        best = _closer(best, _fit_scale(sun, measured, replace(assumed, **_angles(tilt, base + turn))))
    for step in (4, 1.5):
        centre = best
        for tilt in (-step, 0, step):
            for turn in (-2 * step, 0, 2 * step):
                angles = _angles(centre.surface_tilt_deg + tilt, centre.surface_azimuth_deg + turn)
                best = _closer(best, _fit_scale(sun, measured, replace(assumed, **angles)))
    named = site.surface_tilt_deg is not None and site.surface_azimuth_deg is not None
    return configured if named and configured.loss < 1.05 * best.loss else best


def _angles(tilt: float, azimuth: float) -> dict[str, float]:
    return {"surface_tilt_deg": float(np.clip(tilt, 0, 90)), "surface_azimuth_deg": azimuth % 360}


def _closer(first: Mounting, second: Mounting) -> Mounting:
    return second if second.loss < first.loss else first


def _fit_scale(sun: ClearSky, measured: FloatArray, mounting: Mounting) -> Mounting:
    """The mounting with the scale that makes it the upper envelope: a weighted quantile, and its pinball loss."""
    shape = sun.relative_power(mounting.surface_tilt_deg, mounting.surface_azimuth_deg)
    lit = shape > 0.03
    if not lit.any():
        return mounting
    shape, measured = shape[lit], measured[lit]
    ratios = measured / shape
    order = np.argsort(ratios)
    weights = np.cumsum(shape[order])
    scale = float(max(0.0, ratios[order][np.searchsorted(weights, _ENVELOPE_LEVEL * weights[-1])]))
    excess = measured - scale * shape
    loss = np.maximum(_ENVELOPE_LEVEL * excess, (_ENVELOPE_LEVEL - 1) * excess).mean()
    if scale <= 0:
        return mounting
    return replace(mounting, scale=scale, loss=float(loss / (scale * shape.mean())))


_DAYLIGHT_SAVING_ZONES = ("America/New_York", "Europe/Berlin", "Australia/Sydney")
"""Zones whose days of the clock changes stand for those of their continents."""


def find_daylight_saving(site: SolarSite, series: TimeSeries, zone: ZoneInfo | None) -> str | None:
    """Find out by the sun whether summer timestamps are an hour ahead of those of winter.

    Some loggers write wall-clock time with the offset of winter. The history is compared with the sun as stamped and
    with summer set back by `shift_summer`, which needs to describe it better.

    Args:
        site: where the panels stand.
        series: measured power.
        zone: whose daylight saving time; None tries that of North America, Europe and Australia.

    Returns:
        Name of the zone whose daylight saving time is in the timestamps, None if there is none.
    """
    if len(series) < 2:
        return None
    best = fit_mounting(site, ClearSky(site, series), series.values).loss
    found: str | None = None
    for name in (zone.key,) if zone else _DAYLIGHT_SAVING_ZONES:
        shifted = shift_summer(series, ZoneInfo(name))
        if np.array_equal(shifted.values, series.values, equal_nan=True):
            continue
        loss = fit_mounting(site, ClearSky(site, shifted), shifted.values).loss
        if loss < 0.96 * best:
            best, found = loss, name
    return found


def shift_summer(series: TimeSeries, zone: ZoneInfo) -> TimeSeries:
    """Set the intervals in which a zone has daylight saving time back by it.

    The night of the clock change in autumn gets a gap: wall-clock time holds its doubled hour once.
    """
    step_s = series.resolution.total_seconds()
    # A stamp that is an hour ahead passes the change an hour later.
    hours = np.array([_daylight_saving_h(series.start + timedelta(hours=hour - 1), zone) for hour in _hours(series)])
    positions = np.arange(len(series))
    hour_of = np.minimum((positions * step_s // 3600).astype(np.int64), len(hours) - 1)
    moved = positions - np.round(hours[hour_of] * 3600 / step_s).astype(np.int64)
    values = np.full(len(series), np.nan)
    inside = moved >= 0
    values[moved[inside]] = series.values[inside]
    return TimeSeries(series.start, series.resolution, values)


def _hours(series: TimeSeries) -> range:
    return range(int((series.end - series.start) / timedelta(hours=1)) + 1)


def _daylight_saving_h(moment: datetime, zone: ZoneInfo) -> float:
    saving = moment.astimezone(zone).dst()
    return saving.total_seconds() / 3600 if saving else 0.0
