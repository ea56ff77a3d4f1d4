"""Which measurements count: by their time, order, range and distance from the one before."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ev_sensors.checks import CONFIRMED_BY, Nominal, Past, Range, Rules, Slope, validate
from ev_sensors.measurement import Measurement, Reason

NOON = datetime(2026, 6, 21, 16, tzinfo=UTC)
RULES = Rules(
    {"load_kw": Range(0.0, 300.0, rise=Slope(100.0, 50.0), fall=Slope(60.0, 10.0))}, {"limit_kw": Nominal(100.0)}
)


def _build_measurement(at_s: float, load_kw: float = 40.0, sequence: int | None = None, **more: float) -> Measurement:
    energy_kwh = more.pop("energy_kwh", None)
    return Measurement(NOON + timedelta(seconds=at_s), {"load_kw": load_kw, **more}, sequence, energy_kwh)


def _judge(*said: Measurement, now_s: float | None = None) -> list[Reason | None]:
    """Judge messages one after the other, each at its own time."""
    past, reasons = Past(), list[Reason | None]()
    for measurement in said:
        now = measurement.timestamp if now_s is None else NOON + timedelta(seconds=now_s)
        past, refusal = validate(measurement, past, now, RULES)
        reasons.append(None if refusal is None else refusal.reason)
    return reasons


@pytest.mark.parametrize(
    ("at_s", "reason"), [(5.0, None), (5.1, Reason.CLOCK_AHEAD), (-60, None), (-61, Reason.TOO_OLD)]
)
def test_a_timestamp_may_be_5_s_ahead_and_60_s_old(at_s: float, reason: Reason | None) -> None:
    assert _judge(_build_measurement(at_s), now_s=0) == [reason]


def test_a_message_that_does_not_come_after_the_newest_one_is_a_replay() -> None:
    assert _judge(_build_measurement(10), _build_measurement(9), _build_measurement(10), _build_measurement(11)) == [
        None,
        Reason.REPLAYED,
        Reason.REPLAYED,
        None,
    ]


def test_within_one_moment_the_higher_number_is_the_later_message() -> None:
    said = [_build_measurement(10, sequence=sequence) for sequence in (7, 8, 8, 6, 9)]

    assert _judge(*said) == [None, None, Reason.REPLAYED, Reason.REPLAYED, None]


@pytest.mark.parametrize("load_kw", [-0.1, 300.1, 400.0, float("nan"), float("inf")])
def test_a_value_outside_its_range_is_refused_whenever_it_comes(load_kw: float) -> None:
    assert _judge(_build_measurement(0, load_kw), _build_measurement(1), _build_measurement(2, load_kw)) == [
        Reason.RANGE,
        None,
        Reason.RANGE,
    ]


@pytest.mark.parametrize(("limit_kw", "reason"), [(100.0, None), (100.9, None), (102.0, Reason.NOMINAL)])
def test_a_device_may_repeat_what_is_set_and_not_change_it(limit_kw: float, reason: Reason | None) -> None:
    assert _judge(_build_measurement(0, limit_kw=limit_kw)) == [reason]


@pytest.mark.parametrize(
    ("load_kw", "reason"), [(250.0, None), (250.1, Reason.RATE), (30.0, None), (29.9, Reason.RATE)]
)
def test_a_step_that_no_site_makes_is_doubted_by_its_direction(load_kw: float, reason: Reason | None) -> None:
    assert _judge(_build_measurement(0, 100.0), _build_measurement(1, load_kw)) == [None, reason]


def test_the_longer_the_silence_the_larger_the_step_that_is_believed() -> None:
    assert _judge(_build_measurement(0, 100.0), _build_measurement(1, 20.0)) == [None, Reason.RATE]
    assert _judge(_build_measurement(0, 100.0), _build_measurement(2, 20.0)) == [None, None]


def test_a_single_spike_never_counts_and_costs_nothing() -> None:
    said = [_build_measurement(second, 280.0 if second % 3 == 1 else 40.0) for second in range(9)]

    assert _judge(*said) == [None, Reason.RATE, None] * 3


def test_a_step_that_stays_is_believed_at_the_third_message() -> None:
    said = [_build_measurement(second, 200.0 if second < 3 else 20.0) for second in range(8)]

    assert _judge(*said) == [None] * 3 + [Reason.RATE] * (CONFIRMED_BY - 1) + [None] * 3


def test_doubts_that_do_not_agree_with_each_other_confirm_nothing() -> None:
    said = [
        _build_measurement(0, 200.0),
        *(_build_measurement(1 + step / 10, 0.0 if step % 2 else 100.0) for step in range(6)),
    ]

    assert _judge(*said) == [None] + [Reason.RATE] * 6


def test_the_same_doubted_message_again_confirms_nothing() -> None:
    spike = _build_measurement(1, 20.0)

    assert _judge(_build_measurement(0, 200.0), spike, spike, spike, spike, now_s=1) == [None] + [Reason.RATE] * 4


def test_a_sequence_that_goes_back_is_refused_however_new_its_timestamps() -> None:
    said = [_build_measurement(second, sequence=sequence) for second, sequence in enumerate((7, 6, 5, 5, 4, 8))]

    assert _judge(*said) == [None, *[Reason.SEQUENCE] * 4, None]


def test_a_device_that_counts_anew_after_a_restart_is_believed_at_its_third_message() -> None:
    said = [_build_measurement(second, sequence=sequence) for second, sequence in enumerate((900, 901, 0, 1, 2, 3))]

    assert _judge(*said) == [None, None, Reason.SEQUENCE, Reason.SEQUENCE, None, None]


def test_an_energy_counter_never_goes_back_unless_it_stays_there() -> None:
    said = [
        _build_measurement(second, energy_kwh=counter)
        for second, counter in enumerate((500.0, 500.1, 3.0, 500.2, 0.0, 0.1, 0.2))
    ]

    assert _judge(*said) == [None, None, Reason.COUNTER, None, Reason.COUNTER, Reason.COUNTER, None]


@given(
    messages=st.lists(
        st.tuples(
            st.floats(-100, 100),
            st.floats(allow_nan=True, allow_infinity=True),
            st.integers(0, 50),
            st.floats(0, 3),
        ),
        max_size=30,
    )
)
def test_whatever_comes_what_counts_is_in_range_in_time_and_in_order(
    messages: list[tuple[float, float, int, float]],
) -> None:
    past, now = Past(), NOON
    for at_s, load_kw, sequence, later_s in messages:
        now += timedelta(seconds=later_s)
        measurement = _build_measurement((now - NOON).total_seconds() + at_s, load_kw, sequence)
        before = past.accepted
        past, refusal = validate(measurement, past, now, RULES)

        assert (refusal is None) == (past.accepted is measurement)
        if refusal is None:
            assert 0.0 <= load_kw <= 300.0
            assert -60 <= at_s <= 5 + 1e-6 or abs(at_s + 60) < 1e-6
            assert before is None or before.timestamp <= measurement.timestamp
        else:
            assert past.accepted is before
