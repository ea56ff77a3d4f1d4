"""What the meter at the connection may say."""

from datetime import UTC, datetime, timedelta

import pytest

from ev_sensors.checks import Past, weigh
from ev_sensors.measurement import Measurement, Reason
from grid_service.devices import grid_device

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
DEVICE = grid_device("x", 100.0)


def _values(load_kw: float, export_kw: float = 0.0, **more: float) -> dict[str, float]:
    return {"load_kw": load_kw, "export_kw": export_kw, **more}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (_values(61.0, load_percent=61.0, limit_kw=100.0), None),
        (_values(130.0), None),
        (_values(400.0), Reason.RANGE),
        (_values(-5.0), Reason.RANGE),
        (_values(61.0, load_percent=20.0), Reason.IMPLAUSIBLE),
        (_values(61.0, 5.0), Reason.IMPLAUSIBLE),
        (_values(61.0, limit_kw=500.0), Reason.NOMINAL),
    ],
    ids=str,
)
def test_an_overload_is_believed_and_400_percent_and_contradictions_are_not(
    values: dict[str, float], reason: Reason | None
) -> None:
    _, refusal = weigh(Measurement(NOON, values), Past(), NOON, DEVICE.rules)

    assert (None if refusal is None else refusal.reason) == reason


@pytest.mark.parametrize(
    ("before_kw", "after_kw", "reason"),
    [(20, 150, None), (95, 30, None), (95, 10, Reason.RATE), (20, 280, Reason.RATE)],
)
def test_a_surge_is_believed_at_once_and_a_load_that_vanishes_is_not(
    before_kw: float, after_kw: float, reason: Reason | None
) -> None:
    later = NOON + timedelta(seconds=1)

    _, refusal = weigh(
        Measurement(later, _values(after_kw)), Past(Measurement(NOON, _values(before_kw))), later, DEVICE.rules
    )

    assert (None if refusal is None else refusal.reason) == reason


def test_share_and_limit_are_the_sites_whatever_the_device_says() -> None:
    reading = DEVICE.reading(Measurement(NOON, _values(50.0, includes_charging=False)), "mqtt")

    assert (reading.load_percent, reading.limit_kw, reading.includes_charging) == (50.0, 100.0, False)
