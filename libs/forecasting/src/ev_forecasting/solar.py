"""Solar forecasts without a weather forecast: clear-sky power times a clear-sky index that is learned from history.

The index is a linear regression on the memories of `SolarState`, one for each of a few lead times, with coefficients
interpolated between them. It shrinks towards a prior that fades from persistence to climatology: with no history the
prior alone answers, after weeks the data do. Quantiles are those of past errors over their expected size.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from ev_forecasting.series import FloatArray, SeriesError, TimeSeries
from ev_forecasting.solar_clear_sky import ClearSky, Mounting, SolarSite, fit_mounting
from ev_forecasting.solar_features import MEMORIES_H, REFERENCE_INDEX, IndexArray, SolarState

LEVELS = (0.1, 0.5, 0.9)
"""Probabilities of the quantiles."""

LEADS_H = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 36.0, 48.0)
"""Lead times at which the index is learned [h]: from the end of what is known to the end of the interval."""

MAX_HORIZON = timedelta(days=4)
"""Longest forecast: clear-sky power is learned from values that are at least this old."""

_PAIRS = 20_000
"""Pairs of origin and target that one regression uses at most."""

_PRIOR_DAYS = 7.0
"""Weight of the prior of the index, in days of 12 hours with sun."""

_ERROR_PRIOR_DAYS = 28.0
"""The same for the size of errors: those in the very history that was fitted are too small while it is short."""

_SHRINKAGES = (0.005, 0.02, 0.08, 0.3)
"""Weights of the prior that stay with however many pairs, as a share of them; the best by cross-validation is used."""

_FOLDS = 5
_FOLD_DAYS = 10
"""Cross-validation leaves out every fifth span of so many days: neighbouring days resemble each other."""

_WIDENING_DAYS = 5.0
"""Days of history with which the band is wider than the errors in that history by the square root of two."""

_PRIOR_SPREAD = 0.25
_PRIOR_QUANTILES = (-1.5, 0.1, 1.3)
"""Quantiles of the error over its expected size before anything was measured: overcast is rarer than clear."""

_SPREAD_BOUNDS = (0.015, 2.0)
_INDEX_STEP = 0.2
_INDEX_BINS = 6
"""Quantiles of errors are kept for predicted indices around 0.1, 0.3, ... 1.1."""

_SHARE_EDGES = (0.03, 0.1, 0.3)
"""And for clear-sky powers between these shares of the scale: near the horizon errors have another shape."""


@dataclass(frozen=True, slots=True)
class SolarPrediction:
    """Power in some intervals, all arrays of the same length and in the unit of the history."""

    expected: FloatArray
    """Mean, which makes the squared error smallest."""

    p10: FloatArray
    """The power is below this with a probability of 10 %."""

    p50: FloatArray
    """Median, which makes the absolute error smallest."""

    p90: FloatArray
    """The power is below this with a probability of 90 %."""


@dataclass(frozen=True, slots=True)
class SolarModel:
    """What was learned from the history of one site; `fit_solar` makes it."""

    mounting: Mounting
    """How the panels are mounted, and their scale."""

    limit: float
    """Highest power ever forecast: rated, or highest measured where that is more. In the unit of the history."""

    resolution: timedelta
    """Length of the intervals it was fitted on and forecasts."""

    leads: FloatArray
    """Lead times of the regressions [intervals], rising."""

    weights: FloatArray
    """Coefficients of the index, shape (leads, regressors)."""

    spread_weights: FloatArray
    """Coefficients of the error's expected size, shape (leads, regressors of the uncertainty)."""

    quantiles: FloatArray
    """Quantiles of error over expected size, shape (leads, bins of clear-sky power, of predicted index, levels)."""

    fitted_until: datetime
    """End of the history it was fitted on, UTC."""

    days: float
    """Days of history with a value in daylight."""

    def predict(self, state: SolarState, origins: IndexArray, targets: IndexArray) -> SolarPrediction:
        """Predict the power of `targets` with what was known at the end of `origins`.

        Args:
            state: made with this model's mounting.
            origins: positions of the last known intervals.
            targets: positions of the predicted ones, each after its origin by `MAX_HORIZON` at most.
        """
        lower, part = self._between_leads(targets - origins)
        design = state.design(origins, targets)
        highest = state.highest_index[targets]
        index = np.clip((design * _interpolate(self.weights, lower, part)).sum(axis=1), 0, highest)
        uncertainty = state.describe_uncertainty(origins, targets, index)
        spread = np.clip((uncertainty * _interpolate(self.spread_weights, lower, part)).sum(axis=1), *_SPREAD_BOUNDS)
        table = _interpolate(self.quantiles.reshape(len(self.leads), -1), lower, part)
        table = table.reshape(len(index), *self.quantiles.shape[1:])
        bins = np.clip(index / _INDEX_STEP - 0.5, 0, _INDEX_BINS - 1)
        low_bin = np.minimum(bins.astype(np.int64), _INDEX_BINS - 2)
        beyond = (bins - low_bin)[:, None]
        rows, heights = np.arange(len(index)), np.searchsorted(_SHARE_EDGES, state.share[targets])
        scores = table[rows, heights, low_bin] * (1 - beyond) + table[rows, heights, low_bin + 1] * beyond
        bands = np.sort(np.clip(index[:, None] + spread[:, None] * scores, 0, highest[:, None]), axis=1)
        powers = np.minimum(np.column_stack([index, bands]) * state.clear[targets][:, None], self.limit)
        return SolarPrediction(*powers.T)

    def _between_leads(self, leads: IndexArray) -> tuple[IndexArray, FloatArray]:
        """Lower neighbour in `leads`, and the share of the upper one, even in the logarithm."""
        place = np.interp(np.log(leads), np.log(self.leads), np.arange(len(self.leads)))
        lower = np.minimum(place.astype(np.int64), len(self.leads) - 2)
        return lower, (place - lower)[:, None]


