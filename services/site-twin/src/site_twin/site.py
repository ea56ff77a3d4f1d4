"""The state of the simulated site: it catches up with the run's clock whenever somebody asks.

Time is followed in steps of at most a minute, on whole minutes; what cars and battery do is constant within a step,
and what is only asked for changes nothing. So the day goes the same way however often somebody looks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from ev_service.clock import Clock
from ev_service.settings import SiteSettings
from site_model.battery import Interval, simulate
from site_model.cars import LEAST_CURRENT_A, arrivals, is_asking
from site_model.parameters import SiteParameters
from site_model.scenario import Site, at_connection
from site_model.sunlight import Sun
from site_twin.charging import DRAWS_MORE, NO_DRAW, Draw, ParkedState, draw_of
from site_twin.faults import FaultBoard
from site_twin.parking import ParkedVisit, Parking
from site_twin.ports import ChargePoints, EvseKey, EvseMeter, EvsePlace, Offer, PluggedCar
from site_twin.readings import Powers

STEP_S = 60
"""Longest step [s]: short compared with changes of cars and sun, and the whole minutes on which cars come and leave."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What holds from `start` until before `end`, at the latest."""

    start: datetime
    end: datetime
    offers: Mapping[EvseKey, Offer]
    draws: Mapping[EvseKey, Draw]
    battery_kw: float
    soc_percent_per_h: float


