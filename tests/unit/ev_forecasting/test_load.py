"""Load forecasts: what they may know, histories as they come, and when a baseline takes over."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ev_forecasting.load import LoadErrors, LoadHistoryError, LoadModel, predict_load, train_load
from ev_forecasting.load_backtest import backtest_load, default_test_start
from ev_forecasting.load_features import (
    REST_DAY,
    SATURDAY,
    WORKDAY,
    LoadCalendar,
    build_load_features,
    find_midnights,
)
from ev_forecasting.measures import mean_absolute_error
from ev_forecasting.series import FloatArray, SeriesError, TimeSeries

BERLIN = LoadCalendar(ZoneInfo("Europe/Berlin"), "DE")
START = datetime(2025, 2, 23, 23, tzinfo=UTC)
HOUR = timedelta(hours=1)


def measured(days: int, *, resolution: timedelta = HOUR, start: datetime = START, noise: float = 2.0) -> TimeSeries:
    """A working week by local time, with noise that lasts for hours."""
    count = int(timedelta(days=days) / resolution)
    calendar = BERLIN.days_of(TimeSeries(start, resolution, np.zeros(count)))
    size = 40 + 25 * np.sin((calendar.hour - 8) / 24 * 2 * np.pi) * (calendar.kind == WORKDAY)
    shocks = np.random.default_rng(5).normal(0, noise, count)
    slow = np.convolve(shocks, np.ones(6) / 2, mode="full")[:count]
    return TimeSeries(start, resolution, size + slow)


@pytest.fixture(scope="module")
def history() -> TimeSeries:
    return measured(36)


@pytest.fixture(scope="module")
def model(history: TimeSeries) -> LoadModel:
    return train_load(history.until(START + timedelta(days=34)), BERLIN, lead_days=2)


def test_nothing_after_the_moment_of_issue_is_used(history: TimeSeries, model: LoadModel) -> None:
    for issued_at in (START + timedelta(days=33, hours=7.5), START + timedelta(days=34)):
        values = history.values.copy()
        values[history.position(issued_at) :] = 1e9
        poisoned = TimeSeries(history.start, HOUR, values)

        plain, other = (predict_load(model, series, BERLIN, issued_at, 48) for series in (history, poisoned))

        np.testing.assert_array_equal(plain.p50, other.p50)
        np.testing.assert_array_equal(plain.p10, other.p10)
        np.testing.assert_array_equal(plain.p90, other.p90)


def test_features_hold_nothing_from_the_forecast_s_own_day_on_days_of_23_and_25_hours() -> None:
    for start in (datetime(2025, 2, 28, 23, tzinfo=UTC), datetime(2025, 9, 27, 22, tzinfo=UTC)):
        load = measured(35, start=start)
        days = BERLIN.days_of(load)
        origins = find_midnights(load, days)
        plain = build_load_features(load, days, 1, origins)
        for first in np.unique(origins)[29:]:
            rows = np.flatnonzero(origins == first)[:24]
            values = load.values.copy()
            values[first:] = 1e9
            other = build_load_features(TimeSeries(start, HOUR, values), days, 1, origins)
            np.testing.assert_array_equal(plain.matrix[rows], other.matrix[rows])


def test_quantiles_are_in_order_and_begin_with_the_interval_of_issue(history: TimeSeries, model: LoadModel) -> None:
    forecast = predict_load(model, history, BERLIN, START + timedelta(days=34, minutes=20), 30)

    assert forecast.start == START + timedelta(days=34)
    assert forecast.resolution == HOUR
    assert len(forecast.p50) == 30
    assert (forecast.p10 <= forecast.p50).all()
    assert (forecast.p50 <= forecast.p90).all()
    assert (forecast.p10 < forecast.p90).any()
    assert mean_absolute_error(history.values[34 * 24 : 35 * 24], forecast.p50[:24]) < 8


def test_the_model_says_what_it_is_and_how_it_did(model: LoadModel) -> None:
    assert "model" in model.holdout_mae
    assert model.holdout_mae["model"] <= model.holdout_mae[model.baseline]
    assert model.training_days == 34
    assert model.trained_until == START + timedelta(days=34)
    assert (model.fallback_reason is None) == (model.share > 0)


def test_with_a_week_of_history_a_baseline_answers_and_says_why() -> None:
    history = measured(8)
    model = train_load(history, BERLIN)

    forecast = predict_load(model, history, BERLIN, history.end, 24)

    assert model.trees == ()
    assert model.name.startswith("seasonal: ")
    assert model.fallback_reason == "8 days of history, trees need 28"
    assert np.isfinite(forecast.p10 + forecast.p50 + forecast.p90).all()


def test_too_little_history_is_a_clear_error() -> None:
    with pytest.raises(LoadHistoryError, match="6 of 7 days of load are known"):
        train_load(measured(6), BERLIN)


def test_it_forecasts_no_further_than_it_was_fitted_for(history: TimeSeries, model: LoadModel) -> None:
    with pytest.raises(ValueError, match="reaches 2 days ahead"):
        predict_load(model, history, BERLIN, history.end, 49)


def test_a_silent_meter_is_an_error_after_four_weeks(history: TimeSeries, model: LoadModel) -> None:
    with pytest.raises(LoadHistoryError, match="not known at all times"):
        predict_load(model, history, BERLIN, history.end + timedelta(days=40), 24)


@pytest.mark.parametrize("resolution", [timedelta(minutes=15), timedelta(minutes=30), HOUR])
def test_gaps_are_bridged(resolution: timedelta) -> None:
    history = measured(12, resolution=resolution)
    values = history.values.copy()
    day = history.intervals_per_day
    values[5 * day : 6 * day] = np.nan
    values[-day // 2 :] = np.nan
    gappy = TimeSeries(history.start, resolution, values)

    forecast = predict_load(train_load(gappy, BERLIN), gappy, BERLIN, gappy.end, day)

    assert np.isfinite(forecast.p10 + forecast.p50 + forecast.p90).all()


@pytest.mark.parametrize("value", [0.0, 12.5, -3.0])
def test_a_constant_load_stays(value: float) -> None:
    history = TimeSeries(START, HOUR, np.full(10 * 24, value))

    forecast = predict_load(train_load(history, BERLIN), history, BERLIN, history.end, 24)

    np.testing.assert_allclose([forecast.p10, forecast.p50, forecast.p90], value, atol=1e-6)


def test_a_site_that_exports_is_forecast_below_zero() -> None:
    load = measured(10)
    history = TimeSeries(load.start, HOUR, load.values - 45)

    forecast = predict_load(train_load(history, BERLIN), history, BERLIN, history.end, 24)

    assert forecast.p50.min() < 0 < forecast.p50.max()


def test_the_calendar_knows_holidays_weekends_and_local_time() -> None:
    days = BERLIN.days_of(TimeSeries(datetime(2025, 4, 30, 22, tzinfo=UTC), HOUR, np.zeros(72)))

    assert days.hour[:2].tolist() == [0, 1]
    assert days.kind[[0, 24, 48]].tolist() == [REST_DAY, WORKDAY, SATURDAY]
    assert days.holiday[[0, 24]].tolist() == [1, 0]
    assert days.holiday_before[24] == 1


def test_an_unknown_country_is_named() -> None:
    with pytest.raises(ValueError, match="holidays are not known for XX"):
        LoadCalendar(ZoneInfo("UTC"), "XX")


def test_recent_errors_widen_the_band(model: LoadModel) -> None:
    errors = LoadErrors(model)
    before = errors.offsets()

    for sign in (1, -1) * 20:
        errors.observe(np.full(24, sign * 0.5))

    assert (errors.offsets()[:, 1] - errors.offsets()[:, 0] > before[:, 1] - before[:, 0]).all()


def _backtest(load: TimeSeries, days: int = 10) -> FloatArray:
    result = backtest_load(load, BERLIN, load.end - timedelta(days=days), with_rivals=False)
    assert [len(day) for day in result.days] == [24] * len(result.days)
    return result.p50


def test_a_backtest_scores_each_day_from_what_ended_before_it() -> None:
    load = measured(24, noise=0.5)
    values = load.values.copy()
    values[-24:] = 1e9

    plain, poisoned = _backtest(load), _backtest(TimeSeries(load.start, HOUR, values))

    np.testing.assert_array_equal(plain, poisoned)
    assert mean_absolute_error(load.values[-10 * 24 :], plain) < 5


def test_a_test_without_history_is_refused() -> None:
    load = measured(9)
    with pytest.raises(SeriesError, match="too little history"):
        backtest_load(load, BERLIN, load.start + timedelta(days=2), with_rivals=False)


def test_the_test_leaves_something_to_learn_from() -> None:
    load = measured(70)

    assert default_test_start(load, 52) == load.start + timedelta(days=35)
    assert default_test_start(load, 2) == load.end - timedelta(weeks=2)
