import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from charging_agent.simulation.tariff import (
    TariffError,
    compute_price_series,
    create_default_tariff,
    read_tariff,
)

PACIFIC = ZoneInfo("America/Los_Angeles")
SUMMER: dict[str, Any] = {
    "id": "summer",
    "effective_start": "06-01",
    "effective_end": "9-30",
    "dow_mask": "WEEKDAYS",
    "times": [12, 0, 18.5],
    "tariffs": [0.3, 0.1, 0.2],
    "demand_charge": 10,
}
WEEKEND = {**SUMMER, "id": "weekend", "dow_mask": "WEEKENDS", "times": [0], "tariffs": [0.05]}
WINTER = {**SUMMER, "id": "winter", "effective_start": "10-01", "effective_end": "05-31", "dow_mask": "ALL"}


def write(folder: Path, *schedules: dict[str, Any]) -> Path:
    file = folder / "tariff.json"
    file.write_text(json.dumps({"name": "test", "effective": "2019-3-1", "schedule": schedules}), encoding="utf-8")
    return file


def test_price_follows_season_weekday_and_hour(tmp_path: Path) -> None:
    tariff = read_tariff(write(tmp_path, SUMMER, WEEKEND, WINTER))

    assert tariff.price_per_kwh(datetime(2019, 9, 2, 11, 59, tzinfo=PACIFIC)) == 0.1
    assert tariff.price_per_kwh(datetime(2019, 9, 2, 12, 0, tzinfo=PACIFIC)) == 0.3
    assert tariff.price_per_kwh(datetime(2019, 9, 2, 18, 30, tzinfo=PACIFIC)) == 0.2
    assert tariff.price_per_kwh(datetime(2019, 9, 1, 12, 0, tzinfo=PACIFIC)) == 0.05
    assert tariff.price_per_kwh(datetime(2020, 1, 4, 13, 0, tzinfo=PACIFIC)) == 0.3


def test_a_day_without_a_price_is_named(tmp_path: Path) -> None:
    tariff = read_tariff(write(tmp_path, SUMMER))

    with pytest.raises(TariffError, match=r"no price for 2019-09-01 \(Sunday\)"):
        tariff.schedule_of(date(2019, 9, 1))


def test_two_schedules_for_a_day_are_an_error_unless_they_are_alike(tmp_path: Path) -> None:
    everyday = {**SUMMER, "id": "everyday", "dow_mask": "ALL"}

    assert read_tariff(write(tmp_path, SUMMER, everyday)).schedule_of(date(2019, 9, 2)).name == "summer"
    with pytest.raises(TariffError, match="several prices for 2019-09-02"):
        read_tariff(write(tmp_path, SUMMER, {**everyday, "demand_charge": 1})).schedule_of(date(2019, 9, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [1, 2, 3]}, "begin at 0"),
        ({"times": [0, 12]}, "2 times and 3 tariffs"),
        ({"times": [0, 12, 24]}, "end before 24"),
        ({"dow_mask": "MONDAYS"}, "dow_mask"),
        ({"effective_start": "June"}, "effective_start"),
        ({"demand_charge": -1}, "negative demand charge"),
        ({"tariffs": ["a", 1, 2]}, "could not convert"),
    ],
)
def test_what_is_not_of_the_schema_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(TariffError, match=message):
        read_tariff(write(tmp_path, {**SUMMER, **change}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schedule": [1]}'])
def test_a_file_that_is_no_tariff_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tariff.json"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(TariffError):
        read_tariff(file)


def test_bill_is_energy_by_time_and_each_months_highest_step(tmp_path: Path) -> None:
    tariff = read_tariff(write(tmp_path, {**SUMMER, "dow_mask": "ALL"}, WINTER))
    start = datetime(2019, 10, 1, 6, tzinfo=UTC)  # 23:00 on 30 September
    starts = [(start + timedelta(hours=hour)).astimezone(PACIFIC) for hour in range(3)]
    prices = compute_price_series(tariff, starts, 3600)

    bill = prices.compute_bill(np.array([4.0, 2.0, -7.0]))

    assert bill.energy == pytest.approx(4 * 0.2 + 2 * 0.1)
    assert bill.demand == pytest.approx(10 * 4 + 10 * 2)
    assert bill.peak_kw == 4


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25)])
def test_days_on_which_the_clock_changes_have_23_or_25_hours_at_their_local_prices(day: date, hours: int) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=PACIFIC).astimezone(UTC)
    starts = [(midnight + timedelta(hours=hour)).astimezone(PACIFIC) for hour in range(hours)]

    prices = compute_price_series(create_default_tariff(), starts, 3600)

    assert {start.date() for start in starts} == {day}
    assert int((prices.per_kwh == 0.30).sum()) == 5
    assert int((prices.per_kwh == 0.10).sum()) == 7 + hours - 24
