"""Cars and idle EVSEs in a reading of ChargerAPI. Terms and states follow OCPP, as in `ev_service.charging`."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from charging_agent.charging.meter_history import MeterHistory
from charging_agent.charging.sharing import Car, CarKey
from ev_service.charging import LEAST_CURRENT_A, Charger, Chargers, Evse, EvseState

_OUT_OF_ORDER = frozenset({EvseState.UNAVAILABLE, EvseState.FAULTED})


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
