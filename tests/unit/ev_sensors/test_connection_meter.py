"""What the meter at the connection may say."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from ev_sensors.checks import Past, validate
from ev_sensors.connection_meter import connection_meter
from ev_sensors.measurement import Measurement, Reason
from ev_service.settings import SiteSettings

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
DEVICE = connection_meter(SiteSettings())


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
        (_values(61.0, current_l1_a=106.0, current_l2_a=88.4, current_l3_a=70.7), None),
        # A low power factor, a phase that gives while others draw, and all of it on one phase.
        (_values(61.0, current_l1_a=160.0, current_l2_a=140.0, current_l3_a=120.0), None),
        (_values(20.7, current_l1_a=100.0, current_l2_a=50.0, current_l3_a=-60.0), None),
        (_values(0.0, 9.2, current_l1_a=-40.0, current_l2_a=-10.0, current_l3_a=10.0), None),
        (_values(130.0, current_l1_a=565.0, current_l2_a=0.0, current_l3_a=0.0), None),
        (_values(61.0, current_l1_a=0.0, current_l2_a=0.0, current_l3_a=0.0), Reason.IMPLAUSIBLE),
        (_values(61.0, current_l1_a=-106.0, current_l2_a=-88.0, current_l3_a=-70.0), Reason.IMPLAUSIBLE),
        (_values(5.0, current_l1_a=400.0, current_l2_a=1.0, current_l3_a=1.0), Reason.IMPLAUSIBLE),
        (_values(61.0, current_l1_a=1e308, current_l2_a=88.4, current_l3_a=70.7), Reason.RANGE),
        (_values(61.0, current_l1_a=math.nan, current_l2_a=88.4, current_l3_a=70.7), Reason.RANGE),
    ],
    ids=str,
)
def test_an_overload_is_believed_and_400_percent_and_contradictions_are_not(
    values: dict[str, float], reason: Reason | None
) -> None:
    _, refusal = validate(Measurement(NOON, values), Past(), NOON, DEVICE.rules)

    assert (None if refusal is None else refusal.reason) == reason


@pytest.mark.parametrize(
    ("before_kw", "after_kw", "reason"),
    [(20, 150, None), (95, 30, None), (95, 10, Reason.RATE), (20, 280, Reason.RATE)],
)
def test_a_surge_is_believed_at_once_and_a_load_that_vanishes_is_not(
    before_kw: float, after_kw: float, reason: Reason | None
) -> None:
    later = NOON + timedelta(seconds=1)

    _, refusal = validate(
        Measurement(later, _values(after_kw)), Past(Measurement(NOON, _values(before_kw))), later, DEVICE.rules
    )

    assert (None if refusal is None else refusal.reason) == reason


def test_share_and_limit_are_the_sites_whatever_the_device_says() -> None:
    reading = DEVICE.reading(Measurement(NOON, _values(50.0, includes_charging=False)), "mqtt")

    assert (reading.load_percent, reading.limit_kw, reading.includes_charging) == (50.0, 100.0, False)


@pytest.mark.parametrize(
    ("phases", "told", "current_a"),
    [
        (3, {1: 10.0, 2: -4.0, 3: 5.0}, (10.0, -4.0, 5.0)),
        (3, {1: 10.0, 2: 5.0}, None),
        (3, {}, None),
        (1, {1: 10.0}, (10.0,)),
        (1, {1: 10.0, 2: 0.0, 3: 0.0}, (10.0,)),
    ],
)
def test_currents_count_where_there_is_one_for_each_phase_of_the_site(
    phases: int, told: dict[int, float], current_a: tuple[float, ...] | None
) -> None:
    device = connection_meter(SiteSettings(phases=phases))
    currents = {f"current_l{phase}_a": current for phase, current in told.items()}

    assert device.reading(Measurement(NOON, _values(2.5, **currents)), "mqtt").current_a == current_a
