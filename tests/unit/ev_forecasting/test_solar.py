"""Solar forecasts: night, limits, what they may know, and histories as they come."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ev_forecasting import solar_clear_sky
from ev_forecasting.series import FloatArray, SeriesError, TimeSeries
from ev_forecasting.solar import SolarPrediction, fit_solar, forecast_solar
from ev_forecasting.solar_backtest import backtest_solar
from ev_forecasting.solar_clear_sky import (
    ClearSky,
    SolarExtraError,
    SolarSite,
    find_daylight_saving,
    fit_mounting,
    shift_summer,
)
from ev_forecasting.solar_features import decaying_sum

SITE = SolarSite(latitude_deg=48.1, longitude_deg=11.6)
START = datetime(2025, 3, 1, tzinfo=UTC)
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)


def measured(
    days: int = 60,
    *,
    site: SolarSite = SITE,
    start: datetime = START,
    resolution: timedelta = HOUR,
    tilt: float = 35.0,
    azimuth: float = 160.0,
    clouds: bool = True,
) -> TimeSeries:
    """Power of 10 kW of panels under clouds that last for hours, in weather that lasts for days."""
    count = timedelta(days=days) // resolution
    grid = TimeSeries(start, resolution, np.zeros(count))
    power = 8.5 * ClearSky(site, grid).relative_power(tilt, azimuth)
    if clouds:
        random = np.random.default_rng(7)
        step_h = resolution / HOUR
        fast = decaying_sum(random.normal(size=count), 2, step_h) * np.sqrt(step_h)
        slow = decaying_sum(random.normal(size=count), 40, step_h) * np.sqrt(step_h) / 3
        power = power * np.clip(0.95 - 0.25 * np.abs(fast / 1.5 + slow / 2), 0.05, 1)
    return TimeSeries(start, resolution, power)


def forecast(
    history: TimeSeries, *, site: SolarSite = SITE, hours: float = 48, issued_at: datetime | None = None
) -> tuple[TimeSeries, SolarPrediction]:
    issued = issued_at or history.end
    return forecast_solar(fit_solar(site, history.until(issued)), site, history, issued, timedelta(hours=hours))


def bands(prediction: SolarPrediction) -> FloatArray:
    return np.stack([prediction.p10, prediction.p50, prediction.p90])


@settings(max_examples=10, deadline=None)
@given(
    latitude=st.sampled_from([-90.0, -78.0, -33.0, 0.0, 48.0, 69.0, 85.0, 90.0]),
    longitude=st.floats(-180, 180),
    month=st.integers(1, 12),
    minutes=st.sampled_from([15, 30, 60]),
    days=st.integers(0, 9),
)
def test_forecasts_are_ordered_and_zero_while_the_sun_is_down(
    latitude: float, longitude: float, month: int, minutes: int, days: int
) -> None:
    site = SolarSite(latitude, longitude, capacity_kwp=12.0)
    start, step = datetime(2025, month, 3, tzinfo=UTC), timedelta(minutes=minutes)

    grid, prediction = forecast(measured(days, site=site, start=start, resolution=step), site=site)

    # The sun climbs by 7.5° in half an hour at most, and an hour's light may be in one of its halves.
    below = ClearSky(site, grid).elevation_deg < -8
    assert not np.isnan(bands(prediction)).any()
    assert (np.diff(bands(prediction), axis=0) >= 0).all()
    assert (bands(prediction)[:, below] == 0).all()
    assert (prediction.expected[below] == 0).all()
    assert (prediction.p10 >= 0).all()
    assert (prediction.p90 <= 12.0).all()
    assert len(grid) == 48 * 60 // minutes


def test_a_forecast_begins_with_the_interval_that_holds_the_moment() -> None:
    history = measured(20, resolution=QUARTER)
    issued = history.end - timedelta(hours=3, minutes=7)

    grid, _ = forecast(history, hours=6, issued_at=issued)

    assert grid.start <= issued < grid.start + QUARTER
    assert len(grid) == 24


def test_nothing_later_than_the_moment_changes_a_forecast() -> None:
    history = measured(30)
    issued = START + timedelta(days=25, hours=10)
    model = fit_solar(SITE, history.until(issued))
    poisoned = history.values.copy()
    poisoned[history.position(issued) :] = 1e6

    _, honest = forecast_solar(model, SITE, history, issued, timedelta(hours=24))
    _, other = forecast_solar(model, SITE, replace(history, values=poisoned), issued, timedelta(hours=24))

    np.testing.assert_array_equal(bands(other), bands(honest))


def test_nothing_later_than_an_origin_changes_the_forecasts_of_a_backtest() -> None:
    history = measured(75)
    test_start = START + timedelta(days=40)
    # At noon of the 12th day of the second fit's forecasts.
    moment = test_start + timedelta(days=40 - 28 + 20, hours=12)
    poisoned = history.values.copy()
    poisoned[history.position(moment) :] *= 0.01

    honest = backtest_solar(SITE, history, test_start, ZoneInfo("UTC"))
    other = backtest_solar(SITE, replace(history, values=poisoned), test_start, ZoneInfo("UTC"))

    first = honest.grid.position(moment)
    hourly, daily = slice(0, first + 1), slice(0, first + 12)
    for run in ("hour_ahead", "day_ahead"):
        part = hourly if run == "hour_ahead" else daily
        before, after = getattr(honest, run), getattr(other, run)
        np.testing.assert_array_equal(bands(after.prediction)[:, part], bands(before.prediction)[:, part], err_msg=run)
    assert (other.hour_ahead.prediction.p50[first + 1 :] != honest.hour_ahead.prediction.p50[first + 1 :]).any()


@pytest.mark.parametrize(("tilt", "azimuth"), [(15, 180), (40, 120), (60, 230)])
def test_tilt_and_azimuth_are_learned_from_power(tilt: float, azimuth: float) -> None:
    history = measured(90, resolution=QUARTER, tilt=tilt, azimuth=azimuth)

    mounting = fit_mounting(SITE, ClearSky(SITE, history), history.values)

    assert mounting.surface_tilt_deg == pytest.approx(tilt, abs=8)
    assert mounting.surface_azimuth_deg == pytest.approx(azimuth, abs=12)
    assert mounting.scale == pytest.approx(7.7, rel=0.1)


def test_a_wrong_setting_gives_way_to_the_history() -> None:
    site = replace(SITE, surface_tilt_deg=20.0, surface_azimuth_deg=270.0, capacity_kwp=50.0)
    history = measured(60, azimuth=110)

    mounting = fit_mounting(site, ClearSky(site, history), history.values)

    assert mounting.surface_azimuth_deg == pytest.approx(110, abs=15)
    assert mounting.scale == pytest.approx(7.7, rel=0.1)


@pytest.mark.parametrize("zone", [ZoneInfo("Europe/Berlin"), None])
def test_daylight_saving_in_the_timestamps_is_found_by_the_sun(zone: ZoneInfo | None) -> None:
    honest = measured(75, start=datetime(2025, 2, 20, tzinfo=UTC))
    change = honest.position(datetime(2025, 3, 30, 1, tzinfo=UTC))
    values = np.concatenate([honest.values[:change], [np.nan], honest.values[change:]])
    moved = TimeSeries(honest.start, honest.resolution, values)

    assert find_daylight_saving(SITE, honest, zone) is None
    assert find_daylight_saving(SITE, moved, zone) == "Europe/Berlin"
    restored = shift_summer(moved, ZoneInfo("Europe/Berlin"))
    np.testing.assert_array_equal(restored.values[: len(honest)], honest.values)
    assert np.isnan(restored.values[len(honest) :]).all()


def test_it_beats_both_naive_forecasts_and_its_band_is_honest() -> None:
    history = measured(150)

    result = backtest_solar(SITE, history, history.end - timedelta(days=75))

    for run in (result.hour_ahead, result.day_ahead):
        score = result.score(run)
        assert score.skill_percent > 5
        assert score.pinball < score.naive_pinball
        assert 70 <= score.coverage_p10_p90 <= 90


def test_half_of_the_values_missing_cost_little() -> None:
    history = measured(120)
    values = np.where(np.random.default_rng(1).random(len(history)) < 0.5, np.nan, history.values)
    values[50 * 24 : 55 * 24] = np.nan

    result = backtest_solar(SITE, replace(history, values=values), history.end - timedelta(days=50))

    assert result.score(result.day_ahead).skill_percent > 5
    assert not np.isnan(bands(result.hour_ahead.prediction)).any()


def test_panels_that_were_doubled_are_forecast_so_within_two_weeks() -> None:
    history = measured(120)
    values = history.values.copy()
    values[90 * 24 :] *= 2
    issued = START + timedelta(days=106)

    grid, prediction = forecast(replace(history, values=values), hours=96, issued_at=issued)

    first = history.position(issued)
    actual = values[first : first + len(grid)]
    assert prediction.expected.sum() == pytest.approx(actual.sum(), rel=0.35)
    assert prediction.p90.max() > 1.3 * history.values.max() * 0.8


def test_panels_that_gave_nothing_for_days_are_expected_to_give_little() -> None:
    history = measured(60)
    values = history.values.copy()
    values[-5 * 24 :] = 0.0

    _, dead = forecast(replace(history, values=values), hours=24)
    _, running = forecast(history, hours=24)

    assert dead.expected.sum() < 0.5 * running.expected.sum()


def test_all_zero_history_gives_zero_without_a_known_capacity() -> None:
    history = replace(measured(30), values=np.zeros(30 * 24))

    _, prediction = forecast(history)

    assert (bands(prediction) == 0).all()


@pytest.mark.parametrize("days", [0, 1, 3, 7])
def test_a_site_with_little_history_has_a_wide_and_usable_band(days: int) -> None:
    site = replace(SITE, capacity_kwp=10.0)
    history = measured(days + 2)
    issued = START + timedelta(days=days)

    grid, prediction = forecast(history.until(issued), site=site, hours=24, issued_at=issued)

    actual = history.values[history.position(issued) :][: len(grid)]
    lit = actual > 0.5
    inside = (prediction.p10 <= actual) & (actual <= prediction.p90)
    assert inside[lit].mean() > 0.5
    assert 0.3 * actual.sum() < prediction.expected.sum() < 2 * actual.sum()


def test_no_history_and_no_capacity_is_an_error() -> None:
    with pytest.raises(SeriesError, match="capacity"):
        fit_solar(SITE, TimeSeries(START, HOUR, np.full(48, np.nan)))


def test_a_history_that_ended_long_ago_is_an_error() -> None:
    history = measured(10)
    model = fit_solar(SITE, history)

    with pytest.raises(ValueError, match="reaches at most"):
        forecast_solar(model, SITE, history, history.end + timedelta(days=3), timedelta(hours=48))


def test_without_pvlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solar_clear_sky, "find_spec", _find_nothing)

    with pytest.raises(SolarExtraError, match=r"ev-forecasting\[sun\]"):
        ClearSky(SITE, measured_grid())


def _find_nothing(name: str) -> None:
    del name


def measured_grid() -> TimeSeries:
    return TimeSeries(START, HOUR, np.zeros(24))


@pytest.mark.parametrize("values", [{"latitude_deg": 91.0}, {"capacity_kwp": 0.0}, {"surface_tilt_deg": -1.0}])
def test_impossible_sites_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        replace(SITE, **values)
