import csv
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from charging_agent.simulation.__main__ import main
from charging_agent.simulation.tariff import read_tariff

TARIFF = {
    "name": "test",
    "effective": "2026-1-1",
    "schedule": [
        {
            "id": "all",
            "effective_start": "01-01",
            "effective_end": "12-31",
            "dow_mask": "ALL",
            "times": [0, 12],
            "tariffs": [0.1, 0.3],
            "demand_charge": 10,
        }
    ],
}
SESSIONS = """session_id,station_id,arrival,departure,requested_kwh,delivered_kwh,estimated_departure,claimed
a,A,2026-06-01T17:02:00Z,2026-06-01T21:10:00Z,20,8.0,2026-06-01T21:00:00Z,True
b,B,2026-06-01T18:00:00Z,2026-06-01T22:00:00Z,20,12.5,2026-06-01T21:00:00Z,True
c,A,2026-07-01T06:30:00Z,2026-07-01T08:30:00Z,5,9.0,2026-07-01T08:00:00Z,False
"""


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "tariff.json").write_text(json.dumps(TARIFF), encoding="utf-8")
    (tmp_path / "sessions.csv").write_text(SESSIONS, encoding="utf-8")
    return [
        *("--sessions", str(tmp_path / "sessions.csv"), "--tariff", str(tmp_path / "tariff.json")),
        *("--from", "2026-06-01", "--to", "2026-06-30", "--timezone", "America/Los_Angeles"),
    ]


@pytest.mark.parametrize("policy", ["uncontrolled", "equal", "least-laxity", "rules", "plan", "optimum"])
def test_the_figures_follow_from_the_schedule_file(files: list[str], tmp_path: Path, policy: str) -> None:
    out, schedule = tmp_path / "out" / "o.json", tmp_path / "s.csv"

    assert main([*files, "--policy", policy, "--json", str(out), "--schedule", str(schedule), "--step", "15min"]) == 0

    figures = json.loads(out.read_text(encoding="utf-8"))
    energy_kwh, power_kw = defaultdict[str, float](float), defaultdict[datetime, float](float)
    for row in csv.DictReader(schedule.read_text(encoding="utf-8").splitlines()):
        energy_kwh[row["session_id"]] += float(row["power_kw"]) / 4
        power_kw[datetime.fromisoformat(row["interval_start"])] += float(row["power_kw"])
    tariff, zone = read_tariff(tmp_path / "tariff.json"), ZoneInfo("America/Los_Angeles")
    energy = sum(tariff.price_per_kwh(at.astimezone(zone)) * kw / 4 for at, kw in power_kw.items())
    peaks = defaultdict[int, float](float)
    for at, kw in power_kw.items():
        peaks[at.astimezone(zone).month] = max(kw, peaks[at.astimezone(zone).month])
    bill = energy + 10 * sum(peaks.values())
    wanted_kwh = {"a": 8.0, "b": 12.5, "c": 9.0}
    filled = sum(energy_kwh[name] >= kwh - 0.1 for name, kwh in wanted_kwh.items())
    assert figures["energy_share_percent"] == pytest.approx(100 * sum(energy_kwh.values()) / 29.5, abs=0.01)
    assert figures["filled_share_percent"] == pytest.approx(100 * filled / 3, abs=0.01)
    assert figures["bill"] == pytest.approx(bill, abs=0.02)
    assert figures["cost_per_kwh"] == pytest.approx(bill / sum(energy_kwh.values()), abs=1e-4)
    assert figures["peak_kw"] == pytest.approx(max(power_kw.values()), abs=0.01)
    assert figures["violations"] == 0
    assert figures["solve_ms_p50"] <= figures["solve_ms_p99"]


def test_several_policies_stand_in_one_table_with_a_picture_and_a_schedule_each(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [
        "--schedule",
        str(tmp_path / "s.csv"),
        "--picture",
        str(tmp_path / "p.png"),
        "--json",
        str(tmp_path / "o"),
    ]

    assert main([*files, "--policy", "uncontrolled,equal", "optimum", *outputs]) == 0

    table = capsys.readouterr().out
    assert "captured" in table
    assert "equal (entered)" in table
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert sorted(file.name for file in tmp_path.glob("s-*.csv")) == [
        "s-equal.csv",
        "s-optimum.csv",
        "s-uncontrolled.csv",
    ]
    assert [one["policy"] for one in json.loads((tmp_path / "o").read_text())["policies"]] == [
        "uncontrolled",
        "equal",
        "optimum",
    ]


def test_without_files_it_says_that_cars_and_tariff_are_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--policy", "uncontrolled", "--to", "2026-06-02"]) == 0

    text = capsys.readouterr().out
    assert "No --sessions: cars of a made-up workplace" in text
    assert "No --tariff" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--from", "2025-01-01", "--to", "2025-01-31"], "no session arrived from 2025-01-01 to 2025-01-31"),
        (["--sessions", "missing.csv"], "missing.csv cannot be read"),
        (["--tariff", "missing.json"], "missing.json cannot be read"),
        (["--load", "missing.csv"], "missing.csv cannot be read"),
        (["--to", "2026-05-01"], "--to 2026-05-01 is before"),
    ],
)
def test_what_is_wrong_with_the_input_is_said(
    files: list[str], change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*files, *change, "--policy", "uncontrolled"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--policy", "magic"],
        ["--step", "7min"],
        ["--step", "2h"],
        ["--timezone", "Mars"],
        ["--feeder-kw", "0"],
        ["--from", "June"],
        ["--taper-percent", "120"],
        ["--information", "guessed"],
    ],
)
def test_a_wrong_argument_ends_the_command(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)


def test_building_and_panels_are_read_as_means_of_the_steps(files: list[str], tmp_path: Path) -> None:
    begin = datetime(2026, 6, 1, tzinfo=UTC)
    rows = [f"{begin + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ},{6 if hour % 2 else 4}" for hour in range(31 * 24)]
    (tmp_path / "load.csv").write_text("time,kw\n" + "\n".join(rows) + "\n", encoding="utf-8")

    load = ["--load", str(tmp_path / "load.csv")]
    assert main([*files, *load, "--policy", "equal", "--feeder-kw", "12", "--json", str(tmp_path / "o.json")]) == 0

    figures = json.loads((tmp_path / "o.json").read_text())
    assert figures["violations"] == 0
    assert 6 < figures["peak_kw"] <= 12