def fit_solar(site: SolarSite, history: TimeSeries, sky: ClearSky | None = None) -> SolarModel:
    """Learn mounting, index and errors from a history of any length.

    Args:
        site: place of the panels, and what is known of them.
        history: measured power, NaN where missing; all of it is used.
        sky: the sun in the intervals of `history` if it was computed before.

    Raises:
        SolarExtraError: pvlib is not installed.
        SeriesError: 24 hours are no whole number of intervals, or nothing tells how large the panels are.
    """
    if site.capacity_kwp is None and bool(np.isnan(history.values).all()):
        raise SeriesError("a solar forecast needs the capacity of the panels or some measured power")
    if not len(history):
        history = TimeSeries(history.start - history.resolution, history.resolution, np.array([np.nan]))
        sky = None
    sky = sky or ClearSky(site, history)
    per_day = history.intervals_per_day
    measured = np.clip(history.values, 0, None)
    mounting = fit_mounting(site, sky, measured)
    known = measured[~np.isnan(measured)]
    highest = float(known.max()) if len(known) else 0.0
    leads = np.unique(np.maximum(1, np.round(np.array(LEADS_H) / 24 * per_day))).astype(np.int64)
    state = SolarState(sky, mounting, TimeSeries(history.start, history.resolution, measured))
    parts = [_fit_lead(state, int(lead), per_day) for lead in leads]
    lit_days = np.unique(np.flatnonzero(~np.isnan(state.index)) // per_day)
    widening = np.sqrt(1 + _WIDENING_DAYS / len(lit_days)) if len(lit_days) else 1.0
    return SolarModel(
        mounting=mounting,
        limit=max(site.capacity_kwp or 0.0, highest),
        resolution=history.resolution,
        leads=leads.astype(np.float64),
        weights=np.stack([part[0] for part in parts]),
        spread_weights=np.stack([part[1] for part in parts]),
        quantiles=np.stack([part[2] for part in parts]) * widening,
        fitted_until=history.end,
        days=float(len(lit_days)),
    )


def forecast_solar(
    model: SolarModel, site: SolarSite, history: TimeSeries, issued_at: datetime, horizon: timedelta
) -> tuple[TimeSeries, SolarPrediction]:
    """Forecast from the interval that holds `issued_at` on.

    Args:
        model: fitted on this site.
        site: where the panels stand.
        history: measured power; what ends after `issued_at` is not used.
        issued_at: moment of the forecast, aware.
        horizon: length of the forecast, > 0, at most `MAX_HORIZON` less the age of the last known interval.

    Returns:
        The grid of the forecast, with the expected power as its values, and the quantiles.

    Raises:
        ValueError: the horizon is not positive, or it reaches too far beyond the last known interval.
    """
    known = history.until(issued_at)
    count = -(-horizon // model.resolution)
    ahead = known.position(issued_at) - len(known) + count
    if count < 1 or ahead * model.resolution > MAX_HORIZON:
        raise ValueError(f"a forecast reaches at most {MAX_HORIZON} beyond the last known value")
    # Memories and ceiling are full after this; older values cost time only.
    known = known.since(known.end - timedelta(days=90))
    # One interval before all of them: the origin where nothing is known.
    values = np.concatenate(([np.nan], np.clip(known.values, 0, None), np.full(max(ahead, count), np.nan)))
    first = len(known) + 1 + ahead - count
    grid = TimeSeries(known.start - known.resolution, known.resolution, values)
    state = SolarState(ClearSky(site, grid), model.mounting, grid)
    targets = np.arange(first, first + count)
    prediction = model.predict(state, np.full(count, len(known)), targets)
    return TimeSeries(grid.start + first * grid.resolution, grid.resolution, prediction.expected), prediction


def _fit_lead(state: SolarState, lead: int, per_day: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coefficients of the index, of the error's size, and quantiles of their ratio, for one lead time."""
    prior_pairs, error_pairs = _PRIOR_DAYS * per_day / 2, _ERROR_PRIOR_DAYS * per_day / 2
    targets = np.flatnonzero(~np.isnan(state.index))
    targets = targets[targets >= lead]
    targets = targets[:: max(1, len(targets) // _PAIRS)]
    origins = targets - lead
    highest = state.highest_index[targets]
    actual = np.minimum(state.index[targets], highest)
    share = state.share[targets]
    design = state.design(origins, targets)
    folds = targets // (_FOLD_DAYS * per_day) % _FOLDS
    prior = _prior_weights(design.shape[1], 24.0 * lead / per_day)
    weights, predicted = _ridge(design, actual, share, prior, prior_pairs, folds)
    predicted = np.clip(predicted, 0, highest)
    residual = actual - predicted
    uncertainty = state.describe_uncertainty(origins, targets, predicted)
    spread_prior = np.zeros(uncertainty.shape[1])
    spread_prior[0] = _PRIOR_SPREAD
    spread_weights, _ = _ridge(
        uncertainty, np.abs(residual), np.sqrt(share), spread_prior, error_pairs, folds, level=1.0
    )
    scores = residual / np.clip(uncertainty @ spread_weights, *_SPREAD_BOUNDS)
    return weights, spread_weights, _score_quantiles(predicted, share, scores, error_pairs)


def _prior_weights(count: int, lead_h: float) -> FloatArray:
    """Persistence of the last hour that fades within hours, of the last days within days, and a mean index."""
    prior = np.zeros(count)
    prior[0] = REFERENCE_INDEX - 0.08
    for hours, weight, fade_h in ((1.0, 0.8, 4.0), (24.0, 0.3, 60.0), (240.0, 0.4, 1000.0)):
        prior[1 + MEMORIES_H.index(hours)] = weight * np.exp(-lead_h / fade_h)
    return prior


def _ridge(
    design: FloatArray,
    actual: FloatArray,
    weight: FloatArray,
    prior: FloatArray,
    prior_pairs: float,
    folds: IndexArray,
    level: float = 0.02,
) -> tuple[FloatArray, FloatArray]:
    """Weighted least squares that shrinks towards prior coefficients, each by its regressor's variance.

    Args:
        design: one row per pair; the first column is 1.
        actual: what the regression is to meet.
        weight: of each pair, before it is squared.
        prior: coefficients without any pair.
        prior_pairs: weight of the prior.
        folds: fold of each pair in the cross-validation, 0 to `_FOLDS` - 1.
        level: variance that the first column is taken to have: how firmly the prior's mean is believed.

    Returns:
        Coefficients, and what those that were fitted without a pair's fold predict for it.
    """
    if not len(actual):
        return prior, actual
    weighted = design * weight[:, None]
    rest = weight * (actual - design @ prior)
    members = [folds == fold for fold in range(_FOLDS)]
    grams: FloatArray = np.stack([weighted[member].T @ weighted[member] for member in members])
    moments: FloatArray = np.stack([weighted[member].T @ rest[member] for member in members])
    energy = float(np.mean(weight**2))
    spread = np.maximum(design.var(axis=0), 1e-4)
    spread[0] = level
    gram: FloatArray = grams.sum(axis=0)
    moment: FloatArray = moments.sum(axis=0)
    best_loss, best, best_predicted = np.inf, prior, actual
    for shrinkage in _SHRINKAGES:
        strength = (prior_pairs + shrinkage * len(actual)) * energy
        penalty: FloatArray = np.asarray(np.diag(strength * spread), dtype=np.float64)
        others: FloatArray = (moment - moments)[:, :, np.newaxis]
        corrections = np.asarray(np.linalg.solve(gram - grams + penalty, others)[:, :, 0], dtype=np.float64)
        predicted: FloatArray = design @ prior + (design * corrections[folds]).sum(axis=1)
        loss = float(np.sum((weight * (actual - predicted)) ** 2))
        if loss < best_loss:
            best = prior + np.linalg.solve(gram + penalty, moment)
            best_loss, best_predicted = loss, predicted
    return best, best_predicted


def _score_quantiles(predicted: FloatArray, share: FloatArray, scores: FloatArray, prior_pairs: float) -> FloatArray:
    """Quantiles of the scores by clear-sky power and predicted index, each group drawn to all."""
    heights = np.searchsorted(_SHARE_EDGES, share)
    bins = np.clip((predicted / _INDEX_STEP).astype(np.int64), 0, _INDEX_BINS - 1)
    rows: list[FloatArray] = []
    for height in range(len(_SHARE_EDGES) + 1):
        level = heights == height
        overall = _draw_quantiles(scores[level], np.array(_PRIOR_QUANTILES), prior_pairs / 4)
        groups = [scores[level & (bins == number)] for number in range(_INDEX_BINS)]
        rows.append(np.stack([_draw_quantiles(group, overall, prior_pairs / 4) for group in groups]))
    return np.stack(rows)


def _draw_quantiles(scores: FloatArray, towards: FloatArray, weight: float) -> FloatArray:
    if not len(scores):
        return towards
    own = np.quantile(scores, LEVELS)
    return (own * len(scores) + towards * weight) / (len(scores) + weight)


def _interpolate(table: FloatArray, lower: IndexArray, part: FloatArray) -> FloatArray:
    """Rows of a table between `lower` and the next one."""
    return table[lower] * (1 - part) + table[lower + 1] * part
