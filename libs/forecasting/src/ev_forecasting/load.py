"""Forecasts of a load: boosted trees and a linear model on calendar, temperature and past days, beside what repeats.

The target is the load's difference from the mean of a known week, in units of its mean size, so that growth and the
size of the site do not matter. What a model is worth is measured on days that it was not fitted on; where a seasonal
baseline is better it takes its place, and the forecast says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from ev_forecasting.calibration import AdaptiveConformal
from ev_forecasting.load_features import IntArray, LoadCalendar, LoadFeatures, build_load_features, spread_origins
from ev_forecasting.measures import mean_absolute_error
from ev_forecasting.series import FloatArray, TimeSeries

MIN_DAYS = 7
"""Days of history from which on a load is forecast."""

_TREE_DAYS = 28
"""Days of history from which on trees are fitted."""

_MAX_TRAINING_DAYS = 4 * 365
_MAX_TRAINING_ROWS = 30_000
"""Of more intervals, so many are drawn: training takes seconds for a series in steps of 15 minutes too."""

_HALF_LIFE_DAYS = 600.0
_MAX_HOLDOUT_DAYS = 56
_BIAS_RATE = 0.15
"""How much of a day's mean error is carried over to the days after it, where that helped in the holdout."""

_HISTORY_DAYS = 80
"""Days of history that features look back."""

_TREES: tuple[tuple[bool, dict[str, object]], ...] = (
    (True, {"loss": "squared_error", "max_leaf_nodes": 31, "learning_rate": 0.06, "max_iter": 250}),
    (True, {"loss": "absolute_error", "max_leaf_nodes": 31, "learning_rate": 0.08, "max_iter": 200}),
    (False, {"loss": "squared_error", "max_leaf_nodes": 8, "learning_rate": 0.1, "max_iter": 350}),
)
"""Whether a tree learns the difference from the last known day, or the load itself; and its options."""

_TREE_OPTIONS: dict[str, object] = {"early_stopping": False, "max_features": 0.5}
_RIDGE_PENALTY = 3.0


class LoadHistoryError(ValueError):
    """There is too little history to forecast from; says what is missing."""


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A ridge regression for each local hour of the day."""

    coefficients: FloatArray
    """Shape (24, columns)."""

    intercepts: FloatArray
    """One per hour."""


@dataclass(frozen=True, slots=True)
class LoadModel:
    """A fitted forecaster of a load, for intervals up to `lead_days` days ahead."""

    lead_days: int
    """Days before an interval from which on its load's past is not used."""

    intervals_per_day: int
    """Intervals of a day."""

    feature_names: tuple[str, ...]
    """Features in the order of the fitted models; empty where only baselines are used."""

    trees: tuple[HistGradientBoostingRegressor, ...]
    """Boosted trees in the order of `_TREES`; empty where history is too short for them."""

    linear: LinearModel | None
    """Linear model; None where there are no trees."""

    share: float
    """Weight of trees and linear model in the forecast, 0 to 1; the rest is the baseline's."""

    baseline: str
    """Name of the seasonal baseline that was best in the holdout."""

    corrects_bias: bool
    """Whether the mean error of the last days is carried over."""

    errors: FloatArray
    """Errors of the holdout in units of the scale, shape (days, intervals of a day); NaN where not known."""

    holdout_mae: Mapping[str, float]
    """Mean absolute error in the holdout, of `model` and of each baseline [unit of the load]."""

    trained_until: datetime
    """End of the history that it was fitted on, UTC."""

    training_days: int
    """Days of that history."""

    @property
    def name(self) -> str:
        """What a forecast names as its model."""
        if self.share == 0:
            return f"seasonal: {self.baseline}"
        return "boosted trees" if self.share == 1 else f"boosted trees with {self.baseline}"

    @property
    def fallback_reason(self) -> str | None:
        """Why no trees are used, in one clause; None where they are."""
        if not self.trees:
            return f"{self.training_days} days of history, trees need {_TREE_DAYS}"
        return None if self.share > 0 else f"{self.baseline} was better in the last days"


class LoadErrors:
    """The errors of the last days of one model: what they say of bias and spread.

    Args:
        model: whose holdout errors come first.
    """

    def __init__(self, model: LoadModel) -> None:
        self._bias = 0.0
        self.corrects_bias = model.corrects_bias
        """Whether the mean error of the last days is carried over."""
        self._calibration = AdaptiveConformal(model.intervals_per_day, rate=0.05)
        for day in model.errors:
            self.observe(day)

    @property
    def bias(self) -> float:
        """What is added to the next day's forecast, in units of the scale."""
        return self._bias if self.corrects_bias else 0.0

    def offsets(self) -> FloatArray:
        """Bounds around the forecast by interval of the day, in units of the scale: shape (intervals, 2)."""
        return np.nan_to_num(self._calibration.offsets())

    def observe(self, errors: FloatArray) -> None:
        """Take up a day.

        Args:
            errors: (actual - uncorrected forecast) / scale by interval of the day; NaN where not known.
        """
        self._calibration.observe(errors - self.bias)
        known = errors[~np.isnan(errors)]
        if len(known):
            self._bias += _BIAS_RATE * (float(known.mean()) - self._bias)


