"""How good solar forecasts would have been: rolling, refitted on the past alone, beside the naive forecasts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from ev_forecasting.measures import (
    coverage_percent,
    mean_absolute_error,
    mean_pinball_loss,
    root_mean_square_error,
)
from ev_forecasting.series import FloatArray, SeriesError, TimeSeries
from ev_forecasting.solar import SolarModel, SolarPrediction, fit_solar
from ev_forecasting.solar_clear_sky import ClearSky, SolarSite
from ev_forecasting.solar_features import IndexArray, SolarState

_WARM_UP = timedelta(days=90)
"""History before the forecasts of one fit that memories and ceiling are computed from."""

_REFIT = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class SolarRun:
    """One kind of forecast over the whole test, one entry per interval; NaN where nothing was forecast."""

    prediction: SolarPrediction
    """The forecasts."""

    naive: FloatArray
    """The naive forecasts, in the unit of the history."""


@dataclass(frozen=True, slots=True)
class SolarScore:
    """Errors of one kind of forecast over the intervals of the test in which the sun was up and power is known."""

    intervals: int
    """Number of these intervals."""

    nrmse_percent: float
    """Root mean squared error of the expected power over the mean power [%]."""

    nrmse_p50_percent: float
    """The same of the median [%]."""

    naive_nrmse_percent: float
    """The same of the naive forecast [%]."""

    skill_percent: float
    """How far the error of the expected power is below that of the naive forecast [%]."""

    skill_without_outages_percent: float
    """The same without days on which the panels gave less than 3 % of a clear day: failure or snow [%]."""

    mae: float
    """Mean absolute error of the median, in the unit of the history."""

    naive_mae: float
    """Mean absolute error of the naive forecast, in the unit of the history."""

    pinball: float
    """Mean pinball loss of p10, p50, p90, in the unit of the history."""

    naive_pinball: float
    """The same of the naive forecast as each quantile, in the unit of the history."""

    coverage_p10_p90: float
    """Share of the values between p10 and p90 [%]; 80 is right."""


@dataclass(frozen=True, slots=True)
class SolarBacktest:
    """Forecasts and errors of a test."""

    grid: TimeSeries
    """Measured power in the intervals of the test."""

    hour_ahead: SolarRun
    """Issued each interval for the one that ends an hour later; naive: the last clear-sky index stays."""

    day_ahead: SolarRun
    """Issued at each local midnight for the day; naive: the same time yesterday."""

    clear: FloatArray
    """Clear-sky power as it was known, one per interval; 0 while the sun is down."""

    models: tuple[SolarModel, ...]
    """The models in the order of their fits."""

    def score(self, run: SolarRun) -> SolarScore:
        """Errors of one of the runs."""
        lit = (self.clear > 0) & ~np.isnan(self.grid.values + run.naive + run.prediction.expected)
        running = lit & self._is_producing()
        actual, expected, naive = (values[lit] for values in (self.grid.values, run.prediction.expected, run.naive))
        p10, p50, p90 = (quantile[lit] for quantile in (run.prediction.p10, run.prediction.p50, run.prediction.p90))
        mean = float(actual.mean()) if len(actual) else np.nan
        return SolarScore(
            intervals=len(actual),
            nrmse_percent=100 * root_mean_square_error(actual, expected) / mean,
            nrmse_p50_percent=100 * root_mean_square_error(actual, p50) / mean,
            naive_nrmse_percent=100 * root_mean_square_error(actual, naive) / mean,
            skill_percent=self._skill(run, lit),
            skill_without_outages_percent=self._skill(run, running),
            mae=mean_absolute_error(actual, p50),
            naive_mae=mean_absolute_error(actual, naive),
            pinball=mean_pinball_loss(actual, p10, p50, p90),
            naive_pinball=mean_pinball_loss(actual, naive, naive, naive),
            coverage_p10_p90=coverage_percent(actual, p10, p90),
        )

    def _skill(self, run: SolarRun, chosen: npt.NDArray[np.bool_]) -> float:
        actual = self.grid.values[chosen]
        error = root_mean_square_error(actual, run.prediction.expected[chosen])
        return 100 * (1 - error / root_mean_square_error(actual, run.naive[chosen]))

    def _is_producing(self) -> npt.NDArray[np.bool_]:
        """Whether the day of each interval, by the sun, gave more than nothing."""
        day = (self.grid.timestamps().astype(np.int64) // 86_400).astype(np.int64)
        day -= day[0] if len(day) else 0
        known = ~np.isnan(self.grid.values)
        energy = np.bincount(day, weights=np.where(known, self.grid.values, 0))
        clear = np.bincount(day, weights=np.where(known, self.clear, 0))
        return (energy > 0.03 * clear)[day]


def backtest_solar(
    site: SolarSite,
    series: TimeSeries,
    test_start: datetime,
    zone: ZoneInfo | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> SolarBacktest:
    """Forecast all intervals from `test_start` on, each with a model that was fitted on what ended before.

    Args:
        site: where the panels stand.
        series: measured power, NaN where missing.
        test_start: first moment of the test; the model is fitted anew every 28 days from then on.
        zone: whose midnight issues the day-ahead forecast; None takes midnight by the sun, in whole hours of UTC.
        progress: called with the share that is done, 0 to 1.

    Raises:
        SeriesError: the test has no interval, or 24 hours are no whole number of intervals.
        SolarExtraError: pvlib is not installed.
    """
    first, per_day = max(0, -((series.start - test_start) // series.resolution)), series.intervals_per_day
    if first >= len(series) or first < 1:
        raise SeriesError(f"the test from {test_start:%Y-%m-%d} on has to lie inside of the series")
    series = TimeSeries(series.start, series.resolution, np.clip(series.values, 0, None))
    rolling = _RollingForecast(site, series, ClearSky(site, series), _midnight_origins(series, site, zone))
    step = _REFIT // series.resolution
    blocks: list[list[FloatArray]] = []
    models: list[SolarModel] = []
    for begin in range(first, len(series), step):
        model = rolling.fit(begin)
        blocks.append(rolling.forecast(model, begin, min(begin + step, len(series))))
        models.append(model)
        progress(min(1.0, (begin + step - first) / (len(series) - first)))
    columns = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    return SolarBacktest(
        grid=TimeSeries(series.start + first * series.resolution, series.resolution, series.values[first:]),
        hour_ahead=SolarRun(SolarPrediction(*columns[:4]), columns[8]),
        day_ahead=SolarRun(SolarPrediction(*columns[4:8]), _repeat_yesterday(series.values, per_day)[first:]),
        clear=columns[9],
        models=tuple(models),
    )


@dataclass(frozen=True, slots=True)
class _RollingForecast:
    site: SolarSite
    series: TimeSeries
    sky: ClearSky
    midnights: IndexArray
    """Last interval that ended before the day of each began."""

    def fit(self, begin: int) -> SolarModel:
        """The model as fitted on everything before an interval."""
        known = TimeSeries(self.series.start, self.series.resolution, self.series.values[:begin])
        return fit_solar(self.site, known, self.sky.select(np.arange(begin)))

    def forecast(self, model: SolarModel, begin: int, end: int) -> list[FloatArray]:
        """Four columns one hour ahead, four day-ahead, persistence of the index, clear-sky power."""
        step, hour = self.series.resolution, max(1, round(self.series.intervals_per_day / 24))
        start = max(0, begin - _WARM_UP // step)
        window = np.arange(start, end, dtype=np.int64)
        grid = TimeSeries(self.series.start + start * step, step, self.series.values[start:end])
        state = SolarState(self.sky.select(window), model.mounting, grid)
        targets = np.arange(begin - start, end - start, dtype=np.int64)
        hourly = model.predict(state, np.maximum(targets - hour, 0), targets)
        daily = model.predict(state, np.maximum(self.midnights[begin:end] - start, 0), targets)
        return [*_columns(hourly), *_columns(daily), _persistence(state, targets, hour), state.clear[targets]]


def _columns(prediction: SolarPrediction) -> tuple[FloatArray, ...]:
    return prediction.expected, prediction.p10, prediction.p50, prediction.p90


def _persistence(state: SolarState, targets: IndexArray, lead: int) -> FloatArray:
    """The last clear-sky index that was known when the sun was high enough, times the clear-sky power."""
    known = np.where(np.isnan(state.index) | (state.share < 0.03), 0, np.arange(len(state.index)))
    last = state.index[np.maximum.accumulate(known)]
    index = np.clip(last[np.maximum(targets - lead, 0)], 0, 1.2)
    return index * state.clear[targets]


def _repeat_yesterday(values: FloatArray, per_day: int) -> FloatArray:
    """The same time of the day before, of the latest of the last seven days that has a value."""
    repeated = np.full(len(values), np.nan)
    for days in range(7, 0, -1):
        shifted = np.concatenate([np.full(min(days * per_day, len(values)), np.nan), values[: -days * per_day]])
        repeated = np.where(np.isnan(shifted), repeated, shifted)
    return repeated


def _midnight_origins(series: TimeSeries, site: SolarSite, zone: ZoneInfo | None) -> IndexArray:
    """Position of the last interval that ended at or before the local midnight of each interval's day; from -1 on."""
    offset_s = 3600 * round(site.longitude_deg / 15)
    seconds = series.timestamps().astype(np.int64)
    step_s = int(series.resolution.total_seconds())
    if zone is None:
        local = seconds + offset_s
    else:
        hours = np.unique(seconds // 3600)
        offsets = [_offset_s(int(hour) * 3600, zone) for hour in hours]
        local = seconds + np.array(offsets)[np.searchsorted(hours, seconds // 3600)]
    day = local // 86_400
    first = np.searchsorted(day, day)
    return np.asarray(first - 1 - ((local[first] % 86_400) % step_s > 0), dtype=np.int64)


def _offset_s(moment_s: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(moment_s, zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0
