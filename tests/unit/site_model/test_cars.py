from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from site_model.cars import LEAST_CURRENT_A, Car, arrivals, compute_current_a, is_asking

NEW_YORK = ZoneInfo("America/New_York")
A_THURSDAY, A_SUNDAY = date(2026, 6, 25), date(2026, 6, 28)
ARRIVAL = datetime(2026, 6, 25, 12, tzinfo=UTC)

cars = st.builds(
    Car,
    car_id=st.just("CAR-1"),
    arrival=st.just(ARRIVAL),
    departure=st.just(ARRIVAL + timedelta(hours=8)),
    energy_wanted_kwh=st.floats(1, 60),
    room_beyond_kwh=st.floats(0, 20),
    capacity_kwh=st.floats(20, 100),
    phases=st.integers(1, 3),
    max_current_a=st.sampled_from([16.0, 32.0]),
    draw_factor=st.floats(0.95, 1.02),
)


def _car(**changed: float) -> Car:
    given = {
        "energy_wanted_kwh": 30.0,
        "room_beyond_kwh": 0.0,
        "capacity_kwh": 60.0,
        "max_current_a": 16.0,
        "draw_factor": 1.0,
    } | changed
    return Car(car_id="CAR-1", arrival=ARRIVAL, departure=ARRIVAL + timedelta(hours=8), phases=3, **given)


@given(car=cars, offered_a=st.floats(0, 80), got_kwh=st.floats(0, 60))
def test_a_car_draws_nothing_or_at_least_six_amperes_and_hardly_more_than_offered(
    car: Car, offered_a: float, got_kwh: float
) -> None:
    drawn_a = compute_current_a(car, offered_a=offered_a, energy_got_kwh=got_kwh)

    assert drawn_a == 0 or drawn_a >= LEAST_CURRENT_A
    assert drawn_a <= max(min(offered_a, car.max_current_a) * 1.02, 0)


@given(car=cars, offered_a=st.floats(0, 5.99))
def test_less_than_six_amperes_is_no_offer(car: Car, offered_a: float) -> None:
    assert compute_current_a(car, offered_a=offered_a, energy_got_kwh=0.0) == 0


@given(car=cars, offered_a=st.floats(6, 80), got_kwh=st.floats(0, 60))
def test_a_car_draws_exactly_while_it_wants_energy(car: Car, offered_a: float, got_kwh: float) -> None:
    drawn_a = compute_current_a(car, offered_a=offered_a, energy_got_kwh=got_kwh)

    assert (drawn_a > 0) == is_asking(car, got_kwh)


def test_a_car_takes_less_and_less_when_it_is_nearly_full() -> None:
    car = _car()

    drawn = [compute_current_a(car, offered_a=16, energy_got_kwh=got) for got in (0.0, 23.9, 25.5, 27.0, 29.9, 30.0)]

    assert drawn == [16.0, 16.0, 12.0, 8.0, LEAST_CURRENT_A, 0.0]


def test_a_car_that_stops_before_it_is_full_does_not_take_less_first() -> None:
    car = _car(room_beyond_kwh=6.0)

    assert compute_current_a(car, offered_a=16, energy_got_kwh=29.9) == 16.0


@pytest.mark.parametrize(("factor", "drawn_a"), [(1.02, 6.12), (0.95, 6.0)])
def test_some_cars_draw_a_bit_more_than_the_least_and_none_less(factor: float, drawn_a: float) -> None:
    assert compute_current_a(_car(draw_factor=factor), offered_a=6, energy_got_kwh=0.0) == pytest.approx(drawn_a)


@given(seed=st.integers(0, 1000), days=st.integers(0, 800))
def test_cars_come_on_their_day_in_order_want_something_and_leave_later(seed: int, days: int) -> None:
    day = date(2025, 1, 1) + timedelta(days=days)

    come = arrivals(24.0, NEW_YORK, seed, day)

    assert [car.arrival for car in come] == sorted(car.arrival for car in come)
    assert len({car.car_id for car in come}) == len(come)
    for car in come:
        assert car.arrival.astimezone(NEW_YORK).date() == day
        assert car.arrival.second == car.departure.second == 0
        assert timedelta(minutes=15) < car.departure - car.arrival <= timedelta(hours=14)
        assert 0 < car.energy_wanted_kwh <= car.capacity_kwh
        assert (car.phases, car.max_current_a) in {(3, 16.0), (3, 32.0), (2, 16.0), (1, 32.0)}


def test_the_same_seed_brings_the_same_cars_and_another_seed_others() -> None:
    first = arrivals(24.0, NEW_YORK, 7, A_THURSDAY)
    arrivals.cache_clear()

    assert arrivals(24.0, NEW_YORK, 7, A_THURSDAY) == first
    assert arrivals(24.0, NEW_YORK, 8, A_THURSDAY) != first


def test_as_many_come_as_are_said_and_a_quarter_of_them_on_a_sunday() -> None:
    thursdays = [len(arrivals(10.5, NEW_YORK, seed, A_THURSDAY)) for seed in range(200)]
    sundays = [len(arrivals(10.5, NEW_YORK, seed, A_SUNDAY)) for seed in range(200)]

    assert sum(thursdays) / 200 == pytest.approx(10.5, abs=0.15)
    assert sum(sundays) / 200 == pytest.approx(0.26 * 10.5, abs=0.15)


def test_most_come_in_the_morning() -> None:
    hours = [
        car.arrival.astimezone(NEW_YORK).hour
        for seed in range(50)
        for car in arrivals(24.0, NEW_YORK, seed, A_THURSDAY)
    ]

    assert sum(8 <= hour < 11 for hour in hours) / len(hours) == pytest.approx(0.56, abs=0.06)
