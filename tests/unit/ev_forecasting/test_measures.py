"""Measures of forecast errors."""

import numpy as np
import pytest

from ev_forecasting.measures import (
    coverage_percent,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_pinball_loss,
    peak_percentage_error,
    pinball_loss,
    root_mean_square_error,
)

NAN = float("nan")


def test_missing_values_do_not_count() -> None:
    actual = np.array([10.0, NAN, 20.0, 30.0])
    forecast = np.array([11.0, 5.0, NAN, 27.0])

    assert mean_absolute_error(actual, forecast) == 2
    assert root_mean_square_error(actual, forecast) == pytest.approx(5**0.5)
    assert mean_absolute_percentage_error(actual, forecast) == pytest.approx(10)
    assert coverage_percent(actual, forecast - 2, forecast + 2) == 50


def test_nothing_to_compare_gives_no_number() -> None:
    empty = np.array([])

    assert np.isnan(mean_absolute_error(empty, empty))
    assert np.isnan(coverage_percent(empty, empty, empty))
    assert np.isnan(mean_absolute_percentage_error(np.zeros(2), np.ones(2)))


def test_negative_values_have_a_percentage_error() -> None:
    assert mean_absolute_percentage_error(np.array([-10.0]), np.array([-9.0])) == pytest.approx(10)


def test_pinball_loss_is_least_at_the_true_quantile() -> None:
    actual = np.random.default_rng(1).normal(size=20_000)
    candidates = np.linspace(-3, 3, 601)

    losses = [pinball_loss(actual, np.full_like(actual, candidate), 0.9) for candidate in candidates]

    assert candidates[int(np.argmin(losses))] == pytest.approx(1.28, abs=0.05)


def test_mean_pinball_loss_weighs_three_quantiles_alike() -> None:
    actual = np.array([10.0])

    assert mean_pinball_loss(actual, actual - 3, actual, actual + 6) == pytest.approx((0.3 + 0 + 0.6) / 3)


def test_peak_error_looks_at_the_highest_value_of_each_day() -> None:
    actual = np.array([[1.0, 10.0], [NAN, NAN], [20.0, 2.0]])
    forecast = np.array([[9.0, 9.0], [1.0, 1.0], [22.0, 9.0]])

    assert peak_percentage_error(actual, forecast) == pytest.approx(10)
