"""Measures of forecast errors. Values that are missing (NaN) on either side do not count."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
"""Any shape; arguments of one call have the same shape."""


def mean_absolute_error(actual: FloatArray, forecast: FloatArray) -> float:
    """Mean of |actual - forecast|, in the unit of the values; NaN without any pair."""
    return _mean(np.abs(actual - forecast))


def root_mean_square_error(actual: FloatArray, forecast: FloatArray) -> float:
    """Square root of the mean squared difference, in the unit of the values; NaN without any pair."""
    return float(np.sqrt(_mean((actual - forecast) ** 2)))


def mean_absolute_percentage_error(actual: FloatArray, forecast: FloatArray) -> float:
    """Mean of |actual - forecast| / |actual| [%]; values of 0 are left out, NaN if nothing is left.

    >>> round(mean_absolute_percentage_error(np.array([100.0, 200.0, 0.0]), np.array([110.0, 190.0, 5.0])), 3)
    7.5
    """
    size = np.where(actual == 0, np.nan, np.abs(actual))
    return 100 * _mean(np.abs(actual - forecast) / size)


def pinball_loss(actual: FloatArray, quantile: FloatArray, level: float) -> float:
    """Mean pinball loss of one quantile, in the unit of the values; the true quantile minimizes it.

    Args:
        actual: Measured values.
        quantile: Forecast of the quantile.
        level: Probability of a value below the quantile, in (0, 1).

    Source: Koenker and Bassett, Regression Quantiles, Econometrica 46 (1978).

    >>> round(pinball_loss(np.array([10.0]), np.array([8.0]), 0.9), 3)
    1.8
    """
    excess = actual - quantile
    return _mean(np.maximum(level * excess, (level - 1) * excess))


def mean_pinball_loss(actual: FloatArray, p10: FloatArray, p50: FloatArray, p90: FloatArray) -> float:
    """Mean of the pinball losses of three quantiles, in the unit of the values."""
    pairs = ((p10, 0.1), (p50, 0.5), (p90, 0.9))
    return float(np.mean([pinball_loss(actual, quantile, level) for quantile, level in pairs]))


def coverage_percent(actual: FloatArray, lower: FloatArray, upper: FloatArray) -> float:
    """Share of the values inside of [lower, upper] [%], the bounds included; NaN without any."""
    known = ~(np.isnan(actual) | np.isnan(lower) | np.isnan(upper))
    return 100 * _mean(((actual >= lower) & (actual <= upper))[known].astype(np.float64))


def peak_percentage_error(actual: FloatArray, forecast: FloatArray) -> float:
    """Mean absolute percentage error at the highest actual value of each day [%].

    Args:
        actual: Measured values, shape (days, intervals of a day); a day without any value is left out.
        forecast: Forecast, same shape.
    """
    measured = np.flatnonzero(~np.isnan(actual).all(axis=1))
    peaks = np.nanargmax(actual[measured], axis=1)
    return mean_absolute_percentage_error(actual[measured, peaks], forecast[measured, peaks])


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
