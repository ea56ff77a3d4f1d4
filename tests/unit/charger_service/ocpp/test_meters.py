"""What meter values mean."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charger_service.ocpp.meters import moment, reading
from charger_service.ocpp.profiles import Conversion, in_tenths, in_watts

NOW = datetime(2026, 6, 21, 12, tzinfo=UTC)


def read(*samples: dict[str, Any]) -> Any:
    return reading({"timestamp": "2026-06-21T11:59:00Z", "sampled_value": list(samples)}, None)


def test_a_sample_without_words_is_an_energy_register_in_watt_hours() -> None:
    assert read({"value": "1500"}).energy_kwh == 1.5


def test_power_of_phases_is_added_up_where_no_total_is_given() -> None:
    samples = [{"value": "2000", "measurand": "Power.Active.Import", "phase": f"L{line}"} for line in (1, 2, 3)]

    assert read(*samples).power_kw == 6.0
    assert read(*samples, {"value": "5.9", "measurand": "Power.Active.Import", "unit": "kW"}).power_kw == 5.9


def test_a_current_without_phase_is_told_as_the_same_on_each() -> None:
    found = read({"value": "16", "measurand": "Current.Import", "unit": "A"})

    assert found.current_a is None
    assert found.current_each_a == 16.0


def test_phases_to_neutral_count_as_their_phases() -> None:
    assert read({"value": "9", "measurand": "Current.Import", "phase": "L2-N"}).current_a == (0.0, 9.0, 0.0)


@pytest.mark.parametrize("location", ["Body", "Inlet", "Cable"])
def test_another_location_counts_where_the_outlet_is_not_said(location: str) -> None:
    elsewhere = {"value": "16", "measurand": "Current.Import", "phase": "L1", "location": location}
    outlet = {"value": "9", "measurand": "Current.Import", "phase": "L1"}

    assert read(elsewhere).current_a == (16.0, 0.0, 0.0)
    assert read(elsewhere, outlet).current_a == read(outlet, elsewhere).current_a == (9.0, 0.0, 0.0)
    assert read({"value": "3", "measurand": "Power.Active.Import"}, elsewhere).current_a == (16.0, 0.0, 0.0)


def test_the_current_of_the_neutral_is_told_where_it_is_the_only_one() -> None:
    neutral = {"value": "15.6", "measurand": "Current.Import", "phase": "N"}
    line = {"value": "15.5", "measurand": "Current.Import", "phase": "L1"}

    assert read(neutral).neutral_a == 15.6
    assert (read(neutral, line).neutral_a, read(neutral, line).current_a) == (None, (15.5, 0.0, 0.0))


@pytest.mark.parametrize(
    "sample",
    [
        {"value": "16", "measurand": "Current.Offered"},
        {"value": "16", "measurand": "Current.Import", "location": "EV"},
        {"value": "16", "measurand": "Current.Import", "unit": "W"},
        {"value": "nan", "measurand": "Current.Import"},
        {"value": "inf"},
        {"value": "-1"},
        {"value": "AQID", "format": "SignedData"},
        {"value": 1, "unit_of_measure": {"unit": "Wh", "multiplier": 999}},
    ],
)
def test_what_is_not_a_current_a_power_or_an_energy_drawn_says_nothing(sample: dict[str, Any]) -> None:
    assert read(sample) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-06-21T11:59:00Z", NOW - timedelta(minutes=1)),
        ("2026-06-21T13:59:00.123456+02:00", NOW - timedelta(minutes=1) + timedelta(microseconds=123456)),
        ("2026-06-21T11:59:00", NOW - timedelta(minutes=1)),
        ("2031-01-01T00:00:00Z", NOW),
        ("yesterday", NOW),
        ("0001-01-01T00:00:00+14:00", NOW),
    ],
)
def test_a_chargers_time_is_utc_and_never_in_the_future(text: str, meant: datetime) -> None:
    assert moment(text, NOW) == meant


@given(st.floats(min_value=0, max_value=500))
def test_a_current_in_tenths_is_never_above_what_was_asked(current_a: float) -> None:
    sent = in_tenths(current_a)

    assert sent <= current_a + 1e-6
    assert current_a - sent < 0.1
    assert round(sent * 10) == pytest.approx(sent * 10)


@given(st.integers(min_value=0, max_value=5000))
def test_tenths_are_sent_as_they_are(tenths: int) -> None:
    assert in_tenths(tenths / 10) == tenths / 10


@pytest.mark.parametrize(
    "schedule",
    [None, {"charging_rate_unit": "?", "charging_schedule_period": [{"limit": 5000}]}, {"charging_rate_unit": "A"}],
)
def test_a_schedule_that_says_no_current_says_none(schedule: dict[str, Any] | None) -> None:
    assert Conversion(230.0, 3).current_now(schedule) is None


@pytest.mark.parametrize(
    ("said", "current_a"), [({}, 10.0), ({"number_phases": 1}, 30.0), ({"number_phases": 2}, 15.0)]
)
def test_a_schedule_in_watts_is_a_current_on_the_phases_that_it_names(said: dict[str, Any], current_a: float) -> None:
    schedule = {"charging_rate_unit": "W", "charging_schedule_period": [{"limit": 6900.0} | said]}

    assert Conversion(230.0, 3).current_now(schedule) == pytest.approx(current_a)


@given(st.floats(min_value=0, max_value=500), st.floats(min_value=100, max_value=300), st.integers(1, 3))
def test_a_power_in_watts_is_never_above_what_was_asked(current_a: float, voltage_v: float, phases: int) -> None:
    sent = in_watts(current_a, voltage_v, phases)

    assert sent <= current_a * voltage_v * phases + 1e-5
    assert current_a * voltage_v * phases - sent < 1 + 1e-5
