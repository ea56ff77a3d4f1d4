"""What was known of sky and panels at the end of each interval, as numbers that a solar forecast learns from.

The clear-sky index is power over clear-sky power. Its recent past is summed with decay, power and clear-sky power
apart: so a low sun, which says little of the sky, has little weight, at night a young memory fades to nothing, and
missing values are left out.
"""

from datetime import timedelta

import numpy as np
import numpy.typing as npt

from ev_forecasting.series import FloatArray, TimeSeries
from ev_forecasting.solar_clear_sky import ClearSky, Mounting

IndexArray = npt.NDArray[np.int64]
"""Positions in a grid of intervals."""

REFERENCE_INDEX = 0.75
"""Clear-sky index that anomalies are counted from, about the mean of a sunny climate."""

MEMORIES_H = (0.25, 1.0, 3.0, 8.0, 24.0, 72.0, 240.0)
"""Time constants of the memories [h]: this cloud, this hour, ..., these ten days."""

CHANGE_MEMORIES_H = (1.0, 4.0)
"""Time constants of the memories of how much the index changes from interval to interval [h]."""

LOWEST_SHARE = 0.01
"""Clear-sky power over its scale below which an index is not looked at: division would amplify errors."""

_KNOTS = (-0.4, -0.15, 0.05, 0.15)
"""Anomalies at which the dependence on young memories may bend: a clear sky lasts longer than half a cloudy one."""

_LAGS = 4

_BLOCK_DAYS = 7
_BLOCK_LAG_DAYS = 4
_CEILING_DAYS = 45
_CEILING_LEVEL = 0.92
_CEILING_BOUNDS = (0.3, 4.0)
_HOUR_BINS = 24
_PRIOR_VALUES = 60
"""Values at which an hour's own ceiling counts as much as that of the whole day."""


class SolarState:
    """Clear-sky power and memories on one grid; an entry depends on nothing that ended later than its interval.

    The clear-sky power of an interval depends on values that are at least four days old: forecasts of up to that
    horizon see the same.
    """

    def __init__(self, sky: ClearSky, mounting: Mounting, grid: TimeSeries) -> None:
        """Compute clear-sky power and memories.

        Args:
            sky: the sun in the intervals of `grid`.
            mounting: how the panels are mounted.
            grid: measured power, NaN where missing and where it lies in the future.
        """
        self.sky, self.scale, self.power = sky, mounting.scale, grid.values
        relative = sky.relative_power(mounting.surface_tilt_deg, mounting.surface_azimuth_deg)
        self.clear: FloatArray = mounting.scale * relative
        """Clear-sky power, one per interval; exactly 0 at night."""
        if mounting.scale > 0:
            self.clear = self.clear * _learn_ceiling(grid, self.clear, sky.solar_hour, mounting.scale)
        self.share: FloatArray = self.clear / (mounting.scale or 1.0)
        """Clear-sky power over its scale."""
        self.highest_index: FloatArray = 1.15 + 0.05 / np.maximum(self.share, LOWEST_SHARE)
        """Bound of the index: edges of clouds light panels more than a clear sky does, and at a low sun the clear-sky
        power itself is uncertain by a twentieth of its scale."""
        usable = ~np.isnan(self.power) & (self.share > LOWEST_SHARE)
        self.index: FloatArray = np.full(len(sky), np.nan)
        """Clear-sky index, NaN where power is missing or the sun too low."""
        self.index[usable] = self.power[usable] / self.clear[usable]
        self.memory = self._remember(usable, grid.resolution / timedelta(hours=1))
        """Memories at the end of each interval, shape (intervals, memories)."""

    def design(self, origins: IndexArray, targets: IndexArray) -> FloatArray:
        """Regressors of the index at `targets` as seen from the end of `origins`, shape (pairs, regressors)."""
        memory = self.memory[origins]
        ones = np.ones((len(origins), 1))
        height = np.sin(np.radians(np.maximum(self.sky.elevation_deg[targets], 0)))[:, None]
        hour = ((self.sky.solar_hour[targets] - 12) / 6)[:, None]
        season = self.sky.year_angle[targets][:, None]
        calendar = [np.sin(season), np.cos(season), np.sin(2 * season), np.cos(2 * season)]
        young = memory[:, : len(MEMORIES_H) - 4]
        return np.hstack(
            [
                ones,
                memory,
                height,
                hour,
                hour**2,
                *calendar,
                hour * calendar[0],
                hour * calendar[1],
                young * height,
                memory * hour,
                young * memory[:, -1:],
                young**2,
                *(np.maximum(memory[:, :4] - knot, 0) for knot in _KNOTS),
                self._describe_recent(origins),
            ]
        )

    def describe_uncertainty(self, origins: IndexArray, targets: IndexArray, index: FloatArray) -> FloatArray:
        """Regressors of the error's size: predicted index, height of the sun, recent changes."""
        height = np.sin(np.radians(np.maximum(self.sky.elevation_deg[targets], 0)))
        hour = (self.sky.solar_hour[targets] - 12) / 6
        changes = self.memory[origins][:, len(MEMORIES_H) :]
        ones = np.ones(len(origins))
        return np.column_stack([ones, index, index**2, height, np.exp(-8 * height), hour, hour**2, changes])

    def _describe_recent(self, origins: IndexArray) -> FloatArray:
        """Anomalies of the latest intervals, of their lowest and highest, and these by the height of the sun."""
        filled = np.where(np.isnan(self.index), 0, np.minimum(self.index, 1.2) - REFERENCE_INDEX)
        lags = filled[np.maximum(origins[:, None] - np.arange(_LAGS), 0)]
        lags = np.hstack([lags, lags.min(axis=1, keepdims=True), lags.max(axis=1, keepdims=True)])
        share = np.minimum(self.share[origins], 1)[:, None]
        return np.hstack([share, lags, lags * share])

    def _remember(self, usable: npt.NDArray[np.bool_], step_h: float) -> FloatArray:
        power, clear = np.where(usable, self.power, 0.0), np.where(usable, self.clear, 0.0)
        anomaly = (power - REFERENCE_INDEX * clear) / (self.scale or 1.0)
        weight = clear / (self.scale or 1.0)
        columns: list[FloatArray] = []
        for hours in MEMORIES_H:
            seen = decaying_sum(weight, hours, step_h)
            # A twentieth of full sun all the time counts as much as what was measured.
            doubt = 0.05 / (1 - np.exp(-step_h / hours))
            columns.append(decaying_sum(anomaly, hours, step_h) / (seen + doubt))
        filled = np.where(np.isnan(self.index), REFERENCE_INDEX, self.index)
        change = np.abs(np.diff(filled, prepend=filled[:1])) * np.minimum(self.share, 1)
        for hours in CHANGE_MEMORIES_H:
            columns.append(decaying_sum(change, hours, step_h) * (1 - np.exp(-step_h / hours)))
        return np.column_stack(columns)


