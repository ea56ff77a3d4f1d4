from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from site_model.cars import Car
from site_twin.parking import Parking
from site_twin.ports import EvseKey

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 6, 25, 12, tzinfo=UTC)
ONE, TWO = EvseKey("CP-1", 1), EvseKey("CP-1", 2)


def _car(name: str, arrival: datetime, *, hours: float = 2.0) -> Car:
    departure = arrival + timedelta(hours=hours)
    return Car(name, arrival, departure, 10.0, 0.0, 50.0, phases=3, max_current_a=16.0, draw_factor=1.0)


def _parking(*cars: Car, places: tuple[EvseKey, ...] = (ONE,), start: datetime = NOON, seed: int = 7) -> Parking:
    def arrivals(day: date) -> list[Car]:
        return [car for car in cars if car.arrival.astimezone(BERLIN).date() == day]

    return Parking(places, arrivals, zone=BERLIN, seed=seed, start=start)


def _there(parking: Parking) -> set[str]:
    return {visit.car.car_id for visit in parking.visits.values()}


def test_a_car_stands_there_from_its_arrival_until_its_departure() -> None:
    parking = _parking(_car("a", NOON + timedelta(minutes=10)))
    seen: list[bool] = []

    for minutes in (0, 9, 10, 129, 130):
        parking.turn(NOON + timedelta(minutes=minutes))
        seen.append(bool(parking.visits))

    assert seen == [False, False, True, True, False]


def test_who_finds_no_place_drives_on_and_is_counted() -> None:
    parking = _parking(_car("a", NOON + timedelta(minutes=1)), _car("b", NOON + timedelta(minutes=2)))

    parking.turn(NOON + timedelta(minutes=30))

    assert _there(parking) == {"a"}
    assert parking.turned_away == 1


def test_a_place_that_is_left_is_taken_by_the_next_even_within_one_jump() -> None:
    parking = _parking(_car("a", NOON + timedelta(minutes=1), hours=0.5), _car("b", NOON + timedelta(minutes=31)))

    parking.turn(NOON + timedelta(minutes=40))

    assert _there(parking) == {"b"}
    assert parking.turned_away == 0


def test_who_came_before_the_start_and_stays_is_plugged_in_at_the_start() -> None:
    overnight = _car("night", NOON - timedelta(hours=20), hours=24)

    parking = _parking(overnight, _car("gone", NOON - timedelta(hours=3)), places=(ONE, TWO))

    assert [(visit.car.car_id, visit.plugged_in_at) for visit in parking.visits.values()] == [("night", NOON)]


def test_cars_come_on_the_days_after_as_well() -> None:
    parking = _parking(_car("later", NOON + timedelta(days=3)))

    parking.turn(NOON + timedelta(days=3, minutes=5))

    assert _there(parking) == {"later"}


def test_the_seed_decides_who_stands_where() -> None:
    cars = [_car(f"car {number}", NOON + timedelta(minutes=number)) for number in range(2)]

    places = {
        tuple(sorted((key, visit.car.car_id) for key, visit in parking.visits.items()))
        for seed in (7, 7, *range(20))
        if (parking := _parking(*cars, places=(ONE, TWO), seed=seed), parking.turn(NOON + timedelta(hours=1)))[0]
    }

    assert len(places) == 2
