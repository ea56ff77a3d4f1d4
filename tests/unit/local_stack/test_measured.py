"""A measured day becomes three recordings; where the data are missing that is said."""

import csv
import os
from datetime import date
from pathlib import Path

import pytest

from ev_service.errors import ConfigurationError
from local_stack.measured_day import write_measured_day

HAS_DATA = bool(os.environ.get("EV_DATA_DIR"))
needs_data = pytest.mark.skipif(not HAS_DATA, reason="EV_DATA_DIR does not name the folder of measured data")


def test_without_the_folder_it_says_which_variable_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EV_DATA_DIR", raising=False)

    with pytest.raises(ConfigurationError, match="EV_DATA_DIR, which is not set"):
        write_measured_day(None, tmp_path)


def test_a_folder_without_the_data_is_named_with_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EV_DATA_DIR", str(tmp_path))

    with pytest.raises(ConfigurationError, match="holds no pvdaq_system50_2011_2013"):
        write_measured_day(None, tmp_path)


@needs_data
def test_a_day_that_was_not_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not measured whole"):
        write_measured_day(date(2020, 6, 17), tmp_path)


@needs_data
def test_the_powers_of_every_quarter_hour_close_at_the_connection(tmp_path: Path) -> None:
    measured = write_measured_day(None, tmp_path)
    solar, battery, grid = (_rows(tmp_path / f"{name}.csv") for name in ("solar", "battery", "grid"))

    assert len(solar) == len(battery) == len(grid) == 96
    assert measured.settings["GRID_SOURCE"] == "replay"
    assert max(float(row["load_percent"]) for row in grid) > 85
    assert all(0 <= float(row["soc_percent"]) <= 100 for row in battery)
    assert all(float(row["load_kw"]) == 0 or float(row["export_kw"]) == 0 for row in grid)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
