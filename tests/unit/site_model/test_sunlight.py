from datetime import UTC, datetime, timedelta

import pytest

from site_model.sunlight import STEPS_PER_DAY, SunDay, sunlight_at


class _Stairs:
    """Each day's first instants climb by 100 from the day's number; the rest is night."""

    def day(self, month: int, day: int) -> SunDay:
        climbing = (day, day + 100, day + 200)
        values = (*climbing, *(0 for _ in range(STEPS_PER_DAY - 4)), 500)
        return SunDay(values, tuple(2 * value for value in values))


MIDNIGHT = datetime(2026, 6, 21, tzinfo=UTC)


@pytest.mark.parametrize(("after_s", "expected"), [(0, 21), (450, 71), (900, 121), (1350, 171)])
def test_between_two_instants_light_grows_in_proportion(after_s: float, expected: float) -> None:
    sunlight = sunlight_at(_Stairs(), MIDNIGHT + timedelta(seconds=after_s))

    assert sunlight.yield_w_per_kwp == expected
    assert sunlight.poa_global_w_m2 == 2 * expected


def test_a_step_in_which_the_sun_sets_gives_nothing() -> None:
    assert sunlight_at(_Stairs(), MIDNIGHT + timedelta(minutes=40)).yield_w_per_kwp == 0.0


def test_light_goes_on_through_midnight() -> None:
    sunlight = sunlight_at(_Stairs(), MIDNIGHT - timedelta(seconds=450))

    assert sunlight.yield_w_per_kwp == (500 + 21) / 2


def test_the_leap_day_has_the_sun_of_the_day_before() -> None:
    leap_day = sunlight_at(_Stairs(), datetime(2028, 2, 29, tzinfo=UTC))

    assert leap_day == sunlight_at(_Stairs(), datetime(2028, 2, 28, tzinfo=UTC))


def test_a_sun_without_irradiance_leaves_it_out() -> None:
    class YieldOnly:
        def day(self, month: int, day: int) -> SunDay:
            return SunDay((300,) * STEPS_PER_DAY)

    assert sunlight_at(YieldOnly(), MIDNIGHT).poa_global_w_m2 is None
