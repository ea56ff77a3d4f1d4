"""Cars that stand where they are put and take what they are offered: for charge points without a whole site.

Energy follows what was offered since the last look, whatever happened between.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from ev_service.charging import LEAST_CURRENT_A
from ev_service.clock import Clock
from site_twin.charge_points.evses import EvsePlan
from site_twin.ports import EvseKey, EvseMeter, Offer, PluggedCar


class NoCars:
    """Nobody ever comes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """The run's time."""
        return self._clock.now()

    def settle(self) -> datetime:
        """Nothing is to be booked."""
        return self.now()

    def car_at(self, charger_id: str, evse_id: int) -> PluggedCar | None:
        """None."""
        return None

    def meter(self, charger_id: str, evse_id: int) -> EvseMeter:
        """Nothing flows."""
        return EvseMeter(self.now(), (0.0, 0.0, 0.0), 0.0, 230.0, 0.0)

    def faults(self, charger_id: str) -> frozenset[str]:
        """None."""
        return frozenset()


class Point(Protocol):
    """What is asked of the charge point where a car stands; `ChargePoint` is one."""

    charger_id: str

    def plan(self, evse_id: int) -> EvsePlan:
        """How an EVSE is built."""
        ...

    def compute_offer(self, evse_id: int, moment: datetime) -> Offer:
        """What an EVSE offers at a moment."""
        ...


@dataclass(slots=True)
class _Place:
    point: Point
    car: PluggedCar
    draws: float


class ParkedCars(NoCars):
    """Cars by the place where they stand; each takes all that it is offered and can take.

    ordered: kinds of fault in force, by charger; to be changed at will.
    """

    voltage_v = 230.0

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.ordered: defaultdict[str, set[str]] = defaultdict(set)
        self._places: dict[EvseKey, _Place] = {}
        self._registers_kwh: defaultdict[EvseKey, float] = defaultdict(float)
        self._settled = clock.now()
        self._came = 0

    def plug(
        self,
        point: Point,
        evse_id: int = 1,
        *,
        phases: int = 3,
        max_current_a: float = 32.0,
        energy_wanted_kwh: float = 40.0,
        hours: float = 8.0,
        draws: float = 1.0,
    ) -> PluggedCar:
        """Put a car where none stands, or in the place of the one that does.

        Args:
            point: the charge point.
            evse_id: where.
            phases: of the car's own charger, 1 to 3.
            max_current_a: what it takes at most per phase [A].
            energy_wanted_kwh: until it is full [kWh].
            hours: until it wants to leave [h]; it stays until it is unplugged.
            draws: part of what it is offered that it takes; above 1 it takes more than it is allowed.
        """
        now = self.settle()
        self._came += 1
        car = PluggedCar(
            car_id=f"car-{self._came}",
            id_token=f"driver-{self._came}",
            plugged_in_at=now,
            departure=now + timedelta(hours=hours),
            energy_wanted_kwh=energy_wanted_kwh,
            energy_got_kwh=0.0,
            phases=phases,
            min_current_a=LEAST_CURRENT_A,
            max_current_a=max_current_a,
            is_asking=True,
        )
        self._places[EvseKey(point.charger_id, evse_id)] = _Place(point, car, draws)
        return car

    def unplug(self, charger_id: str, evse_id: int = 1) -> None:
        """Let the car leave."""
        self.settle()
        del self._places[EvseKey(charger_id, evse_id)]

    def settle(self) -> datetime:
        """Book what was drawn, in steps of at most a minute."""
        now = self.now()
        for key, place in self._places.items():
            moment = self._settled
            while moment < now:
                until = min(now, moment + timedelta(minutes=1))
                drawn_kwh = self._power_kw(key, place, moment) * (until - moment) / timedelta(hours=1)
                self._registers_kwh[key] += drawn_kwh
                got_kwh = place.car.energy_got_kwh + drawn_kwh
                is_asking = got_kwh < place.car.energy_wanted_kwh
                place.car = replace(place.car, energy_got_kwh=got_kwh, is_asking=is_asking)
                moment = until
        self._settled = now
        return now

    def car_at(self, charger_id: str, evse_id: int) -> PluggedCar | None:
        """The car that stands there."""
        self.settle()
        place = self._places.get(EvseKey(charger_id, evse_id))
        return None if place is None else place.car

    def meter(self, charger_id: str, evse_id: int) -> EvseMeter:
        """What flows now."""
        now, key = self.settle(), EvseKey(charger_id, evse_id)
        place = self._places.get(key)
        lines_a = [0.0, 0.0, 0.0]
        if place is not None:
            current_a, phases = self._compute_currents(key, place, now)
            for phase in phases:
                lines_a[phase - 1] = current_a
        current_a = (lines_a[0], lines_a[1], lines_a[2])
        power_kw = sum(lines_a) * self.voltage_v / 1000
        return EvseMeter(now, current_a, power_kw, self.voltage_v, self._registers_kwh[key])

    def faults(self, charger_id: str) -> frozenset[str]:
        """What was ordered."""
        return frozenset(self.ordered[charger_id])

    def _power_kw(self, key: EvseKey, place: _Place, moment: datetime) -> float:
        current_a, phases = self._compute_currents(key, place, moment)
        return current_a * len(phases) * self.voltage_v / 1000

    def _compute_currents(self, key: EvseKey, place: _Place, moment: datetime) -> tuple[float, tuple[int, ...]]:
        """Current [A] on each of these phases of the site."""
        offer, wired = place.point.compute_offer(key.evse_id, moment), place.point.plan(key.evse_id).phases
        if not place.car.is_asking or offer.limit_a < place.car.min_current_a:
            return 0.0, ()
        phases = wired[: min(place.car.phases, offer.phases or len(wired))]
        return min(offer.limit_a * place.draws, place.car.max_current_a), phases
