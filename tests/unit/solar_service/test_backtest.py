"""The command that measures solar forecasts on a recorded series."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from ev_forecasting.series import TimeSeries
from ev_forecasting.solar_clear_sky import ClearSky, SolarSite
from solar_service.backtest import generate_series, main

PLACE = ["--latitude", "48.1", "--longitude", "11.6", "--timezone", "UTC"]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    start, count = datetime(2025, 4, 1, tzinfo=UTC), 60 * 24
    grid = TimeSeries(start, timedelta(hours=1), np.zeros(count))
    clear = ClearSky(SolarSite(48.1, 11.6), grid).relative_power(30, 180)
    power_w = 5000 * clear * np.random.default_rng(3).uniform(0.3, 1, 60).repeat(24)
    rows = [f"{start + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ},{power:.1f}" for hour, power in enumerate(power_w)]
    file = tmp_path / "panels.csv"
    file.write_text("timestamp,ac_power_w\n" + "\n".join(rows), encoding="utf-8")
    return file


def test_it_prints_errors_beside_the_naive_forecasts_as_json(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--csv", str(recording), "--column", "ac_power_w", *PLACE, "--weeks", "4", "--json"])

    report = json.loads(capsys.readouterr().out)
    assert report["resolution_s"] == 3600
    assert report["clear_sky_kw"] == pytest.approx(4.5, rel=0.2)
    assert report["daylight_saving_removed"] is None
    for key in ("hour_ahead", "day_ahead"):
        assert report[key]["nrmse_percent"] > 0
        assert report[key]["skill_percent"] == pytest.approx(
            100 * (1 - report[key]["nrmse_percent"] / report[key]["naive_nrmse_percent"]), abs=0.1
        )
    assert report["day_ahead"]["pinball"] < report["day_ahead"]["naive_pinball"]


def test_it_prints_a_table_and_draws_a_picture(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "sun.png"

    main(["--csv", str(recording), "--column", "ac_power_w", *PLACE, "--weeks", "3", "--picture", str(picture)])

    assert "day-ahead" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "absent.csv", "--column", "p"], "needs --latitude"),
        (["--csv", "absent.csv", "--column", "p", *PLACE], "cannot be read"),
        (["--weeks", "0"], "--weeks must be positive"),
    ],
)
def test_what_it_cannot_do_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(arguments)


def test_an_unknown_time_zone_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--timezone", "Mars/Olympus"])

    assert "no time zone 'Mars/Olympus'" in capsys.readouterr().err


def test_the_generated_series_is_that_of_the_simulated_site() -> None:
    series = generate_series()

    assert series.resolution == timedelta(minutes=15)
    assert len(series) > 500 * 96
    yearly_kwh = series.values[: 365 * 96].sum() / 4
    assert 1000 < yearly_kwh / 100 < 1800
    assert not np.isnan(series.values).any()
