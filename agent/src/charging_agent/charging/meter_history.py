"""What cars are known to draw: their meter values of late, and how much of them may count at a moment.

Pure: is told readings and moments. Two meters never speak of the same moment: a car that began to draw after the grid
was read is not in the grid's load, and taking it out of that load would make room that is not there. So the least
counts that the car drew from the last value before that moment on.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

from charging_agent.charging.sharing import CarKey
from ev_service.charging import Chargers, Evse, MeterValues

# As many as come between two looks, and some; values of chargers come every 10 to 60 s.
_MAX_VALUES = 32

_TOLERANCE = 1.2
"""How much power currents may say at the nominal voltage, over what was measured: power factor and low voltage."""


class MeterHistory:
    """Recent meter values of the cars."""

    def __init__(self, meter_lost_s: float) -> None:
        self._meter_lost = timedelta(seconds=meter_lost_s)
        self._values: dict[CarKey, deque[MeterValues]] = {}

    def add_reading(self, reading: Chargers) -> None:
        """Add the meter values of a reading and drop those of cars that have left."""
        there = {
            (charger.charger_id, evse.evse_id): evse
            for charger in reading.chargers
            for evse in charger.evses
            if evse.session is not None
        }
        self._values = {key: self._append_value(key, evse) for key, evse in there.items()}

    def is_measured(self, evse: Evse, now: datetime) -> bool:
        """Whether the newest value of an EVSE is young enough to count at `now`."""
        return evse.measured is not None and now - evse.measured.measured_at <= self._meter_lost

    def min_power_kw(self, key: CarKey, at: datetime, now: datetime) -> float:
        """What a car drew at the least from the last value before `at` on [kW]; 0 where that is not known.

        Args:
            key: the car.
            at: the moment of the load that its power is a part of.
            now: the run's time; the newest value must be young enough.
        """
        return min((value.power_kw for value in self._values_since(key, at, now)), default=0.0)

    def min_current_a(self, key: CarKey, phase: int, at: datetime, now: datetime, voltage_v: float) -> float:
        """What a car drew on one phase of the site at the least, in the same span [A]; 0 where that is not known.

        Args:
            key: the car.
            phase: 1, 2 or 3.
            at: the moment of the load that its current is a part of.
            now: the run's time; the newest value must be young enough.
            voltage_v: between phase and neutral [V].
        """
        currents = (certain_currents_a(value, voltage_v) for value in self._values_since(key, at, now))
        return min((one[phase - 1] if phase <= len(one) else 0.0 for one in currents), default=0.0)

    def _values_since(self, key: CarKey, at: datetime, now: datetime) -> Sequence[MeterValues]:
        """The values from the last one before `at` on; none where they do not tell what was drawn then."""
        values = self._values.get(key)
        if not values or now - values[-1].measured_at > self._meter_lost:
            return ()
        before = [value for value in values if value.measured_at <= at]
        return [*before[-1:], *(value for value in values if value.measured_at > at)] if before else ()

    def _append_value(self, key: CarKey, evse: Evse) -> deque[MeterValues]:
        values = self._values.get(key) or deque(maxlen=_MAX_VALUES)
        measured = evse.measured
        if measured is not None and (not values or measured.measured_at > values[-1].measured_at):
            values.append(measured)
        return values


def certain_currents_a(value: MeterValues, voltage_v: float) -> tuple[float, ...]:
    """What was certainly drawn on L1, L2, L3 of the site [A]; nothing where the phases are not certain.

    Currents that say more than the power are those of phases on which it may have been drawn, not of those on which
    it was.

    Args:
        value: of one EVSE.
        voltage_v: between phase and neutral [V].
    """
    if sum(value.current_a) * voltage_v / 1000 > _TOLERANCE * value.power_kw:
        return ()
    return tuple(max(0.0, current_a) for current_a in value.current_a)