class TwinSite:
    """The site; the charge points' `Cars` among other things."""

    def __init__(
        self,
        parameters: SiteParameters,
        sun: Sun,
        *,
        site: SiteSettings,
        clock: Clock,
        cars_per_day: float,
        building_shares: Sequence[float],
        charge_points: ChargePoints | None,
        faults: FaultBoard,
    ) -> None:
        """Begin now, with the state of charge that the battery has in the scenario without cars.

        Args:
            parameters: sun, panels, battery and building.
            sun: the typical year of the site.
            site: time zone and voltage.
            clock: the run's clock.
            cars_per_day: how many come on a weekday.
            building_shares: what part of the building's load lies on each phase of the site, together 1.
            charge_points: where they charge; None: nowhere, so none come.
            faults: what was ordered to fail.
        """
        self._parameters, self._settings, self._clock, self.faults_ordered = parameters, site, clock, faults
        self._building_shares = tuple(building_shares)
        self._story = Site(parameters, sun)
        self._zone = ZoneInfo(site.timezone)
        self._charge_points = charge_points
        places = () if charge_points is None else charge_points.places
        self.places: Mapping[EvseKey, EvsePlace] = {place.key: place for place in places}
        self._at = clock.now()
        self._soc_percent = self._story.at(self._at).soc_percent
        self._register_kwh = dict.fromkeys(self.places, 0.0)
        come = partial(arrivals, cars_per_day, self._zone, parameters.seed)
        self._parking = Parking(tuple(self.places), come, zone=self._zone, seed=parameters.seed, start=self._at)
        self._step: _Step | None = None
        self.highest_load_kw = 0.0
        self.highest_current_a = (0.0,) * len(self._building_shares)

    @property
    def turned_away(self) -> int:
        """How many cars found no free place since the start."""
        return self._parking.turned_away

    def now(self) -> datetime:
        """The run's time, aware UTC, never back."""
        return max(self._clock.now(), self._at)

    def settle(self) -> datetime:
        """Book what was drawn until now, and tell now; what is offered may change from here."""
        now = self._catch_up()
        self._book(now)
        return now

    def car_at(self, charger_id: str, evse_id: int) -> PluggedCar | None:
        """The car that stands there now."""
        now, key = self._catch_up(), EvseKey(charger_id, evse_id)
        visit = self._parking.visits.get(key)
        return None if visit is None else self._to_plugged_car(key, visit, now)

    def meter(self, charger_id: str, evse_id: int) -> EvseMeter:
        """Return the current values of the EVSE's meter."""
        now, key = self._catch_up(), EvseKey(charger_id, evse_id)
        step = self._current_step(now)
        draw = step.draws.get(key, NO_DRAW)
        return EvseMeter(
            measured_at=now,
            current_a=draw.current_a,
            power_kw=draw.power_kw,
            voltage_v=self._settings.voltage_v,
            register_kwh=self._register_kwh[key] + draw.power_kw * _hours(step.start, now),
        )

    def faults(self, charger_id: str) -> frozenset[str]:
        """How a device fails now, by order."""
        return self.faults_ordered.of(charger_id, self.now())

    def powers(self) -> Powers:
        """Where the site's power comes from and goes to now."""
        now = self._catch_up()
        return self._powers(now, self._current_step(now))

    def standing(self) -> Sequence[ParkedState]:
        """The cars that are there now, by place."""
        now = self._catch_up()
        step = self._current_step(now)
        return [
            ParkedState(key, self._to_plugged_car(key, visit, now), step.offers[key], step.draws[key])
            for key, visit in sorted(self._parking.visits.items())
        ]

    def offers(self) -> Mapping[EvseKey, Offer]:
        """What each place offers now."""
        now = self._catch_up()
        return self._offers(now)

    def charger_state(self, charger_id: str) -> Mapping[str, Any]:
        """Return the further fields of a charger."""
        return {} if self._charge_points is None else self._charge_points.state(charger_id)

    def _catch_up(self) -> datetime:
        """Follow the time until now; what is not booked yet lies in one step that reaches beyond now."""
        now = self.now()
        while (step := self._current_step(self._at)).end <= now:
            self._book(step.end)
        # Whoever changed an offer without settling first is found out here: it counts from now.
        if self._offers(now) != step.offers:
            self._book(now)
        return now

    def _current_step(self, now: datetime) -> _Step:
        if self._step is None:
            self._parking.turn(self._at)
            self._step = self._begin(self._at)
            powers = self._powers(self._at, self._step)
            self.highest_load_kw = max(self.highest_load_kw, powers.load_kw)
            self.highest_current_a = highest_of(self.highest_current_a, powers.connection_current_a)
        assert self._step.start <= now
        return self._step

    def _begin(self, start: datetime) -> _Step:
        offers = self._offers(start)
        draws = {key: self._draw(key, visit, offers[key], start) for key, visit in self._parking.visits.items()}
        end = self._end(start, draws)
        interval = Interval(
            local_hour=start.astimezone(self._zone).hour,
            pv_kw=self._story.panels_at(start).generation_kw,
            # The battery does not tell cars from the rest of the building: it sees one load.
            building_kw=self._story.building_kw(start) + sum(draw.power_kw for draw in draws.values()),
        )
        step_s = (end - start).total_seconds()
        (battery,) = simulate(self._parameters.storage, [interval], step_s=step_s, soc_percent=self._soc_percent)
        gained_percent = battery.soc_after_percent - battery.soc_before_percent
        return _Step(start, end, offers, draws, battery.active_power_kw, gained_percent / _hours(start, end))

    def _end(self, start: datetime, draws: Mapping[EvseKey, Draw]) -> datetime:
        """The next whole minute, or before that the moment at which a fault, an offer or a car's wish ends."""
        whole_s = start.timestamp() // STEP_S * STEP_S + STEP_S
        ends = [datetime.fromtimestamp(whole_s, UTC)]
        if (fault_ends := self.faults_ordered.next_end(start)) is not None:
            ends.append(fault_ends)
        if self._charge_points is not None:
            ends += filter(None, (self._charge_points.next_change(*key, start) for key in draws))
        for key, draw in draws.items():
            if draw.power_kw > 0:
                visit = self._parking.visits[key]
                left_kwh = visit.car.energy_wanted_kwh - visit.energy_got_kwh
                ends.append(start + timedelta(hours=left_kwh / draw.power_kw))
        # At least a millisecond, so that a wish that is fulfilled to a rounding error does not stop the time.
        return max(min(ends), start + timedelta(milliseconds=1))

    def _book(self, moment: datetime) -> None:
        """Make what happened until `moment` state; what follows is a step of its own."""
        step = self._current_step(moment)
        hours = _hours(step.start, moment)
        for key, draw in step.draws.items():
            energy_kwh = draw.power_kw * hours
            self._register_kwh[key] += energy_kwh
            self._parking.visits[key].energy_got_kwh += energy_kwh
        self._soc_percent = min(max(self._soc_percent + step.soc_percent_per_h * hours, 0.0), 100.0)
        self._at, self._step = moment, None

    def _offers(self, moment: datetime) -> Mapping[EvseKey, Offer]:
        given = self._charge_points
        return {} if given is None else {key: given.compute_offer(*key, moment) for key in self.places}

    def _draw(self, key: EvseKey, visit: ParkedVisit, offer: Offer, moment: datetime) -> Draw:
        return draw_of(
            visit.car,
            self.places[key],
            offer,
            energy_got_kwh=visit.energy_got_kwh,
            voltage_v=self._settings.voltage_v,
            draws_more=DRAWS_MORE in self.faults_ordered.of(key.charger_id, moment),
        )

    def _to_plugged_car(self, key: EvseKey, visit: ParkedVisit, now: datetime) -> PluggedCar:
        car, step = visit.car, self._current_step(now)
        got_kwh = visit.energy_got_kwh + step.draws[key].power_kw * _hours(step.start, now)
        return PluggedCar(
            car_id=car.car_id,
            id_token=car.car_id,
            plugged_in_at=visit.plugged_in_at,
            departure=car.departure,
            energy_wanted_kwh=car.energy_wanted_kwh,
            energy_got_kwh=got_kwh,
            phases=car.phases,
            min_current_a=LEAST_CURRENT_A,
            max_current_a=car.max_current_a,
            is_asking=is_asking(car, got_kwh),
        )

    def _powers(self, now: datetime, step: _Step) -> Powers:
        panels, building_kw = self._story.panels_at(now), self._story.building_kw(now)
        charging_kw = sum(draw.power_kw for draw in step.draws.values())
        load_kw, export_kw = at_connection(building_kw + charging_kw, step.battery_kw, panels.generation_kw)
        first, second, third = (sum(draw.current_a[line] for draw in step.draws.values()) for line in range(3))
        cars_a = (first, second, third)
        a_per_kw = 1000 / self._settings.voltage_v
        # Panels and battery stand behind inverters of as many phases as the site has, which give each the same.
        even_a = (step.battery_kw - panels.generation_kw) * a_per_kw / len(self._building_shares)
        return Powers(
            moment=now,
            generation_kw=panels.generation_kw,
            poa_global_w_m2=panels.poa_global_w_m2,
            building_kw=building_kw,
            battery_power_kw=step.battery_kw,
            soc_percent=min(max(self._soc_percent + step.soc_percent_per_h * _hours(step.start, now), 0.0), 100.0),
            charging_kw=charging_kw,
            phase_current_a=cars_a,
            load_kw=load_kw,
            export_kw=export_kw,
            connection_current_a=tuple(
                share * building_kw * a_per_kw + even_a + cars_a[line]
                for line, share in enumerate(self._building_shares)
            ),
        )


def highest_of(first_a: Sequence[float], second_a: Sequence[float]) -> tuple[float, ...]:
    """Of each phase the higher current [A]."""
    return tuple(map(max, first_a, second_a))


def _hours(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() / 3600
