"""How good load forecasts would have been: issued at each local midnight, refitted on the past alone, beside rivals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from ev_forecasting.load import (
    LoadErrors,
    LoadHistoryError,
    LoadModel,
    LoadPrediction,
    day_phase,
    fit_load,
    fit_trees,
    predict_scores,
    predict_trees,
    to_quantiles,
)
from ev_forecasting.load_features import IntArray, LoadCalendar, LoadFeatures, build_load_features, find_midnights
from ev_forecasting.series import FloatArray, SeriesError, TimeSeries

_REFIT_DAYS = 28
_MSTL_DAYS = 42
"""History that MSTL is fitted on at each origin."""

PLAIN_TREE, MSTL = "plain boosted tree", "MSTL"
"""Names of the rivals that are fitted."""


@dataclass(frozen=True, slots=True)
class LoadBacktest:
    """Forecasts of the whole test, one entry per interval; NaN where none was issued."""

    grid: TimeSeries
    """Measured load in the intervals of the test."""

    p10: FloatArray
    """10 % quantile [unit of the load]."""

    p50: FloatArray
    """Median [unit of the load]."""

    p90: FloatArray
    """90 % quantile [unit of the load]."""

    baselines: Mapping[str, FloatArray]
    """Forecasts of the seasonal baselines by name [unit of the load]."""

    rivals: Mapping[str, FloatArray]
    """Forecasts of other fitted models by name [unit of the load]; MSTL only on every sixth day."""

    days: tuple[IntArray, ...]
    """Intervals of each forecast, the earliest forecast first."""

    models: tuple[LoadModel, ...]
    """The models in the order of their fits."""


def backtest_load(
    load: TimeSeries,
    calendar: LoadCalendar,
    test_start: datetime,
    *,
    temperature_c: FloatArray | None = None,
    with_rivals: bool = True,
    progress: Callable[[float], None] = lambda share: None,
) -> LoadBacktest:
    """Forecast each local day from `test_start` on at its midnight, from what had ended by then.

    Args:
        load: measured load.
        calendar: time zone and holidays.
        test_start: first moment of the test.
        temperature_c: temperature of each interval as it was forecast a day before [°C].
        with_rivals: whether a plain boosted tree and MSTL are fitted too.
        progress: called with the share that is done.

    Raises:
        SeriesError: the test is empty, or there is too little history before it.
    """
    days_of = calendar.days_of(load)
    features = build_load_features(load, days_of, 1, find_midnights(load, days_of), temperature_c)
    first = max(0, load.position(test_start))
    origins = _find_origins(load, calendar, first)
    if not origins:
        raise SeriesError("the test holds no whole day")
    length = len(load) - first
    p10, p50, p90 = (np.full(length, np.nan) for _ in range(3))
    rivals = {PLAIN_TREE: np.full(length, np.nan)} if with_rivals else dict[str, FloatArray]()
    models: list[LoadModel] = []
    errors: LoadErrors | None = None
    for number, rows in enumerate(origins):
        if number % _REFIT_DAYS == 0:
            models.append(_fit_until(load, features, int(rows[0])))
            # The errors of what was really forecast go on counting; those of a holdout only before there are any.
            errors = LoadErrors(models[-1]) if errors is None else errors
            errors.corrects_bias = models[-1].corrects_bias
            if with_rivals:
                block = np.concatenate(origins[number : number + _REFIT_DAYS])
                rivals[PLAIN_TREE][block - first] = _predict_plainly(load, features, int(rows[0]), block)
        assert errors is not None
        prediction = _forecast_day(models[-1], errors, load, features, rows)
        p10[rows - first], p50[rows - first], p90[rows - first] = prediction.p10, prediction.p50, prediction.p90
        progress((number + 1) / len(origins) * (0.6 if with_rivals else 1.0))
    if with_rivals:
        mstl = _forecast_mstl(load, origins, first, length, progress)
        rivals |= {} if mstl is None else {MSTL: mstl}
    return LoadBacktest(
        grid=TimeSeries(load.start + load.resolution * first, load.resolution, load.values[first:]),
        p10=p10,
        p50=p50,
        p90=p90,
        baselines={name: forecast[first:] for name, forecast in features.baselines.items()},
        rivals=rivals,
        days=tuple(rows - first for rows in origins),
        models=tuple(models),
    )


def _forecast_day(
    model: LoadModel, errors: LoadErrors, load: TimeSeries, features: LoadFeatures, rows: IntArray
) -> LoadPrediction:
    """Forecast a day; only then are its errors taken up."""
    scores = predict_scores(model, features, rows)
    grid = TimeSeries(load.start + load.resolution * int(rows[0]), load.resolution, load.values[rows])
    prediction = to_quantiles(errors, features, rows, scores, grid)
    day = np.full(load.intervals_per_day, np.nan)
    day[day_phase(grid)] = (load.values[rows] - features.level[rows]) / features.scale[rows] - scores
    errors.observe(day)
    return prediction


def _fit_until(load: TimeSeries, features: LoadFeatures, end: int) -> LoadModel:
    """Fit on the rows before `end`; features hold nothing that is later than their own row."""
    part = LoadFeatures(
        features.matrix[:end],
        features.names,
        features.level[:end],
        features.scale[:end],
        {name: values[:end] for name, values in features.baselines.items()},
    )
    try:
        return fit_load(TimeSeries(load.start, load.resolution, load.values[:end]), part, 1)
    except LoadHistoryError as error:
        raise SeriesError(f"too little history before the test: {error}") from error


def _find_origins(load: TimeSeries, calendar: LoadCalendar, first: int) -> list[IntArray]:
    """Rows of the first 24 h of each local day of the test; the 25th hour in autumn is left out."""
    seconds = load.timestamps()[first:].astype(np.int64)
    dates = np.array(
        [datetime.fromtimestamp(int(second), UTC).astimezone(calendar.zone).toordinal() for second in seconds]
    )
    starts = np.flatnonzero(np.diff(dates, prepend=dates[0])) if len(dates) else np.zeros(0, dtype=np.int64)
    day, origins = load.intervals_per_day, list[IntArray]()
    for start, end in pairwise([*starts.tolist(), len(dates)]):
        if end - start >= day * 23 // 24:
            origins.append(first + np.arange(start, min(end, start + day), dtype=np.int64))
    return origins


def _predict_plainly(load: TimeSeries, features: LoadFeatures, end: int, rows: IntArray) -> FloatArray:
    """An untuned boosted tree on calendar, temperature and the load 1, 2 and 7 days before."""
    names = ("hour", "weekday", "season_sine", "season_cosine", "holiday", "temperature")
    chosen = [index for index, name in enumerate(features.names) if name in names]
    day = load.intervals_per_day
    lags = [np.concatenate((np.full(days * day, np.nan), load.values))[: len(load)] for days in (1, 2, 7)]
    matrix = np.column_stack((features.matrix[:, chosen], *lags))
    known = np.flatnonzero(~np.isnan(load.values[:end]))[-3 * 365 * day :]
    return predict_trees(fit_trees(matrix[known], load.values[known], None, {}), matrix[rows])


def _forecast_mstl(
    load: TimeSeries, origins: list[IntArray], first: int, length: int, progress: Callable[[float], None]
) -> FloatArray | None:
    """MSTL with daily and weekly season; None where statsforecast is not installed.

    It takes a third of a second per origin, so every sixth day stands for all: each weekday comes equally often.
    """
    try:
        # By name, because no member declares it: as an extra it would come with every installation of the stack.
        models: Any = import_module("statsforecast.models")
    except ImportError:
        return None
    forecast, day = np.full(length, np.nan), load.intervals_per_day
    chosen = origins[:: 6 if len(origins) > 60 else 1]
    for number, rows in enumerate(chosen):
        history = load.values[max(0, int(rows[0]) - _MSTL_DAYS * day) : int(rows[0])]
        if len(history) < 15 * day:
            continue
        filled = np.where(np.isnan(history), np.nanmean(history), history)
        model: Any = models.MSTL(season_length=[day, 7 * day])
        forecast[rows - first] = model.forecast(y=filled, h=len(rows))["mean"]
        progress(0.6 + 0.4 * (number + 1) / len(chosen))
    return forecast


def default_test_start(load: TimeSeries, weeks: float) -> datetime:
    """The last `weeks` weeks, or what leaves eight weeks, or half of the series, to learn from before."""
    span = load.end - load.start
    longest = max(span - timedelta(weeks=8), span / 2)
    return load.end - min(timedelta(weeks=weeks), longest)
