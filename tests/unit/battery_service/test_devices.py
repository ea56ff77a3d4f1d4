"""What a battery may say."""

from datetime import UTC, datetime, timedelta

import pytest

from battery_service.sources import battery_device
from ev_sensors.checks import Past, validate
from ev_sensors.measurement import Measurement, Reason

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
DEVICE = battery_device("x", 100.0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"soc_percent": 83.0, "active_power_kw": -30.0, "capacity_kwh": 88.0}, None),
        ({"soc_percent": 101.0}, None),
        ({"soc_percent": 101.1}, Reason.RANGE),
        ({"soc_percent": -1.0}, Reason.RANGE),
        ({"soc_percent": 83.0, "active_power_kw": 5000.0}, Reason.RANGE),
        ({"soc_percent": 83.0, "capacity_kwh": 900.0}, Reason.RANGE),
    ],
    ids=str,
)
def test_charge_power_and_capacity_stay_within_what_the_battery_is(
    values: dict[str, float], reason: Reason | None
) -> None:
    _, refusal = validate(Measurement(NOON, values), Past(), NOON, DEVICE.rules)

    assert (None if refusal is None else refusal.reason) == reason


@pytest.mark.parametrize(("after_percent", "reason"), [(53.0, None), (45.0, Reason.RATE), (95.0, Reason.RATE)])
def test_no_battery_fills_or_empties_at_once(after_percent: float, reason: Reason | None) -> None:
    later = NOON + timedelta(seconds=1)
    before = Past(Measurement(NOON, {"soc_percent": 50.0}))

    _, refusal = validate(Measurement(later, {"soc_percent": after_percent}), before, later, DEVICE.rules)

    assert (None if refusal is None else refusal.reason) == reason


def test_a_battery_that_has_aged_says_so_and_one_that_says_nothing_has_what_is_set() -> None:
    told = [
        DEVICE.reading(Measurement(NOON, {"soc_percent": 50.0, **more}), "mqtt")
        for more in ({}, {"capacity_kwh": 88.0})
    ]

    assert [reading.capacity_kwh for reading in told] == [100.0, 88.0]


@pytest.mark.parametrize(("told_percent", "counts_percent"), [(99.9, 99.9), (100.4, 100.0), (101.0, 100.0)])
def test_a_battery_slightly_above_full_counts_as_full(told_percent: float, counts_percent: float) -> None:
    assert DEVICE.reading(Measurement(NOON, {"soc_percent": told_percent}), "mqtt").soc_percent == counts_percent
