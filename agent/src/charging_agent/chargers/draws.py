"""What cars are known to draw: their meter values of late, and how much of them may count at a moment.

Pure: is told readings and moments. Two meters never speak of the same moment: a car that began to draw after the grid
was read is not in the grid's load, and taking it out of that load would make room that is not there. So the least
counts that the car drew from the last value before that moment on.
"""

from collections import deque
from datetime import datetime, timedelta

from charging_agent.sharing import CarKey
from ev_service.charging import Chargers, Evse

# As many as come between two looks, and some; values of chargers come every 10 to 60 s.
_MOST_VALUES = 32


class Draws:
    """Meter values of the cars.

    Args:
        meter_lost_s: a value older than this [s] says nothing about now.
    """

    def __init__(self, meter_lost_s: float) -> None:
        self._meter_lost = timedelta(seconds=meter_lost_s)
        self._values: dict[CarKey, deque[tuple[datetime, float]]] = {}

    def note(self, reading: Chargers) -> None:
        """Keep the meter values of a reading; those of cars that are gone go with them."""
        there = {
            (charger.charger_id, evse.evse_id): evse
            for charger in reading.chargers
            for evse in charger.evses
            if evse.session is not None
        }
        self._values = {key: self._with(key, evse) for key, evse in there.items()}

    def is_measured(self, evse: Evse, now: datetime) -> bool:
        """Whether the newest value of an EVSE is young enough to count at `now`."""
        return evse.measured is not None and now - evse.measured.measured_at <= self._meter_lost

    def least_kw(self, key: CarKey, at: datetime, now: datetime) -> float:
        """What a car drew at the least from the last value before `at` on [kW]; 0 where that is not known.

        Args:
            key: the car.
            at: the moment of the load that its power is a part of.
            now: the run's time; the newest value must be young enough.
        """
        values = self._values.get(key)
        if not values or now - values[-1][0] > self._meter_lost:
            return 0.0
        before = [power_kw for moment, power_kw in values if moment <= at]
        since = [power_kw for moment, power_kw in values if moment > at]
        return min([*before[-1:], *since]) if before else 0.0

    def _with(self, key: CarKey, evse: Evse) -> deque[tuple[datetime, float]]:
        values = self._values.get(key) or deque(maxlen=_MOST_VALUES)
        measured = evse.measured
        if measured is not None and (not values or measured.measured_at > values[-1][0]):
            values.append((measured.measured_at, measured.power_kw))
        return values
