"""The command that measures load forecasts on a recorded series."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from ev_forecasting.series import TimeSeries
from grid_service.backtest import add_forecast_noise, generate_series, main


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    start, count = datetime(2025, 3, 31, tzinfo=UTC), 24 * 24
    hours = np.arange(count)
    load = 50 + 20 * np.sin(hours * np.pi / 12) * (hours // 24 % 7 < 5) + np.random.default_rng(3).normal(0, 2, count)
    rows = [
        f"{start + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ},{power:.2f},{10 + hour % 24 / 2:.1f}"
        for hour, power in enumerate(load)
    ]
    file = tmp_path / "meter.csv"
    file.write_text("timestamp,load_kw,outside_c\n" + "\n".join(rows), encoding="utf-8")
    return file


def test_it_prints_errors_beside_the_baselines_as_json(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--csv", str(recording), "--column", "load_kw", "--weeks", "1", "--without-rivals", "--limit", "200"]
    main([*arguments, "--temperature-column", "outside_c", "--temperature-noise", "1", "--json"])

    report = json.loads(capsys.readouterr().out)
    assert report["days"] == 6
    assert 0 < report["mape_percent"] < 15
    assert report["best_single_baseline_mape_percent"] <= report["naive_7d_mape_percent"]
    assert report["mape_percent_of"]["naive 24 h"] == report["naive_24h_mape_percent"]
    assert report["error_percent_of_limit"] < report["mape_percent"]
    assert report["pinball"] > 0
    assert 0 < report["coverage_p10_p90"] <= 100
    assert list(report["coverage_by_month"]) == ["2025-04"]
    assert report["peak_hour_mape_percent"] > 0
    assert report["model"].startswith("seasonal")
    assert "trees need 28" in report["fallback_reason"]


def test_it_prints_a_table_and_draws_a_picture(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "load.png"

    main(
        ["--csv", str(recording), "--column", "load_kw", "--weeks", "1", "--without-rivals", "--picture", str(picture)]
    )

    printed = capsys.readouterr().out
    assert "naive 7 days" in printed
    assert "MSTL: not computed" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_first_hours_can_be_scored_alone(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--csv", str(recording), "--column", "load_kw", "--weeks", "1", "--without-rivals", "--json"]
    scores: list[float] = []
    for horizon in ("6", "24"):
        main([*arguments, "--horizon", horizon])
        scores.append(json.loads(capsys.readouterr().out)["mape_percent"])

    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "absent.csv"], "needs --column"),
        (["--csv", "absent.csv", "--column", "p"], "cannot be read"),
        (["--weeks", "0"], "--weeks must be positive"),
        (["--horizon", "25"], "--horizon must be 1 to 24"),
        (["--limit", "-1"], "--limit must be positive"),
        (["--temperature-noise", "-1"], "--temperature-noise must not be negative"),
        (["--country", "XX"], "holidays are not known for XX"),
    ],
)
def test_what_it_cannot_do_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(arguments)


def test_an_unknown_time_zone_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--timezone", "Mars/Olympus"])

    assert "no time zone 'Mars/Olympus'" in capsys.readouterr().err


def test_noise_is_as_large_as_asked_for_and_lasts_for_hours() -> None:
    grid = TimeSeries(datetime(2025, 1, 1, tzinfo=UTC), timedelta(hours=1), np.zeros(20_000))

    noise = add_forecast_noise(grid, 1.5)

    assert noise.std() == pytest.approx(1.5, rel=0.1)
    assert np.corrcoef(noise[1:], noise[:-1])[0, 1] == pytest.approx(0.95, abs=0.02)
    np.testing.assert_array_equal(noise, add_forecast_noise(grid, 1.5))


def test_the_generated_series_is_that_of_the_simulated_building() -> None:
    series = generate_series()

    assert len(series) == 140 * 24
    assert 15 < series.values.mean() < 60