@dataclass(frozen=True, slots=True)
class LoadPrediction:
    """Quantiles of the load in contiguous intervals."""

    start: datetime
    """Start of the first interval, UTC."""

    resolution: timedelta
    """Length of each interval."""

    p10: FloatArray
    """10 % quantile [unit of the load]."""

    p50: FloatArray
    """Median [unit of the load]."""

    p90: FloatArray
    """90 % quantile [unit of the load]."""


def train_load(
    load: TimeSeries, calendar: LoadCalendar, lead_days: int = 1, temperature_c: FloatArray | None = None
) -> LoadModel:
    """Fit a forecaster.

    Args:
        load: measured load, NaN where it is not known; at least `MIN_DAYS` days of it.
        calendar: time zone and holidays.
        lead_days: for intervals up to so many days ahead, >= 1.
        temperature_c: temperature as it was expected `lead_days` before each interval [°C]; None: not known.

    Raises:
        LoadHistoryError: there is too little history.
    """
    origins = spread_origins(load, lead_days)
    features = build_load_features(load, calendar.days_of(load), lead_days, origins, temperature_c)
    return fit_load(load, features, lead_days)


def fit_load(load: TimeSeries, features: LoadFeatures, lead_days: int) -> LoadModel:
    """Fit a forecaster on features that were computed before.

    Args:
        load: measured load.
        features: of the same intervals.
        lead_days: as the features have it.

    Raises:
        LoadHistoryError: there is too little history.
    """
    day = load.intervals_per_day
    known_days = int((~np.isnan(load.values)).sum()) // day
    if known_days < MIN_DAYS:
        raise LoadHistoryError(f"{known_days} of {MIN_DAYS} days of load are known")
    target = (load.values - features.level) / features.scale
    rows = np.flatnonzero(~np.isnan(target))[-_MAX_TRAINING_DAYS * day :]
    holdout_days = min(_MAX_HOLDOUT_DAYS, max(MIN_DAYS - lead_days, known_days // 4))
    cut = len(load) - holdout_days * day
    held = np.arange(max(cut, len(load) % day), len(load))
    actual, scale = load.values[held], features.scale[held]
    errors_of = _measure_baselines(load, features, held)
    baseline = min(errors_of, key=lambda name: errors_of[name])
    repeated = _to_score(features, features.baselines[baseline], held)
    has_trees = known_days >= _TREE_DAYS and int((rows < cut).sum()) >= 2 * day
    share, point = 0.0, repeated
    if has_trees:
        trees, linear = _fit(features, target, rows[rows < cut], day)
        learned = _predict(trees, linear, features, held)
        share, point = _choose_share(target[held], learned, repeated, scale)
    errors = _order_by_phase(load, held, target[held] - point)
    corrects_bias = _is_bias_worth_it(errors, _order_by_phase(load, held, scale))
    errors_of["model"] = mean_absolute_error(actual, features.level[held] + scale * point)
    final = _fit(features, target, rows, day) if has_trees else ((), None)
    return LoadModel(
        lead_days=lead_days,
        intervals_per_day=day,
        feature_names=features.names if has_trees else (),
        trees=final[0],
        linear=final[1],
        share=share,
        baseline=baseline,
        corrects_bias=corrects_bias,
        errors=errors,
        holdout_mae=errors_of,
        trained_until=load.end,
        training_days=known_days,
    )


def predict_scores(model: LoadModel, features: LoadFeatures, rows: IntArray) -> FloatArray:
    """Forecast rows without correction, as difference from the level in units of the scale.

    Where the baseline's own past is missing, another that is known takes its place.

    Raises:
        ValueError: the features are not those of the model.
    """
    if model.trees and features.names != model.feature_names:
        raise ValueError("the model was fitted on other features")
    repeated = _to_score(features, features.baselines[model.baseline], rows)
    for name in ("same weekday", "similar day", "week before", "profile", "day before"):
        repeated = np.where(np.isnan(repeated), _to_score(features, features.baselines[name], rows), repeated)
    if model.linear is None or model.share == 0:
        return repeated
    learned = _predict(model.trees, model.linear, features, rows)
    repeated = np.where(np.isnan(repeated), learned, repeated)
    return model.share * learned + (1 - model.share) * repeated


def predict_load(
    model: LoadModel,
    load: TimeSeries,
    calendar: LoadCalendar,
    issued_at: datetime,
    intervals: int,
    temperature_c: FloatArray | None = None,
) -> LoadPrediction:
    """Forecast the intervals from `issued_at` on, from what had ended by then.

    Args:
        model: fitted on the same load.
        load: measured load; what ends after `issued_at` is not looked at.
        calendar: time zone and holidays.
        issued_at: moment of the forecast; the first interval holds it.
        intervals: number of intervals, at most `lead_days` days.
        temperature_c: temperature from the start of `load` to the end of the forecast [°C]; None: not known.

    Raises:
        LoadHistoryError: the last days are missing.
        ValueError: more intervals than the model reaches.
    """
    if not 0 < intervals <= model.lead_days * model.intervals_per_day:
        raise ValueError(f"the model reaches {model.lead_days} days ahead")
    known = load.until(issued_at)
    first = load.position(issued_at)
    skipped = max(0, first - _HISTORY_DAYS * model.intervals_per_day)
    values = np.full(first + intervals - skipped, np.nan)
    values[: max(0, len(known) - skipped)] = known.values[skipped:]
    extended = TimeSeries(load.start + load.resolution * skipped, load.resolution, values)
    expected_c = None
    if temperature_c is not None:
        expected_c = np.asarray(temperature_c[skipped : skipped + len(values)], dtype=np.float64)
    rows = np.arange(len(values) - intervals, len(values))
    origins = np.minimum(np.arange(len(values)), rows[0])
    features = build_load_features(extended, calendar.days_of(extended), model.lead_days, origins, expected_c)
    scores = predict_scores(model, features, rows)
    if np.isnan(scores).any() or np.isnan(features.level[rows]).any():
        raise LoadHistoryError("the load of the last four weeks is not known at all times of the day")
    start = load.start + load.resolution * first
    return to_quantiles(LoadErrors(model), features, rows, scores, TimeSeries(start, load.resolution, values[rows]))


def to_quantiles(
    errors: LoadErrors, features: LoadFeatures, rows: IntArray, scores: FloatArray, grid: TimeSeries
) -> LoadPrediction:
    """Turn uncorrected scores into quantiles of the load.

    Args:
        errors: of the model's last days.
        features: that they were made from.
        rows: of the features.
        scores: of these rows.
        grid: their intervals.
    """
    offsets = errors.offsets()[day_phase(grid)]
    level, scale = features.level[rows], features.scale[rows]
    middle = level + scale * (scores + errors.bias)
    return LoadPrediction(
        grid.start,
        grid.resolution,
        np.minimum(middle, middle + scale * offsets[:, 0]),
        middle,
        np.maximum(middle, middle + scale * offsets[:, 1]),
    )


def day_phase(grid: TimeSeries) -> IntArray:
    """Number of each interval in its day of UTC, by which `LoadErrors` keeps errors."""
    seconds = int(grid.resolution.total_seconds())
    return (grid.timestamps().astype(np.int64) // seconds) % grid.intervals_per_day


def _order_by_phase(load: TimeSeries, rows: IntArray, values: FloatArray) -> FloatArray:
    """Fold the last rows of a series into whole days: shape (days, intervals of a day of UTC)."""
    folded = values.reshape(-1, load.intervals_per_day)
    ordered = np.empty_like(folded)
    ordered[:, day_phase(load)[rows[: load.intervals_per_day]]] = folded
    return ordered


def _measure_baselines(load: TimeSeries, features: LoadFeatures, rows: IntArray) -> dict[str, float]:
    """Mean absolute error of each baseline that is known in some of the rows."""
    errors = {
        name: mean_absolute_error(load.values[rows], forecast[rows])
        for name, forecast in features.baselines.items()
        if not np.isnan(forecast[rows] - load.values[rows]).all()
    }
    if not errors:
        days = len(rows) // load.intervals_per_day
        raise LoadHistoryError(f"{days} days of load without a gap are too few to repeat")
    return errors


def _to_score(features: LoadFeatures, values: FloatArray, rows: IntArray) -> FloatArray:
    return (values[rows] - features.level[rows]) / features.scale[rows]


def _fit(
    features: LoadFeatures, target: FloatArray, rows: IntArray, day: int
) -> tuple[tuple[HistGradientBoostingRegressor, ...], LinearModel]:
    if len(rows) > _MAX_TRAINING_ROWS:
        rows = np.sort(np.random.default_rng(1).choice(rows, _MAX_TRAINING_ROWS, replace=False))
    weight = 0.5 ** ((rows[-1] - rows) / (_HALF_LIFE_DAYS * day))
    matrix, wanted = features.matrix[rows], target[rows]
    last_day = _last_day(features, rows)
    trees = tuple(
        fit_trees(matrix, wanted - last_day if is_difference else wanted, weight, {**_TREE_OPTIONS, **options})
        for is_difference, options in _TREES
    )
    columns, hours = _linear_columns(features, rows), _hours(features, rows)
    coefficients, intercepts = np.zeros((24, columns.shape[1])), np.zeros(24)
    for hour in range(24):
        own = hours == hour
        if own.any():
            # The types of scikit-learn are incomplete, here and below.
            ridge: Any = Ridge(_RIDGE_PENALTY)
            ridge.fit(columns[own], wanted[own], sample_weight=weight[own])
            coefficients[hour], intercepts[hour] = ridge.coef_, ridge.intercept_
    return trees, LinearModel(coefficients, intercepts)


def fit_trees(
    matrix: FloatArray, wanted: FloatArray, weight: FloatArray | None, options: Mapping[str, object]
) -> HistGradientBoostingRegressor:
    """Fit boosted trees.

    Args:
        matrix: features, one row per example; NaN where not known.
        wanted: what is to be forecast.
        weight: of each example; None: all alike.
        options: of `HistGradientBoostingRegressor` beside its defaults.
    """
    # Binning fails on a feature that is never known; a constant teaches the same: nothing.
    matrix = np.where(np.isnan(matrix).all(axis=0), 0.0, matrix)
    regressor: Any = HistGradientBoostingRegressor
    return regressor(random_state=1, **options).fit(matrix, wanted, sample_weight=weight)


def predict_trees(trees: HistGradientBoostingRegressor, matrix: FloatArray) -> FloatArray:
    """Forecast each row of features.

    Args:
        trees: fitted by `fit_trees`.
        matrix: features in the same order.
    """
    regressor: Any = trees
    return np.asarray(regressor.predict(matrix), dtype=np.float64)


def _predict(
    trees: tuple[HistGradientBoostingRegressor, ...], linear: LinearModel, features: LoadFeatures, rows: IntArray
) -> FloatArray:
    if not len(rows):
        return np.zeros(0)
    matrix, hours = features.matrix[rows], _hours(features, rows)
    last_day = _last_day(features, rows)
    forecasts: list[FloatArray] = [
        predict_trees(tree, matrix) + (last_day if is_difference else 0.0)
        for tree, (is_difference, _) in zip(trees, _TREES, strict=True)
    ]
    columns = _linear_columns(features, rows)
    forecasts.append((columns * linear.coefficients[hours]).sum(axis=1) + linear.intercepts[hours])
    return np.mean(forecasts, axis=0)


def _last_day(features: LoadFeatures, rows: IntArray) -> FloatArray:
    """Load at the same time of the last known day, as a score; 0 where it is missing."""
    return np.nan_to_num(_to_score(features, features.baselines["day before"], rows))


def _hours(features: LoadFeatures, rows: IntArray) -> IntArray:
    return np.floor(features.matrix[rows, features.names.index("hour")]).astype(np.int64)


def _linear_columns(features: LoadFeatures, rows: IntArray) -> FloatArray:
    """What the linear model sees: weekday and kind of day as indicators, not known as 0."""
    plain = [index for index, name in enumerate(features.names) if name not in ("hour", "weekday", "kind")]
    weekday = features.matrix[rows, features.names.index("weekday")].astype(np.int64)
    kind = features.matrix[rows, features.names.index("kind")].astype(np.int64)
    return np.column_stack((np.nan_to_num(features.matrix[rows][:, plain]), np.eye(7)[weekday], np.eye(4)[kind]))


def _choose_share(
    target: FloatArray, learned: FloatArray, repeated: FloatArray, scale: FloatArray
) -> tuple[float, FloatArray]:
    """The weight of the learned forecast with the least absolute error in the holdout, and the forecast with it."""
    filled = np.where(np.isnan(repeated), learned, repeated)
    mixed = {share: share * learned + (1 - share) * filled for share in (1.0, 0.75, 0.5, 0.0)}
    share = min(mixed, key=lambda one: mean_absolute_error(target * scale, mixed[one] * scale))
    return share, mixed[share]


def _is_bias_worth_it(errors: FloatArray, scale: FloatArray) -> bool:
    bias, corrected = 0.0, np.empty_like(errors)
    for index, day in enumerate(errors):
        corrected[index] = day - bias
        known = day[~np.isnan(day)]
        if len(known):
            bias += _BIAS_RATE * (float(known.mean()) - bias)
    zero = np.zeros_like(errors)
    return mean_absolute_error(corrected * scale, zero) < mean_absolute_error(errors * scale, zero)
