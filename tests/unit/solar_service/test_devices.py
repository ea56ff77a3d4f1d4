"""What an inverter may say."""

from datetime import UTC, datetime, timedelta

import pytest

from ev_sensors.checks import Past, validate
from ev_sensors.measurement import Measurement, Reason
from solar_service.sources import solar_device

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
DEVICE = solar_device("x", 100.0)


@pytest.mark.parametrize(
    ("generation_kw", "reason"),
    [(-12.0, Reason.RANGE), (-0.5, None), (0.0, None), (130.0, None), (151.0, Reason.RANGE), (41_000.0, Reason.RANGE)],
)
def test_a_negative_sun_at_noon_and_watts_for_kilowatts_are_refused(
    generation_kw: float, reason: Reason | None
) -> None:
    _, refusal = validate(Measurement(NOON, {"generation_kw": generation_kw}), Past(), NOON, DEVICE.rules)

    assert (None if refusal is None else refusal.reason) == reason


def test_what_an_inverter_draws_at_night_is_no_generation() -> None:
    assert DEVICE.reading(Measurement(NOON, {"generation_kw": -0.5}), "mqtt").generation_kw == 0.0


@pytest.mark.parametrize(("before_kw", "after_kw", "reason"), [(90, 0, None), (10, 35, None), (10, 90, Reason.RATE)])
def test_the_sun_may_go_at_once_and_comes_only_so_quickly(
    before_kw: float, after_kw: float, reason: Reason | None
) -> None:
    later = NOON + timedelta(seconds=1)
    before = Past(Measurement(NOON, {"generation_kw": before_kw}))

    _, refusal = validate(Measurement(later, {"generation_kw": after_kw}), before, later, DEVICE.rules)

    assert (None if refusal is None else refusal.reason) == reason
