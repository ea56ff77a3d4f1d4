"""Cars and idle EVSEs in a reading of ChargerAPI, and their recent meter values.

Terms and states follow OCPP, as in `ev_service.charging`.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from charging_agent.charging.sharing import Car, CarKey
from ev_service.charging import LEAST_CURRENT_A, Charger, Chargers, Evse, EvseState, MeterValues

# As many as come between two looks, and some; values of chargers come every 10 to 60 s.
_MAX_VALUES = 32

_TOLERANCE = 1.2
"""How much power currents may say at the nominal voltage, over what was measured: power factor and low voltage."""

_OUT_OF_ORDER = frozenset({EvseState.UNAVAILABLE, EvseState.FAULTED})


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


@dataclass(frozen=True, slots=True)
class UncontrolledCar:
    """A car that no limit reaches: its charger is not connected or out of order."""

    key: CarKey
    """Charger and EVSE."""
    phases: tuple[int, ...]
    """Phases of the site that the EVSE is wired to (1 to 3)."""
    feeder_id: str
    """Feeder of the charger."""
    may_draw_a: float
    """Highest current per phase that it may draw [A]: its limit, or the fallback after that lapses."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The cars to share power among, idle EVSEs, and cars beyond control."""

    cars: tuple[Car, ...]
    """Cars that a limit reaches."""
    idle: tuple[CarKey, ...]
    """EVSEs without a car that a limit would reach."""
    uncontrolled: tuple[UncontrolledCar, ...]
    """Cars that no limit reaches."""


def car_name(key: CarKey) -> str:
    """Format the key of a car as `charger/EVSE`."""
    return f"{key[0]}/{key[1]}"


def iter_evses(reading: Chargers) -> Iterator[tuple[CarKey, Charger, Evse]]:
    """Iterate over all EVSEs with their key and charger."""
    for charger in reading.chargers:
        for evse in charger.evses:
            yield (charger.charger_id, evse.evse_id), charger, evse


def drop_future_values(reading: Chargers, ahead_s: float) -> Chargers:
    """The reading without meter values of a moment after it: where the clock was set back, their age is not known.

    Args:
        reading: as it was answered.
        ahead_s: clocks of two devices may differ by so much [s].
    """
    latest = reading.timestamp + timedelta(seconds=ahead_s)
    ahead = {key for key, _, evse in iter_evses(reading) if evse.measured and evse.measured.measured_at > latest}
    if not ahead:
        return reading
    return reading.model_copy(update={"chargers": tuple(_drop_values(charger, ahead) for charger in reading.chargers)})


def _drop_values(charger: Charger, unmeasured: Set[CarKey]) -> Charger:
    evses = tuple(
        evse.model_copy(update={"measured": None}) if (charger.charger_id, evse.evse_id) in unmeasured else evse
        for evse in charger.evses
    )
    return charger.model_copy(update={"evses": evses})


def limit_in_force_a(evse: Evse) -> float:
    """The limit in force per phase [A]: the one that was set, else the fallback."""
    return evse.fallback_a if evse.limit_a is None else evse.limit_a


def power_kw(current_a: float, phases: int, voltage_v: float) -> float:
    """Power of a current on a number of phases [kW].

    >>> power_kw(16.0, 3, 230.0)
    11.04
    """
    return current_a * phases * voltage_v / 1000


def build_fleet(
    reading: Chargers, meter_history: MeterHistory, now: datetime, caps: Mapping[CarKey, float] | None = None
) -> Fleet:
    """Find the cars in a reading.

    Args:
        reading: the newest one.
        meter_history: meter values of the cars.
        now: the run's time.
        caps: no car gets more than this [A] per phase, and a car that is not named nothing; None: no caps. For a
            reading that could not be renewed.
    """
    cars, idle, uncommanded = list[Car](), list[CarKey](), list[UncontrolledCar]()
    for key, charger, evse in iter_evses(reading):
        is_reached = charger.is_connected and evse.state not in _OUT_OF_ORDER
        if evse.session is None:
            idle += [key] if is_reached else []
        elif is_reached:
            most_a = evse.max_current_a if caps is None else min(evse.max_current_a, caps.get(key, 0.0))
            cars.append(_build_car(key, charger, evse, most_a, meter_history.is_measured(evse, now)))
        else:
            may_draw_a = min(evse.max_current_a, max(limit_in_force_a(evse), evse.fallback_a))
            uncommanded.append(UncontrolledCar(key, evse.phases, charger.feeder_id, may_draw_a))
    return Fleet(tuple(cars), tuple(idle), tuple(uncommanded))


def _build_car(key: CarKey, charger: Charger, evse: Evse, most_a: float, is_measured: bool) -> Car:
    session, measured = evse.session, evse.measured if is_measured else None
    assert session is not None
    if measured is None:
        # What it draws counts twice, as load and as limit, and a large car would be stopped and started by that for
        # ever. With the least current that is little, and it begins there anyway.
        most_a = min(most_a, LEAST_CURRENT_A)
    left_kwh = None if session.energy_wanted_kwh is None else max(0.0, session.energy_wanted_kwh - session.energy_kwh)
    return Car(
        key=key,
        phases=evse.phases,
        max_a=most_a,
        priority=session.priority,
        guaranteed_a=session.guaranteed_a,
        mode=session.mode,
        energy_left_kwh=left_kwh,
        departure=session.departure,
        can_switch_phases=evse.can_switch_phases,
        feeder_id=charger.feeder_id,
        drawn_a=None if measured is None else measured.current_a,
        limit_a=limit_in_force_a(evse),
        is_charging=evse.state is EvseState.CHARGING,
        # A car that takes nothing now may want again, and could not show it at 0 A. One that has left cannot.
        wants=evse.state is not EvseState.AVAILABLE,
    )
