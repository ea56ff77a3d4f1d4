from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from site_model.load import building_load_kw, shape, surges
from site_model.noise import Noise
from site_model.parameters import Building

NEW_YORK = ZoneInfo("America/New_York")
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def _local(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=NEW_YORK)  # pyright: ignore[reportArgumentType]


def test_the_shape_keeps_the_mean_of_the_year() -> None:
    hours = [_local(2026, 1, 1) + timedelta(hours=hour) for hour in range(8760)]

    assert sum(map(shape, hours)) / len(hours) == pytest.approx(1.0, abs=0.02)


def test_the_building_sleeps_at_night_and_works_by_day() -> None:
    assert shape(_local(2026, 6, 17, 4)) < 0.6 * shape(_local(2026, 6, 17, 12))


def test_a_weekend_noon_is_busier_than_that_of_a_working_day() -> None:
    assert shape(_local(2026, 6, 20, 12)) > shape(_local(2026, 6, 19, 12))


def test_summer_draws_more_than_spring() -> None:
    assert shape(_local(2026, 7, 15, 12)) > 1.5 * shape(_local(2026, 4, 15, 12))


@given(moment=MOMENTS)
def test_the_shape_has_no_jumps(moment: datetime) -> None:
    # UTC stands for any zone here: only where a clock change skips or repeats an hour does the shape jump with it.
    assert abs(shape(moment) - shape(moment + timedelta(minutes=1))) < 0.012


@given(moment=MOMENTS)
def test_noise_has_no_jumps_either(moment: datetime) -> None:
    noise = Noise(7, "load")

    assert abs(noise.at(moment) - noise.at(moment + timedelta(seconds=9))) < 0.12


@given(moment=MOMENTS, mean_kw=st.floats(0, 1000), seed=st.integers(0, 2**32))
def test_load_is_never_negative(moment: datetime, mean_kw: float, seed: int) -> None:
    building = Building(building_mean_kw=mean_kw, building_noise=0.3)

    assert building_load_kw(building, zone=NEW_YORK, seed=seed, moment=moment) >= 0


@given(seed=st.integers(0, 2**32), ordinal=st.integers(738_000, 741_000), per_day=st.floats(0, 12))
def test_surges_last_20_to_60_minutes_and_never_run_two_at_once(seed: int, ordinal: int, per_day: float) -> None:
    day = date.fromordinal(ordinal)

    found = surges(per_day, 55.0, NEW_YORK, seed, day)

    assert len(found) <= per_day + 1
    assert all(timedelta(minutes=20) <= surge.end - surge.start <= timedelta(minutes=60) for surge in found)
    assert all(earlier.end <= later.start for earlier, later in pairwise(found))
    assert all(surge.end.astimezone(NEW_YORK).date() == day for surge in found)


def test_a_surge_stands_on_top_of_the_load_while_it_runs() -> None:
    day = next(day for day in map(date.fromordinal, range(739_000, 739_030)) if surges(2.0, 55.0, NEW_YORK, 7, day))
    surge = surges(2.0, 55.0, NEW_YORK, 7, day)[0]
    calm = Building(surges_per_day=0)

    for moment, extra_kw in ((surge.start, surge.power_kw), (surge.end - timedelta(seconds=1), surge.power_kw)):
        with_surge = building_load_kw(Building(), zone=NEW_YORK, seed=7, moment=moment)
        without = building_load_kw(calm, zone=NEW_YORK, seed=7, moment=moment)
        assert with_surge - without == pytest.approx(extra_kw)
    assert building_load_kw(Building(), zone=NEW_YORK, seed=7, moment=surge.end) == pytest.approx(
        building_load_kw(calm, zone=NEW_YORK, seed=7, moment=surge.end)
    )


def test_no_surges_where_none_are_wanted() -> None:
    assert not any(surges(0.0, 55.0, NEW_YORK, 7, date(2026, 6, day)) for day in range(1, 31))


def test_another_seed_draws_another_load() -> None:
    moment = datetime(2026, 6, 25, 12, 7, tzinfo=UTC)

    loads = {building_load_kw(Building(), zone=NEW_YORK, seed=seed, moment=moment) for seed in range(20)}

    assert len(loads) == 20
