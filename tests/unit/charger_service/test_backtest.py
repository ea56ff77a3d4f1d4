"""The command that measures forecasts of sessions."""

import json
from pathlib import Path

import pytest

from charger_service import backtest

HEADER = "session_id,station_id,arrival,departure,delivered_kwh"
ROWS = [
    f"{day},CP-1,2026-03-{day:02d}T08:00:00Z,2026-03-{day:02d}T{9 + day % 6:02d}:00:00Z,7.5" for day in range(1, 29)
]


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    path = tmp_path / "sessions.csv"
    path.write_text("\n".join([HEADER, *ROWS]), encoding="utf-8")
    return path


def test_without_data_generated_sessions_are_used_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backtest, "GENERATED_DAYS", 30)

    assert backtest.main([]) == 0

    text = capsys.readouterr().out
    assert "generated sessions" in text
    assert "departure [h] at 0 h" in text


def test_json_has_the_figures_and_null_where_nothing_was_entered(
    sessions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backtest.main(["--sessions", str(sessions), "--skip", "5", "--json"]) == 0

    summary = json.loads(capsys.readouterr().out)
    assert summary["source"] == "sessions.csv"
    assert summary["sessions"] == 23
    assert 0 <= summary["departure_coverage_p10_p90_percent"] <= 100
    assert summary["energy_pinball_below_entry_percent"] is None
    assert summary["ages"][0]["energy"]["pinball"] < 1


def test_a_picture_is_drawn(sessions: Path, tmp_path: Path) -> None:
    picture = tmp_path / "sessions.png"

    assert backtest.main(["--sessions", str(sessions), "--skip", "5", "--picture", str(picture)]) == 0

    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments", [["--sessions", "absent.csv"], ["--timezone", "Nowhere/Never"]])
def test_what_cannot_be_used_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest.main(arguments) == 2

    assert arguments[1] in capsys.readouterr().err