def decaying_sum(values: FloatArray, memory_h: float, step_h: float) -> FloatArray:
    """Sum of all values up to each, the older the smaller: exp(-age / memory_h).

    >>> decaying_sum(np.array([1.0, 0.0, 0.0]), 1.0, 1.0).round(3).tolist()
    [1.0, 0.368, 0.135]
    """
    rows = max(1, round(24 / step_h))
    keep = np.exp(-step_h / memory_h)
    padded = np.pad(values, (0, -len(values) % rows)).reshape(-1, rows)
    age = np.arange(rows)[:, None] - np.arange(rows)
    kernel = np.where(age >= 0, keep ** np.maximum(age, 0), 0.0)
    inner = padded @ kernel.T
    fade = keep ** np.arange(1, rows + 1)
    carry = 0.0
    for day in inner:
        day += carry * fade
        carry = day[-1]
    return inner.ravel()[: len(values)]


def _learn_ceiling(grid: TimeSeries, clear: FloatArray, solar_hour: FloatArray, scale: float) -> FloatArray:
    """What the clear-sky power has to be multiplied by, by week and solar hour, from the weeks before.

    An upper quantile of the ratios: it takes up the season's haze and heat, shade, dirt, a wrong clock, and panels
    that were added or lost.
    """
    day = grid.timestamps().astype(np.int64) // 86_400
    bins = (solar_hour / 24 * _HOUR_BINS).astype(np.int64) % _HOUR_BINS
    usable = ~np.isnan(grid.values) & (clear > LOWEST_SHARE * scale)
    ratios = np.divide(grid.values, clear, out=np.ones(len(clear)), where=usable)
    ceiling = np.ones(len(clear))
    # Weeks of the calendar, not of this grid: a longer history yields the same blocks.
    for block in range(int(day[0]) // _BLOCK_DAYS, int(day[-1]) // _BLOCK_DAYS + 1):
        first = block * _BLOCK_DAYS
        past = slice(*np.searchsorted(day, (first - _BLOCK_LAG_DAYS - _CEILING_DAYS, first - _BLOCK_LAG_DAYS)))
        inside = usable[past]
        if inside.sum() < _PRIOR_VALUES:
            continue
        factors = _bin_quantiles(ratios[past][inside], bins[past][inside])
        here = slice(*np.searchsorted(day, (first, first + _BLOCK_DAYS)))
        ceiling[here] = factors[bins[here]]
    return ceiling


def _bin_quantiles(ratios: FloatArray, hours: IndexArray) -> FloatArray:
    overall = float(np.quantile(ratios, _CEILING_LEVEL))
    factors = np.full(_HOUR_BINS, overall)
    for hour in np.unique(hours):
        own = ratios[hours == hour]
        factors[hour] = (float(np.quantile(own, _CEILING_LEVEL)) * len(own) + overall * _PRIOR_VALUES) / (
            len(own) + _PRIOR_VALUES
        )
    return np.clip(factors, *_CEILING_BOUNDS)
