"""What chargers report is believed as far as the connection's meter confirms it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.charging_agent.charging.sharing_loop import (
    HEADROOM_PERCENT,
    VOLTAGE_V,
    SharingLoop,
    Wiring,
    charger,
    chargers_reading,
    grid_reading,
    on_phases,
)

from charging_agent.charging.fleet import power_kw
from charging_agent.charging.planning import ChargingPlan
from charging_agent.charging.sharing import CarKey, SharingPolicy
from charging_agent.decision.pipeline import Decision
from charging_agent.decision.policy import Action, DecisionInputs
from charging_agent.decision.rules import Rule
from ev_service.charging import Charger, EvseState, MeterValues, Session
from ev_service.telemetry import BatteryStatus, SolarStatus

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
FAST = Decision(Rule.SOLAR_AND_BATTERY_HIGH, Action.FAST, 22.0)
HASTY = SharingPolicy(minimum_off_s=0.0, calm_s=0.0, ramp_percent_per_s=100.0)


@dataclass
class Place:
    """One EVSE and its car.

    wants_a [A]: the car draws this, up to its limit, 0 below 6 A. claims_a [A]: what is reported at the least.
    """

    wiring: Wiring
    wants_a: float = 32.0
    claims_a: float = 0.0
    limit_a: float = 6.0

    @property
    def drawn_a(self) -> float:
        drawn_a = min(self.wants_a, self.limit_a)
        return drawn_a if drawn_a >= 6 else 0.0

    @property
    def reported_a(self) -> float:
        return max(self.drawn_a, self.claims_a)


@dataclass
class Site:
    """A site whose building takes what it takes.

    building_a [A]: on L1, L2, L3. sun_kw, battery_kw [kW]: behind the same connection, even on the phases.
    confirmed_kw [kW]: what the charger service confirms of each report; None: it reads no meter.
    """

    places: list[Place]
    building_a: tuple[float, float, float] = (30.0, 30.0, 30.0)
    limit_kw: float = 100.0
    knows_phases: bool = True
    sun_kw: float = 0.0
    battery_kw: float = 0.0
    confirmed_kw: float | None = None
    now: datetime = NOON
    loop: SharingLoop = field(default_factory=lambda: SharingLoop(decision=FAST, policy=HASTY))

    @property
    def other_a(self) -> tuple[float, ...]:
        """Everything but charging, by phase."""
        even_a = (self.battery_kw - self.sun_kw) * 1000 / (3 * VOLTAGE_V)
        return tuple(one + even_a for one in self.building_a)

    @property
    def other_kw(self) -> float:
        return sum(self.other_a) * VOLTAGE_V / 1000

    @property
    def load_kw(self) -> float:
        return self.other_kw + sum(power_kw(one.drawn_a, len(one.wiring.phases), VOLTAGE_V) for one in self.places)

    def round(self, after_s: float = 15.0) -> ChargingPlan:
        """Let time pass, read, plan and obey."""
        self.now += timedelta(seconds=after_s)
        wirings = [place.wiring for place in self.places]
        drawn_a = on_phases({place.wiring.key: place.drawn_a for place in self.places}, wirings)
        current_a = tuple(a + b for a, b in zip(self.other_a, drawn_a, strict=True))
        grid = grid_reading(self.now, self.load_kw, self.limit_kw, current_a if self.knows_phases else None)
        chargers = [self._charger(place) for place in self.places]
        reading = chargers_reading(chargers, self.now, self.limit_kw, feeder_a=500.0)
        plan = self.loop.plan(
            DecisionInputs.from_readings(self.now, self._sun(), self._battery(), grid), reading, self.now
        )
        given = {one.key: one.limit_a for one in plan.allotments}
        for place in self.places:
            place.limit_a = given[place.wiring.key]
        return plan

    def planned_kw(self) -> float:
        return sum(power_kw(one.limit_a, len(one.wiring.phases), VOLTAGE_V) for one in self.places)

    def planned_a(self, phase: int) -> float:
        return sum(one.limit_a for one in self.places if phase in one.wiring.phases)

    def assert_within_headroom(self) -> None:
        share_kw = HEADROOM_PERCENT / 100 * self.limit_kw
        assert self.planned_kw() <= max(0.0, share_kw - self.other_kw) + 1e-6
        if self.knows_phases:
            share_a = share_kw * 1000 / (3 * VOLTAGE_V)
            for phase, other_a in enumerate(self.other_a, start=1):
                assert self.planned_a(phase) <= max(0.0, share_a - other_a) + 1e-6

    def _charger(self, place: Place) -> Charger:
        currents = tuple(place.reported_a if phase in place.wiring.phases else 0.0 for phase in (1, 2, 3))
        measured = MeterValues(
            measured_at=self.now,
            power_kw=power_kw(place.reported_a, len(place.wiring.phases), VOLTAGE_V),
            current_a=currents,
            confirmed_power_kw=self.confirmed_kw,
        )
        name = place.wiring.charger_id
        session = Session(session_id=name, charger_id=name, evse_id=1, started_at=NOON, energy_kwh=1.0)
        return charger(
            place.wiring, limit_a=place.limit_a, session=session, measured=measured, state=EvseState.CHARGING
        )

    def _sun(self) -> SolarStatus:
        return SolarStatus(
            site_id="greensboro",
            timestamp=self.now,
            source="simulated",
            generation_kw=self.sun_kw,
            capacity_kwp=100.0,
        )

    def _battery(self) -> BatteryStatus:
        return BatteryStatus(
            site_id="greensboro",
            timestamp=self.now,
            source="simulated",
            soc_percent=80.0,
            capacity_kwh=100.0,
            active_power_kw=self.battery_kw,
        )


def six(**changes: float) -> list[Place]:
    return [Place(Wiring(f"CP-{number}"), **changes) for number in range(1, 7)]


def liars_draw_later(loop: SharingLoop) -> float:
    """Two of six report more than they draw and then draw it; the highest load from the second round on [kW]."""
    places = six()
    for liar in places[:2]:
        liar.wants_a, liar.claims_a = 0.0, 32.0
    site = Site(places, building_a=(40.0, 40.0, 40.0), loop=loop)
    for _ in range(8):
        site.round()
    for liar in places[:2]:
        liar.wants_a = 32.0
    return site.load_kw


def test_two_of_six_that_report_more_than_they_draw_and_then_draw_it_cause_no_overload() -> None:
    assert liars_draw_later(SharingLoop(decision=FAST, policy=HASTY)) <= 85.0
    # The same site as it was before anybody asked the connection's meter.
    assert liars_draw_later(SharingLoop(decision=FAST, policy=HASTY, believes_reports=True)) > 100.0


wirings = st.lists(st.sampled_from([(1, 2, 3), (1,), (2,), (3,), (2, 3, 1)]), min_size=1, max_size=6)
amperes = st.one_of(st.sampled_from([0.0, 6.0, 10.0, 16.0, 32.0]), st.floats(0, 40))


@settings(max_examples=40)
@given(data=st.data(), building_a=st.tuples(*[st.floats(-60, 100)] * 3), knows_phases=st.booleans())
def test_whoever_lies_and_however_all_limits_together_stay_within_what_a_constant_building_leaves(
    data: st.DataObject, building_a: tuple[float, float, float], knows_phases: bool
) -> None:
    places = [
        Place(Wiring(f"CP-{number}", phases), wants_a=0.0, limit_a=0.0)
        for number, phases in enumerate(data.draw(wirings), start=1)
    ]
    liars = data.draw(st.sets(st.sampled_from(range(len(places)))))
    site = Site(places, building_a, limit_kw=data.draw(st.sampled_from([40.0, 100.0])), knows_phases=knows_phases)
    # The cars come after the agent has begun; what it finds at its start is tried below.
    site.round()
    for _ in range(data.draw(st.integers(2, 9))):
        for number, place in enumerate(places):
            place.wants_a = data.draw(amperes)
            place.claims_a = data.draw(st.one_of(amperes, st.just(place.limit_a))) if number in liars else 0.0
        site.sun_kw, site.battery_kw = data.draw(st.floats(0, 30)), data.draw(st.floats(-20, 20))
        site.round(after_s=data.draw(st.sampled_from([15.0, 15.0, 60.0, 600.0])))

        site.assert_within_headroom()


def test_a_liar_leaves_honest_cars_what_they_would_have_if_it_drew_what_it_reports() -> None:
    def given_kw(claims_a: float, wants_a: float) -> float:
        places = [*six(wants_a=20.0)[:5], Place(Wiring("CP-6"), wants_a=wants_a, claims_a=claims_a)]
        site = Site(places, building_a=(50.0, 50.0, 50.0))
        for _ in range(12):
            site.round()
        return sum(power_kw(one.drawn_a, 3, VOLTAGE_V) for one in places[:5])

    assert given_kw(claims_a=20.0, wants_a=0.0) >= 0.99 * given_kw(claims_a=0.0, wants_a=20.0)


def test_what_cars_drew_before_the_agent_began_is_believed_once_report_and_load_follow_a_limit() -> None:
    site = Site(six()[:2], building_a=(72.0, 72.0, 72.0))

    first = site.round()
    later = [site.round() for _ in range(4)]

    assert first.headroom is not None
    assert first.headroom.charging_kw == 0
    assert later[-1].headroom is not None
    assert later[-1].headroom.unconfirmed_kw == pytest.approx(0.0, abs=0.01)
    assert 84 < site.load_kw <= 85


def test_a_charger_whose_report_rises_without_the_load_is_contradicted_and_no_other() -> None:
    places = six(wants_a=16.0)[:3]
    site = Site(places)
    for _ in range(8):
        site.round()
    places[0].claims_a = 40.0
    for _ in range(8):
        site.round()

    assert site.loop.evidence.contradicted == {places[0].wiring.key}

    places[0].wants_a = 0.0
    places[0].claims_a = 0.0
    for _ in range(8):
        site.round()

    assert site.loop.evidence.contradicted == frozenset[CarKey]()


def test_what_the_charger_service_confirms_counts_where_it_knows_more() -> None:
    def room_kw(confirmed_kw: float | None) -> float:
        site = Site([Place(Wiring("CP-1"), limit_a=16.0)], confirmed_kw=confirmed_kw)
        return site.round().room.total_kw

    building_kw, drawn_kw = 90 * 0.23, 16 * 0.69
    assert room_kw(None) == pytest.approx(85 - building_kw - drawn_kw)
    assert room_kw(0.0) == pytest.approx(85 - building_kw - drawn_kw)
    assert room_kw(5.0) == pytest.approx(85 - building_kw - drawn_kw + 5)
    assert room_kw(drawn_kw) == pytest.approx(85 - building_kw)
