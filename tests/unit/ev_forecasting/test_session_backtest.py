"""Backtest of session forecasts, and reading sessions from files."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ev_forecasting.series import SeriesError
from ev_forecasting.session_backtest import generate_sessions, run_backtest
from ev_forecasting.session_csv import read_session_ids, read_sessions
from ev_forecasting.session_model import PooledSessionForecaster

OSLO = ZoneInfo("Europe/Oslo")
ACN = """session_id,station_id,arrival,departure,requested_kwh,delivered_kwh,estimated_departure,claimed
a,CA-1,2019-05-01T08:00:00Z,2019-05-01T12:00:00Z,60.0,20.0,2019-05-01T16:00:00Z,True
b,CA-2,2019-05-01T07:00:00Z,2019-05-01T09:00:00Z,5.0,5.0,2019-05-01T09:00:00Z,False
c,CA-2,2019-05-01T09:00:00Z,2019-05-01T09:00:00Z,5.0,5.0,2019-05-01T09:00:00Z,False
"""
NORWAY = """location,user_id,session_id,arrival,departure,connection_h,delivered_kwh
OSL,U1,1,2018-07-06 14:00:00,2018-07-07 05:00:00,15,3.6
TRO,U2,2,2018-07-06 15:00:00,,,16.2
TRO,U2,3,2018-07-06 15:00:00,2018-07-07 06:00:00,15,0.01
TRO,U3,4,2018-07-06 15:00:00,2018-07-07 06:00:00,15,9.5
"""


def test_entries_count_only_where_the_driver_made_them(tmp_path: Path) -> None:
    path = tmp_path / "sessions.csv.gz"
    path.write_bytes(gzip.compress(ACN.encode()))

    file = read_sessions(path, timezone=OSLO)

    (sessions,) = file.sites.values()
    assert [session.station_id for session in sessions] == ["CA-2", "CA-1"]
    assert [session.entered_energy_kwh for session in sessions] == [None, 60.0]
    assert [session.entered_departure for session in sessions] == [None, datetime(2019, 5, 1, 16, tzinfo=UTC)]
    assert (file.rows, file.unusable, file.excluded) == (3, 1, 0)


def test_files_with_drivers_and_sites_in_local_time_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "sessions.csv"
    path.write_text(NORWAY, encoding="utf-8")

    file = read_sessions(path, timezone=OSLO, without={"4"})

    assert list(file.sites) == ["OSL"]
    (session,) = file.sites["OSL"]
    assert (session.driver_id, session.entered_energy_kwh) == ("U1", None)
    assert session.arrival == datetime(2018, 7, 6, 12, tzinfo=UTC)
    assert (file.rows, file.unusable, file.excluded) == (4, 2, 1)
    assert read_session_ids(path) == {"1", "2", "3", "4"}


@pytest.mark.parametrize("text", ["", "session_id,arrival\n", "arrival,departure,delivered_kwh\nyesterday,today,5\n"])
def test_a_file_without_sessions_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(SeriesError, match=r"wrong\.csv"):
        read_sessions(path, timezone=OSLO)


def test_forecasts_of_generated_sessions_beat_the_entries_and_hold_their_quantiles() -> None:
    sessions = generate_sessions(70)

    scores = run_backtest([sessions], lambda: PooledSessionForecaster(ZoneInfo("UTC")))

    departure, energy = scores.ages[0].departure, scores.ages[0].energy
    assert departure.coverage_p10_p90_percent == pytest.approx(80, abs=5)
    assert energy.coverage_p10_p90_percent == pytest.approx(80, abs=5)
    assert energy.with_entry_pinball < 0.8 * energy.entry_pinball
    assert departure.with_entry_pinball < 0.8 * departure.entry_pinball
    assert departure.pinball < departure.naive_pinball
    assert scores.driver_share_percent > 50


def test_a_backtest_without_sessions_to_score_says_so() -> None:
    with pytest.raises(ValueError, match="no site has more than 100 sessions"):
        run_backtest([generate_sessions(3)], lambda: PooledSessionForecaster(OSLO))


def test_generated_sessions_are_the_same_for_the_same_seed() -> None:
    assert generate_sessions(5) == generate_sessions(5)
    assert all(session.departure - session.arrival > timedelta(0) for session in generate_sessions(5, seed=2))
