"""How ages become statuses."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_agent.gateway.calls import FailureReason
from charging_agent.readings.assessment import AgeLimits, AssessedReading, Status, age_s, assess_reading, is_young
from ev_service.telemetry import GridLoad

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
LIMITS = AgeLimits()
ORDER = [Status.FRESH, Status.CACHED, Status.STALE, Status.MISSING]

ages_s = st.floats(min_value=-5, max_value=1e6)


def grid_read(aged_s: float) -> GridLoad:
    return GridLoad(
        site_id="site",
        timestamp=NOON - timedelta(seconds=aged_s),
        source="test",
        load_percent=61.0,
        load_kw=61.0,
        limit_kw=100.0,
    )


@pytest.mark.parametrize(
    ("aged_s", "status", "error"),
    [
        (-5.0, Status.CACHED, None),
        (0.0, Status.CACHED, None),
        (10.0, Status.CACHED, None),
        (10.001, Status.STALE, FailureReason.TOO_OLD),
        (60.0, Status.STALE, FailureReason.TOO_OLD),
        (60.001, Status.MISSING, FailureReason.TOO_OLD),
        (-5.001, Status.MISSING, FailureReason.INVALID_READING),
    ],
)
def test_age_alone_decides_the_status(aged_s: float, status: Status, error: FailureReason | None) -> None:
    judged = assess_reading(grid_read(aged_s), NOON, LIMITS, is_new=False)

    assert (judged.status, judged.error) == (status, error)


def test_a_young_reading_fetched_for_this_decision_is_fresh() -> None:
    assert assess_reading(grid_read(0.1), NOON, LIMITS, is_new=True).status is Status.FRESH


def test_an_old_reading_is_stale_even_if_fetched_for_this_decision() -> None:
    judged = assess_reading(grid_read(30), NOON, LIMITS, is_new=True)

    assert (judged.status, judged.error) == (Status.STALE, FailureReason.TOO_OLD)


def test_what_kept_a_newer_reading_away_is_told_with_the_old_one() -> None:
    judged = assess_reading(grid_read(30), NOON, LIMITS, is_new=False, failure=FailureReason.THROTTLED)

    assert judged.error is FailureReason.THROTTLED


def test_a_young_reading_carries_no_error_although_the_last_call_failed() -> None:
    assert assess_reading(grid_read(3), NOON, LIMITS, is_new=False, failure=FailureReason.THROTTLED).error is None


def test_a_reading_never_had_is_missing_with_what_stood_in_the_way() -> None:
    judged: AssessedReading[GridLoad] = assess_reading(
        None, NOON, LIMITS, is_new=False, failure=FailureReason.FORBIDDEN
    )

    assert (judged.status, judged.error, judged.age_s) == (Status.MISSING, FailureReason.FORBIDDEN, None)


def test_a_missing_reading_is_not_handed_on() -> None:
    assert assess_reading(grid_read(61), NOON, LIMITS, is_new=True).reading is None


@given(one=ages_s, other=ages_s, is_new=st.booleans(), trouble=st.none() | st.sampled_from(FailureReason))
def test_an_older_reading_is_never_judged_better(
    one: float, other: float, is_new: bool, trouble: FailureReason | None
) -> None:
    younger_s, older_s = sorted((one, other))

    younger = assess_reading(grid_read(younger_s), NOON, LIMITS, is_new=is_new, failure=trouble)
    older = assess_reading(grid_read(older_s), NOON, LIMITS, is_new=is_new, failure=trouble)

    assert ORDER.index(older.status) >= ORDER.index(younger.status)


@given(aged_s=st.floats(min_value=-1e6, max_value=1e6), is_new=st.booleans())
def test_only_stale_and_missing_carry_an_error_and_degrade(aged_s: float, is_new: bool) -> None:
    judged = assess_reading(grid_read(aged_s), NOON, LIMITS, is_new=is_new)

    assert (judged.error is not None) == (judged.status in {Status.STALE, Status.MISSING})
    assert judged.is_degraded == (judged.error is not None)


@given(aged_s=st.floats(min_value=-1e6, max_value=1e6))
def test_a_reading_served_without_a_call_is_never_degraded(aged_s: float) -> None:
    reading = grid_read(aged_s)

    if is_young(reading, NOON, LIMITS):
        assert not assess_reading(reading, NOON, LIMITS, is_new=False).is_degraded
    else:
        assert assess_reading(reading, NOON, LIMITS, is_new=False).is_degraded


def test_age_is_now_minus_the_readings_own_timestamp() -> None:
    assert age_s(grid_read(4), NOON) == 4.0
