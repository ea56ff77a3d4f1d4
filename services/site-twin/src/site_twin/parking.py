"""Who stands where: cars come, take a free place or drive on, and leave when they said they would.

Neither limits nor energy bear on it, so the same cars stand at the same places however they are charged.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from site_model.cars import Car
from site_model.noise import draws
from site_twin.ports import EvseKey

Arrivals = Callable[[date], Sequence[Car]]
"""The cars that come on a local day, by time."""


@dataclass(slots=True)
class ParkedVisit:
    """A car at a place: energy_got_kwh [kWh] is what it has got since plugged_in_at (aware UTC)."""

    car: Car
    plugged_in_at: datetime
    energy_got_kwh: float = 0.0


class Parking:
    """The places, and who stands there."""

    def __init__(
        self, places: Sequence[EvseKey], arrivals: Arrivals, *, zone: ZoneInfo, seed: int, start: datetime
    ) -> None:
        """Open the car park.

        Args:
            places: the EVSEs.
            arrivals: who comes.
            zone: the time zone of the days that `arrivals` knows.
            seed: of who takes which place.
            start: from when on cars are plugged in, aware UTC. Who came since the day before and would still be here
                stands there from the start, and has got nothing yet.
        """
        self._places = sorted(places)
        self._arrivals, self._zone, self._seed = arrivals, zone, seed
        self._visits: dict[EvseKey, ParkedVisit] = {}
        self._coming: deque[Car] = deque()
        self._next_day = start.astimezone(zone).date() - timedelta(days=1)
        self._start = start
        self.turned_away = 0
        self.turn(start)
        self.turned_away = 0

    @property
    def visits(self) -> Mapping[EvseKey, ParkedVisit]:
        """Who stands where."""
        return self._visits

    def turn(self, moment: datetime) -> None:
        """Let everyone leave and come who does so until a moment, never one before the last; in the order of time."""
        while self._next_day <= moment.astimezone(self._zone).date():
            self._coming.extend(self._arrivals(self._next_day))
            self._next_day += timedelta(days=1)
        while self._coming and self._coming[0].arrival <= moment:
            car = self._coming.popleft()
            self._leave(car.arrival)
            self._come(car)
        self._leave(moment)

    def _leave(self, moment: datetime) -> None:
        gone = [key for key, visit in self._visits.items() if visit.car.departure <= moment]
        for key in gone:
            del self._visits[key]

    def _come(self, car: Car) -> None:
        free = [key for key in self._places if key not in self._visits]
        if not free:
            self.turned_away += 1
            return
        place = draws(self._seed, f"place of {car.car_id}", car.arrival.date()).choice(free)
        self._visits[place] = ParkedVisit(car, max(car.arrival, self._start))
