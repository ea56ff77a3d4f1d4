"""Calibrated quantiles."""

import numpy as np
import pytest

from ev_forecasting.calibration import AdaptiveConformal


def run(calibration: AdaptiveConformal, scores: np.ndarray) -> np.ndarray:
    inside = np.zeros(scores.shape, dtype=bool)
    for day, row in enumerate(scores):
        offsets = calibration.offsets()
        inside[day] = (row >= offsets[:, 0]) & (row <= offsets[:, 1])
        calibration.observe(row)
    return inside


def test_bounds_hold_four_values_of_five_even_as_the_spread_changes() -> None:
    random = np.random.default_rng(3)
    spread = np.concatenate([np.linspace(1, 4, 200), np.full(100, 0.5), np.full(100, 2.0)])[:, None]
    scores = random.normal(size=(400, 24)) * spread * (1.25 - 0.75 * np.cos(np.arange(24) * np.pi / 12))

    inside = run(AdaptiveConformal(24), scores)[30:]

    assert inside.mean() == pytest.approx(0.8, abs=0.03)
    assert abs(inside.mean(axis=0) - 0.8).max() < 0.08


def test_skewed_errors_have_skewed_bounds() -> None:
    scores = np.random.default_rng(4).exponential(size=(300, 4))
    calibration = AdaptiveConformal(4)
    run(calibration, scores)

    lower, upper = calibration.offsets().mean(axis=0)

    assert lower == pytest.approx(0.105, abs=0.05)
    assert upper == pytest.approx(2.3, abs=0.5)


def test_later_days_change_nothing_before_they_are_observed() -> None:
    scores = np.random.default_rng(5).normal(size=(40, 6))
    one, other = AdaptiveConformal(6), AdaptiveConformal(6)
    for row in scores[:30]:
        one.observe(row)
        other.observe(row)
    other.observe(np.full(6, np.nan))

    np.testing.assert_equal(one.offsets(), other.offsets())
    assert one.days == other.days == 30


def test_step_without_errors_takes_those_of_all_steps() -> None:
    calibration = AdaptiveConformal(3, neighbours=0)
    for score in (-1.0, 0.0, 1.0):
        calibration.observe(np.array([score, score, np.nan]))

    np.testing.assert_equal(calibration.offsets(), [[-1, 1]] * 3)


def test_nothing_observed_gives_no_bounds() -> None:
    assert np.isnan(AdaptiveConformal(2).offsets()).all()
