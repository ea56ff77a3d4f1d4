from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from site_model.battery import BatteryInterval, Interval, simulate
from site_model.parameters import Storage

STEP_S = 300.0
powers = st.floats(0, 200)
storages = st.builds(
    Storage,
    capacity_kwh=st.floats(1, 500),
    max_charge_power_kw=st.floats(0, 100),
    max_discharge_power_kw=st.floats(0, 100),
    round_trip_efficiency=st.floats(0.5, 1),
    reserve_percent=st.floats(0, 100),
)
days = st.lists(st.builds(Interval, local_hour=st.integers(0, 23), pv_kw=powers, building_kw=powers), max_size=60)
charges = st.floats(0, 100)


def _follow(storage: Storage, intervals: list[Interval], soc_percent: float) -> list[BatteryInterval]:
    return list(simulate(storage, intervals, step_s=STEP_S, soc_percent=soc_percent))


@given(storage=storages, intervals=days, soc_percent=charges)
def test_the_energy_balance_closes(storage: Storage, intervals: list[Interval], soc_percent: float) -> None:
    one_way = sqrt(storage.round_trip_efficiency)

    for done in _follow(storage, intervals, soc_percent):
        power_kw = done.active_power_kw
        stored_kw = power_kw * one_way if power_kw > 0 else power_kw / one_way
        gained_kwh = (done.soc_after_percent - done.soc_before_percent) / 100 * storage.capacity_kwh
        assert gained_kwh == pytest.approx(stored_kw * STEP_S / 3600, abs=1e-6)


@given(storage=storages, intervals=days, soc_percent=charges)
def test_charge_stays_within_bounds_and_powers_within_limits(
    storage: Storage, intervals: list[Interval], soc_percent: float
) -> None:
    for done in _follow(storage, intervals, soc_percent):
        assert 0 <= done.soc_after_percent <= 100
        assert -storage.max_discharge_power_kw <= done.active_power_kw <= storage.max_charge_power_kw


@given(storage=storages, intervals=days, soc_percent=charges)
def test_the_battery_never_spends_its_reserve(storage: Storage, intervals: list[Interval], soc_percent: float) -> None:
    for done in _follow(storage, intervals, soc_percent):
        assert done.soc_after_percent >= min(storage.reserve_percent, done.soc_before_percent) - 1e-9


@given(storage=storages, intervals=days, soc_percent=charges)
def test_it_is_never_charged_from_the_grid_nor_discharged_into_it(
    storage: Storage, intervals: list[Interval], soc_percent: float
) -> None:
    for met, done in zip(intervals, _follow(storage, intervals, soc_percent), strict=True):
        surplus_kw = met.pv_kw - met.building_kw
        assert min(surplus_kw, 0) <= done.active_power_kw <= max(surplus_kw, 0)


@given(storage=storages, intervals=days, soc_percent=charges)
def test_each_interval_begins_where_the_last_one_ended(
    storage: Storage, intervals: list[Interval], soc_percent: float
) -> None:
    followed = _follow(storage, intervals, soc_percent)

    assert all(earlier.soc_after_percent == later.soc_before_percent for earlier, later in pairwise(followed))


def test_what_comes_back_is_what_went_in_times_the_efficiency() -> None:
    storage = Storage(capacity_kwh=100, max_charge_power_kw=20, max_discharge_power_kw=20, reserve_percent=0)
    sunny, evening = Interval(12, 40.0, 20.0), Interval(20, 0.0, 20.0)

    powers_kw = [done.active_power_kw for done in _follow(storage, [sunny] * 24 + [evening] * 48, 0.0)]

    taken_kw, given_kw = sum(power for power in powers_kw if power > 0), -sum(power for power in powers_kw if power < 0)
    assert given_kw / taken_kw == pytest.approx(storage.round_trip_efficiency)


def test_what_the_building_lacks_before_the_evening_comes_from_the_grid() -> None:
    (done,) = _follow(Storage(), [Interval(9, 0.0, 50.0)], 90.0)

    assert done == BatteryInterval(0.0, 90.0, 90.0)


def test_an_empty_battery_answers_zero_and_not_minus_zero() -> None:
    (done,) = _follow(Storage(), [Interval(20, 0.0, 50.0)], Storage().reserve_percent)

    assert str(done.active_power_kw) == "0.0"


@pytest.mark.parametrize(
    ("name", "value"),
    [("capacity_kwh", 0), ("max_charge_power_kw", -1), ("round_trip_efficiency", 1.1), ("reserve_percent", 101)],
)
def test_impossible_batteries_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        Storage.model_validate({name: value})


def test_an_evening_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValidationError, match="BATTERY_EVENING_TO_HOUR must be later"):
        Storage(evening_from_hour=20, evening_to_hour=19)
