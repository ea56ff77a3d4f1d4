"""What the demo's check of the connection says of a day."""

from datetime import UTC, datetime

import pytest

from local_stack.day import CarPower, Charging, PhaseLoad, Step
from local_stack.demo import check_site_limit

NOON = datetime(2026, 6, 25, 16, tzinfo=UTC)
LIMIT_A = 144.93


def _step(load_a: tuple[float, ...], cars_a: tuple[float, ...], *, is_commanded: bool = True) -> Step:
    car = CarPower("car-1", "CP-1/1", sum(cars_a) * 0.23, cars_a, 32.0)
    phases = tuple(PhaseLoad(load, drawn, LIMIT_A) for load, drawn in zip(load_a, cars_a, strict=True))
    charging = Charging((car,), max(0.0, sum(load_a) * 0.23), 100.0, phases, is_commanded)
    return Step(NOON, 41.0, 83.0, 61.0, "fast", "solar_and_battery_high", 22.0, "why", False, charging)


WITHIN = _step((100.0, 80.0, 60.0), (32.0, 32.0, 32.0))


@pytest.mark.parametrize(
    ("load_a", "cars_a", "observed"),
    [
        ((120.0, 80.0, -20.0), (32.0, 32.0, 32.0), "no car charges over it"),
        ((140.0, 80.0, 60.0), (32.0, 32.0, 32.0), "cars over it in 1 of 2 steps"),
        # What is above it on a phase is the building's, and the car stands on another one.
        ((140.0, 80.0, 60.0), (0.0, 32.0, 0.0), "no car charges over it"),
        ((123.0, 123.0, 128.0), (32.0, 32.0, 0.0), "cars over it in 1 of 2 steps"),
    ],
)
def test_cars_keep_to_what_each_phase_has_for_them(
    load_a: tuple[float, ...], cars_a: tuple[float, ...], observed: str
) -> None:
    control = check_site_limit([WITHIN, _step(load_a, cars_a)])

    assert control.observed == observed
    assert control.holds == (observed == control.expected)


def test_the_highest_values_are_those_with_cars_and_steps_without_limits_are_told() -> None:
    control = check_site_limit([WITHIN, _step((1.0, 90.0, 1.0), (0.0, 8.0, 0.0), is_commanded=False)])

    assert control.name == "85 % of the connection and each phase, all day; highest with cars 55 kW; 100, 90, 60 A"
    assert control.observed == "no car charges over it; limits not set in 1 steps"
