"""Forecasts of charging sessions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ev_forecasting.session_model import PooledSessionForecaster
from ev_forecasting.sessions import CompletedSession, RunningSession, SessionForecast

ZONE = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def generated_sessions(days: int, seed: int = 1, per_day: int = 8) -> list[CompletedSession]:
    """Sessions of drivers with habits of their own; half of them enter something, and too much of it."""
    random = np.random.default_rng(seed)
    sessions: list[CompletedSession] = []
    for day in range(days):
        for _ in range(per_day):
            driver = int(random.integers(10))
            arrival = MONDAY + hours(24 * day + 7 + 0.3 * driver + random.normal(0, 0.3))
            stay_h = max(0.2, random.normal(2 + 0.8 * driver, 0.5))
            energy_kwh = max(0.1, random.normal(4 + 2 * driver, 1.5))
            is_entered = driver % 2 == 0
            sessions.append(
                CompletedSession(
                    arrival,
                    arrival + hours(stay_h),
                    energy_kwh,
                    f"CP-{random.integers(4)}",
                    f"driver-{driver}",
                    energy_kwh * float(random.uniform(1.2, 3)) if is_entered else None,
                    arrival + hours(max(0.5, stay_h - 1)) if is_entered else None,
                )
            )
    return sorted(sessions, key=lambda session: session.departure)


def learn(sessions: list[CompletedSession]) -> PooledSessionForecaster:
    forecaster = PooledSessionForecaster(ZONE)
    for session in sessions:
        forecaster.learn(session)
    return forecaster


def begin(session: CompletedSession, energy_kwh: float = 0.0) -> RunningSession:
    return RunningSession(
        session.arrival,
        session.station_id,
        energy_kwh,
        session.driver_id,
        session.entered_energy_kwh,
        session.entered_departure,
    )


def assert_is_sound(forecast: SessionForecast, charged_kwh: float) -> None:
    departure, energy = forecast.departure, forecast.energy_kwh
    assert forecast.issued_at <= departure.p10 <= departure.p50 <= departure.p90
    assert charged_kwh <= energy.p10 <= energy.p50 <= energy.p90
    assert np.isfinite(energy.p90)
    assert len(forecast.scenarios) == 10
    times = [scenario.departure for scenario in forecast.scenarios]
    assert times == sorted(times)
    assert times[0] >= forecast.issued_at
    assert all(scenario.energy_kwh >= charged_kwh for scenario in forecast.scenarios)
    basis = forecast.basis
    assert basis.driver + basis.station + basis.site + basis.prior == pytest.approx(1)


def test_without_history_the_prior_answers() -> None:
    forecast = PooledSessionForecaster(ZONE).forecast(RunningSession(MONDAY, "CP-1"), MONDAY)

    assert_is_sound(forecast, 0)
    assert forecast.basis.prior == 1
    assert hours(2) < forecast.departure.p50 - MONDAY < hours(6)


def test_without_history_an_entry_moves_the_forecast() -> None:
    running = RunningSession(MONDAY, "CP-1", entered_energy_kwh=40.0, entered_departure=MONDAY + hours(9))

    forecast = PooledSessionForecaster(ZONE).forecast(running, MONDAY)

    assert forecast.energy_kwh.p50 == pytest.approx(22, rel=0.1)
    assert forecast.departure.p50 > MONDAY + hours(8)


def test_a_driver_with_history_is_forecast_by_their_own_habits() -> None:
    sessions = generated_sessions(60)
    forecaster = learn(sessions)
    now = MONDAY + hours(24 * 61 + 8)

    early = forecaster.forecast(RunningSession(now, "CP-1", driver_id="driver-1"), now)
    late = forecaster.forecast(RunningSession(now, "CP-1", driver_id="driver-9"), now)
    unknown = forecaster.forecast(RunningSession(now, "CP-1"), now)

    assert early.basis.driver > 0.5
    assert unknown.basis.driver == 0
    assert early.departure.p90 < late.departure.p10
    assert late.energy_kwh.p50 == pytest.approx(22, abs=3)


def test_a_few_sessions_of_a_driver_shift_the_forecast_a_little() -> None:
    sessions = generated_sessions(30)
    now = MONDAY + hours(24 * 31 + 8)
    shares: list[float] = []
    for count in (0, 1, 3, 10):
        habit = [
            CompletedSession(now - hours(24 * (day + 1)), now - hours(24 * (day + 1) - 9), 30.0, "CP-1", "new")
            for day in range(count)
        ]
        forecast = learn([*sessions, *habit]).forecast(RunningSession(now, "CP-1", driver_id="new"), now)
        shares.append(forecast.basis.driver)

    assert shares[0] == 0
    assert 0 < shares[1] < shares[2] < shares[3] < 1


def test_the_longer_a_car_stays_the_later_it_is_expected_to_leave() -> None:
    forecaster = learn(generated_sessions(40))
    arrival = MONDAY + hours(24 * 42 + 8)
    expected = [
        forecaster.forecast(RunningSession(arrival, "CP-1"), arrival + hours(age)).departure.p50
        for age in (0, 2, 4, 6, 12, 40)
    ]

    assert expected == sorted(expected)
    assert expected[-1] > arrival + hours(40)


def test_a_car_that_has_stopped_drawing_takes_no_more() -> None:
    forecaster = learn(generated_sessions(10))
    now = MONDAY + hours(24 * 11 + 9)
    running = RunningSession(now - hours(2), "CP-1", 7.25, has_stopped_drawing=True)

    forecast = forecaster.forecast(running, now)

    assert forecast.energy_kwh.p10 == forecast.energy_kwh.p90 == 7.25
    # That others took more says nothing of when this car leaves.
    assert forecast.departure == forecaster.forecast(replace(running, energy_kwh=0.0), now).departure


def test_what_ended_after_the_moment_of_the_forecast_changes_nothing() -> None:
    sessions = generated_sessions(40)
    now = sessions[200].departure
    known = [session for session in sessions if session.departure <= now]
    later = [session for session in sessions if session.departure > now]
    poison = [
        replace(session, departure=session.departure + hours(300), energy_kwh=900.0, station_id="CP-1")
        for session in later
    ]
    running = begin(later[0])

    expected = learn(known)
    actual = learn([*poison, *known])

    assert actual.forecast(running, now) == expected.forecast(running, now)
    horizon = hours(24)
    assert actual.expected_arrivals(now, horizon, hours(1)) == expected.expected_arrivals(now, horizon, hours(1))


def test_bounds_hold_four_of_five_departures_and_energies() -> None:
    sessions = generated_sessions(120)
    forecaster = PooledSessionForecaster(ZONE)
    inside: list[tuple[bool, bool]] = []
    for session in sessions:
        forecast = forecaster.forecast(begin(session), session.arrival)
        departure, energy = forecast.departure, forecast.energy_kwh
        is_in_time = departure.p10 <= session.departure <= departure.p90
        inside.append((is_in_time, energy.p10 <= session.energy_kwh <= energy.p90))
        forecaster.learn(session)

    departures, energies = np.mean(inside[300:], axis=0)
    assert departures == pytest.approx(0.8, abs=0.06)
    assert energies == pytest.approx(0.8, abs=0.06)


def test_scenarios_keep_the_dependence_of_energy_on_the_stay() -> None:
    forecaster = learn(generated_sessions(60))
    now = MONDAY + hours(24 * 61 + 8)

    scenarios = forecaster.forecast(RunningSession(now, "CP-1"), now).scenarios

    stays = [(scenario.departure - now).total_seconds() for scenario in scenarios]
    energies = [scenario.energy_kwh for scenario in scenarios]
    assert np.corrcoef(stays, energies)[0, 1] > 0.6


WRONG = [
    CompletedSession(MONDAY, MONDAY, 5.0, "CP-1"),
    CompletedSession(MONDAY, MONDAY - hours(3), 5.0, "CP-1"),
    CompletedSession(MONDAY - hours(9_000), MONDAY, 5.0, "CP-1"),
    CompletedSession(MONDAY, MONDAY + hours(1), 1e9, "CP-1"),
    CompletedSession(MONDAY, MONDAY + hours(1), -1.0, "CP-1"),
    CompletedSession(MONDAY, MONDAY + hours(1), float("nan"), "CP-1"),
]


def test_implausible_sessions_are_left_out() -> None:
    sessions = generated_sessions(10)
    now = MONDAY + hours(24 * 12)
    running = RunningSession(now, "CP-1")

    assert learn([*WRONG, *sessions]).forecast(running, now) == learn(sessions).forecast(running, now)


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@example(stays_h=[], energies=[], entered_kwh=None, entered_h=None, charged_kwh=5e-324, age_h=0.0)
@settings(max_examples=60, deadline=None)
@given(
    stays_h=st.lists(st.floats(-50, 9_000), max_size=8),
    energies=st.lists(st.floats(allow_nan=True), max_size=8),
    entered_kwh=NUMBERS,
    entered_h=st.one_of(st.none(), st.floats(-9_000, 90_000)),
    charged_kwh=st.floats(0, 1e9),
    age_h=st.floats(-24, 9_000),
)
def test_any_history_and_any_entry_give_a_sound_forecast(
    stays_h: list[float],
    energies: list[float],
    entered_kwh: float | None,
    entered_h: float | None,
    charged_kwh: float,
    age_h: float,
) -> None:
    arrival = MONDAY + hours(24 * 400)
    sessions = [
        CompletedSession(
            MONDAY, MONDAY + hours(stay_h), energy, "CP-1", "driver", entered_kwh, MONDAY + hours(entered_h or 5)
        )
        for stay_h, energy in zip(stays_h, energies, strict=False)
    ]
    forecaster = learn(sessions)
    departure = None if entered_h is None else arrival + hours(entered_h)
    running = RunningSession(arrival, "CP-1", charged_kwh, "driver", entered_kwh, departure)

    assert_is_sound(forecaster.forecast(running, arrival + hours(age_h)), charged_kwh)


def test_arrivals_are_expected_when_they_used_to_come() -> None:
    sessions = [
        CompletedSession(start, start + hours(4), 10.0, "CP-1")
        for day in range(56)
        for hour in ((8, 8.3, 8.6, 9.2) if day % 7 < 5 else (14,))
        for start in [MONDAY + hours(24 * day + hour)]
    ]
    forecaster = learn(sessions)

    working_day = forecaster.expected_arrivals(MONDAY + hours(24 * 56), hours(24), hours(1))
    weekend = forecaster.expected_arrivals(MONDAY + hours(24 * 61), hours(24), hours(1))

    assert len(working_day) == 24
    assert sum(interval.expected for interval in working_day) == pytest.approx(4, abs=0.5)
    assert working_day[8].expected > 2 > working_day[14].expected
    assert working_day[8].energy_kwh == pytest.approx(10 * working_day[8].expected, rel=0.05)
    assert max(weekend, key=lambda interval: interval.expected).interval_start == MONDAY + hours(24 * 61 + 14)
    assert all(interval.p10 <= interval.p50 <= interval.p90 for interval in working_day)


def test_without_history_no_arrival_is_expected() -> None:
    intervals = PooledSessionForecaster(ZONE).expected_arrivals(MONDAY, hours(24), timedelta(minutes=15))

    assert len(intervals) == 96
    assert all(interval.expected == interval.p90 == 0 for interval in intervals)
