"""What the meter of the connection confirms of what chargers report."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_service.charging_evidence import ChargingEvidence, ConnectionLoad, EvseKey, ReportedCharging

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
ONE, TWO = ("CP-1", 1), ("CP-2", 1)
ODD = (math.nan, math.inf, -math.inf, -5.0, 1e308, 5e-324)


class Meter:
    """A connection that is read every so often, with the reports of that moment."""

    def __init__(self) -> None:
        self.evidence = ChargingEvidence(window_s=90)
        self.now = NOON

    def read(
        self, load_kw: float, reports_kw: dict[EvseKey, float] | None, *, after_s: float = 15.0, **others_kw: float
    ) -> dict[EvseKey, float]:
        self.now += timedelta(seconds=after_s)
        reports = None if reports_kw is None else {key: ReportedCharging(one) for key, one in reports_kw.items()}
        self.evidence.observe(ConnectionLoad(self.now, load_kw, others_kw=others_kw), reports)
        return dict(self.evidence.confirm().power_kw)

    def wait(self, load_kw: float, reports_kw: dict[EvseKey, float], rounds: int = 8) -> dict[EvseKey, float]:
        return [self.read(load_kw, reports_kw) for _ in range(rounds)][-1]


def test_nothing_is_confirmed_by_the_first_reading() -> None:
    assert Meter().read(50.0, {ONE: 11.0}) == {ONE: 0.0}


def test_a_rise_is_confirmed_up_to_the_rise_of_the_load() -> None:
    meter = Meter()
    meter.read(20.0, {ONE: 0.0, TWO: 0.0})

    assert meter.read(31.0, {ONE: 11.0, TWO: 0.0}) == {ONE: 11.0, TWO: 0.0}
    assert meter.read(35.0, {ONE: 11.0, TWO: 8.0}) == {ONE: 11.0, TWO: 4.0}


@pytest.mark.parametrize("is_report_first", [True, False])
def test_report_and_load_may_come_one_after_the_other(is_report_first: bool) -> None:
    meter = Meter()
    meter.read(20.0, {ONE: 0.0})
    meter.read(20.0 if is_report_first else 31.0, {ONE: 11.0 if is_report_first else 0.0}, after_s=60)

    assert meter.read(31.0, {ONE: 11.0}, after_s=30) == {ONE: 11.0}


def test_a_rise_of_the_building_long_after_a_report_confirms_nothing() -> None:
    meter = Meter()
    meter.read(20.0, {ONE: 0.0})
    meter.wait(20.0, {ONE: 11.0})

    assert meter.wait(60.0, {ONE: 11.0}) == {ONE: 0.0}
    assert meter.evidence.confirm().contradicted == {ONE}


def test_what_stops_without_a_word_is_not_confirmed_any_more() -> None:
    meter = Meter()
    meter.read(20.0, {ONE: 0.0})
    meter.read(31.0, {ONE: 11.0})

    assert meter.wait(20.0, {ONE: 11.0}) == {ONE: 0.0}


def test_what_battery_and_sun_do_neither_confirms_nor_takes_away() -> None:
    meter = Meter()
    meter.read(20.0, {ONE: 0.0, TWO: 5.0}, sun_kw=-10.0, battery_kw=0.0)
    meter.read(31.0, {ONE: 11.0, TWO: 5.0}, sun_kw=-10.0, battery_kw=0.0)

    assert meter.read(6.0, {ONE: 11.0, TWO: 5.0}, sun_kw=-30.0, battery_kw=-5.0) == {ONE: 11.0, TWO: 0.0}
    assert meter.read(36.0, {ONE: 11.0, TWO: 16.0}, sun_kw=-5.0, battery_kw=0.0) == {ONE: 11.0, TWO: 0.0}


def test_a_load_without_new_reports_confirms_no_more_than_fits_into_it() -> None:
    meter = Meter()
    meter.read(20.0, {ONE: 0.0})
    meter.read(31.0, {ONE: 11.0})

    assert meter.read(24.0, None) == {ONE: pytest.approx(4.0)}
    assert meter.read(31.0, None) == {ONE: 11.0}


def test_phases_tell_who_of_two_drew() -> None:
    evidence = ChargingEvidence()

    def read(second: float, load_a: tuple[float, float, float], one_a: float, two_a: float) -> None:
        reports = {
            ONE: ReportedCharging(one_a * 0.23, (one_a, 0.0, 0.0)),
            TWO: ReportedCharging(two_a * 0.23, (0.0, two_a, 0.0)),
        }
        load = ConnectionLoad(NOON + timedelta(seconds=second), sum(load_a) * 0.23, load_a)
        evidence.observe(load, reports)

    read(0, (30.0, 20.0, 10.0), 0.0, 0.0)
    read(15, (30.0, 36.0, 10.0), 16.0, 16.0)

    confirmed = evidence.confirm()
    assert confirmed.power_kw == {ONE: 0.0, TWO: pytest.approx(3.68)}
    assert (confirmed.phase_a(ONE, 1), confirmed.phase_a(TWO, 2)) == (0.0, pytest.approx(16.0))


def test_phases_that_become_known_later_keep_what_was_confirmed() -> None:
    evidence = ChargingEvidence()
    for second, load_kw, current_a in ((0, 20.0, None), (15, 31.04, None), (30, 31.04, (45.0, 45.0, 45.0))):
        reported_a = 0.0 if second == 0 else 16.0
        reports = {ONE: ReportedCharging(reported_a * 0.69, (reported_a,) * 3)}
        evidence.observe(ConnectionLoad(NOON + timedelta(seconds=second), load_kw, current_a), reports)

    assert evidence.confirm().power_kw == {ONE: pytest.approx(11.04)}
    assert evidence.confirm().phase_a(ONE, 3) == pytest.approx(16.0)


def test_a_clock_that_is_set_back_changes_nothing_that_was_confirmed() -> None:
    meter = Meter()
    meter.read(20.0, {ONE: 0.0})
    meter.read(31.0, {ONE: 11.0})

    assert meter.read(31.0, {ONE: 11.0}, after_s=-3600) == {ONE: 11.0}
    assert meter.read(35.0, {ONE: 15.0}) == {ONE: 15.0}


@given(
    readings=st.lists(
        st.tuples(
            st.one_of(st.floats(-50, 100), st.sampled_from(ODD)),
            st.dictionaries(
                st.sampled_from([ONE, TWO, ("CP-3", 1)]), st.one_of(st.floats(0, 60), st.sampled_from(ODD))
            ),
            st.sampled_from([-3600.0, 0.0, 15.0, 600.0]),
        ),
        max_size=8,
    )
)
def test_whatever_is_reported_and_measured_what_is_confirmed_is_a_part_of_the_report(
    readings: list[tuple[float, dict[EvseKey, float], float]],
) -> None:
    meter = Meter()
    for load_kw, reports_kw, after_s in readings:
        before = meter.evidence.confirm().power_kw
        confirmed = meter.read(load_kw, reports_kw, after_s=after_s)

        if confirmed != before:
            assert all(0 <= amount <= reports_kw[key] + 1e-9 for key, amount in confirmed.items())


def test_what_a_change_confirmed_stays_so_while_the_building_hides_it_and_goes_with_the_report() -> None:
    meter = Meter()
    meter.read(20.0, {ONE: 0.0})
    meter.read(31.0, {ONE: 11.0})
    meter.wait(60.0, {ONE: 11.0})
    meter.read(31.0, {ONE: 11.0})

    hidden = meter.evidence.confirm()
    meter.read(31.0, {ONE: 4.0})

    assert hidden.power_kw == {ONE: 0.0}
    assert hidden.by_change_kw == {ONE: 11.0}
    assert meter.evidence.confirm().by_change_kw == {ONE: 4.0}


def test_a_report_that_the_load_never_followed_is_not_confirmed_by_change() -> None:
    meter = Meter()
    meter.read(20.0, {ONE: 0.0})
    meter.wait(20.0, {ONE: 11.0})

    assert meter.evidence.confirm().by_change_kw == {ONE: 0.0}
