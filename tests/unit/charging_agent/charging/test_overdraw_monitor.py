"""Meter values say whether the cars keep to their limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from charging_agent.charging.meter_checks import Alarms, OverdrawMonitor
from ev_service.charging import Charger, Chargers, Evse, EvseState, Feeder, MeterValues, Session

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
KEY = ("CP-1", 1)


class Watch:
    """One car, looked at every 15 s."""

    def __init__(self) -> None:
        self.confirmation = OverdrawMonitor(overdraw_s=60, meter_lost_s=90, tolerance_a=1.0)
        self.now = NOON

    def look(
        self,
        drawn_a: float,
        limit_a: float,
        *,
        measured_s_ago: float = 2.0,
        session: str = "one",
        state: EvseState = EvseState.CHARGING,
        measured: MeterValues | None = None,
    ) -> Alarms:
        self.now += timedelta(seconds=15)
        measured_at = self.now - timedelta(seconds=measured_s_ago)
        if measured is None:
            measured = MeterValues(measured_at=measured_at, power_kw=drawn_a * 0.69, current_a=(drawn_a,) * 3)
        evse = Evse(
            evse_id=1,
            state=state,
            phases=(1, 2, 3),
            max_current_a=32.0,
            fallback_a=6.0,
            limit_a=limit_a,
            measured=measured.model_copy(update={"measured_at": measured_at}),
            session=Session(session_id=session, charger_id="CP-1", evse_id=1, started_at=NOON, energy_kwh=1.0),
        )
        charger = Charger(charger_id="CP-1", is_connected=True, feeder_id="main", evses=(evse,))
        return self.confirmation.check(
            Chargers(
                site_id="greensboro",
                timestamp=self.now,
                source="ocpp",
                site_limit_kw=100.0,
                voltage_v=230.0,
                phases=3,
                feeders=(Feeder(feeder_id="main", limit_a=125.0),),
                chargers=(charger,),
            ),
            self.now,
        )


def test_a_car_above_its_limit_for_longer_than_is_allowed_is_alarmed() -> None:
    watch = Watch()

    alarms = [watch.look(16.0, 10.0).overdrawing for _ in range(5)]

    assert alarms == [(), (), (), (), (KEY,)]


def test_a_car_within_its_tolerance_is_not() -> None:
    watch = Watch()

    assert [watch.look(6.9, 6.0).overdrawing for _ in range(8)] == [()] * 8


def test_a_car_that_is_lowered_every_round_and_follows_is_not() -> None:
    watch = Watch()
    limits = [32.0 - 2 * number for number in range(13)]

    # It draws what it was allowed in the round before: nothing acts at once.
    alarms = [watch.look(former, limit_a).overdrawing for former, limit_a in zip([32.0, *limits], limits, strict=False)]

    assert alarms == [()] * 13


def test_the_alarm_ends_when_the_car_obeys_or_another_one_comes() -> None:
    obeying, leaving = Watch(), Watch()
    for watch in (obeying, leaving):
        assert [watch.look(16.0, 10.0) for _ in range(6)][-1].overdrawing == (KEY,)

    assert obeying.look(10.0, 10.0).overdrawing == ()
    assert leaving.look(16.0, 10.0, session="two").overdrawing == ()


@pytest.mark.parametrize("limit_a", [0.0, 6.0])
def test_a_meter_that_stands_still_says_nothing_about_the_limit(limit_a: float) -> None:
    watch = Watch()

    alarms = [watch.look(16.0, limit_a, measured_s_ago=15.0 * number) for number in range(1, 12)]

    assert {alarm.overdrawing for alarm in alarms} == {()}


def test_a_lost_meter_is_alarmed_when_it_is_seen_twice() -> None:
    watch = Watch()

    alarms = [watch.look(16.0, 16.0, measured_s_ago=age_s).without_meter for age_s in (2, 300, 2, 300, 315)]

    assert alarms == [(), (), (), (), (KEY,)]


def test_a_car_that_does_not_charge_needs_no_meter_values() -> None:
    watch = Watch()

    assert [
        watch.look(0.0, 0.0, measured_s_ago=300.0, state=EvseState.SUSPENDED_EVSE).without_meter for _ in range(3)
    ] == [()] * 3


@pytest.mark.parametrize(
    ("drawn_a", "limit_a", "shown_a", "is_implausible"),
    [
        (10.0, 10.0, 30.0, False),
        (16.0, 16.0, 32.0, True),
        (28.0, 28.0, 32.0, True),
    ],
    ids=["on each phase all of it", "the rating on each", "near the rating"],
)
def test_an_obedient_car_whose_meter_sends_power_alone_is_not_alarmed(
    drawn_a: float, limit_a: float, shown_a: float, is_implausible: bool
) -> None:
    watch = Watch()
    power_alone = MeterValues(
        measured_at=NOON, power_kw=3 * drawn_a * 0.23, current_a=(shown_a,) * 3, is_implausible=is_implausible
    )

    alarms = [watch.look(drawn_a, limit_a, measured=power_alone).overdrawing for _ in range(8)]

    assert alarms == [()] * 8


def test_more_power_than_the_limit_gives_on_all_phases_is_alarmed_without_currents() -> None:
    watch = Watch()
    power_alone = MeterValues(measured_at=NOON, power_kw=11.04, current_a=(32.0,) * 3, is_implausible=True)

    alarms = [watch.look(16.0, 10.0, measured=power_alone).overdrawing for _ in range(5)]

    assert alarms == [(), (), (), (), (KEY,)]


def test_current_on_one_phase_counts_where_the_meter_tells_it() -> None:
    watch = Watch()
    one_phase = MeterValues(measured_at=NOON, power_kw=3.68, current_a=(16.0, 0.0, 0.0))

    alarms = [watch.look(16.0, 10.0, measured=one_phase).overdrawing for _ in range(5)]

    assert alarms == [(), (), (), (), (KEY,)]
