from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wso2_terms.windows import (
    UNIT_SECONDS,
    compute_window_end,
    compute_window_s,
    format_next_access_time,
    format_retry_after,
    parse_next_access_time,
    parse_retry_after,
)

NOW = datetime(2026, 6, 26, 3, 59, 30, tzinfo=UTC)
moments = st.integers(0, 7_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds + 0.25, UTC))
units = st.sampled_from(sorted(UNIT_SECONDS))


@given(now=moments, unit_time=st.integers(1, 90), unit=units)
def test_a_window_ends_after_now_within_its_length_and_on_its_grid(now: datetime, unit_time: int, unit: str) -> None:
    end, length_s = compute_window_end(now, unit_time, unit), compute_window_s(unit_time, unit)

    assert timedelta(0) < end - now <= timedelta(seconds=length_s)
    assert end.timestamp() % length_s == 0


def test_the_last_moment_of_a_window_still_belongs_to_it_and_its_end_does_not() -> None:
    end = datetime(2026, 6, 26, 4, tzinfo=UTC)

    assert compute_window_end(end - timedelta(microseconds=1), 1, "min") == end
    assert compute_window_end(end, 1, "min") == end + timedelta(minutes=1)


def test_windows_are_utc_in_any_time_zone() -> None:
    elsewhere = datetime(2026, 6, 26, 9, 44, 30, tzinfo=timezone(timedelta(hours=5, minutes=45)))

    assert compute_window_end(elsewhere, 1, "hour") == datetime(2026, 6, 26, 4, tzinfo=UTC)


@pytest.mark.parametrize(("unit_time", "unit"), [(0, "min"), (-1, "min"), (1, "minute")])
def test_a_window_that_makes_no_sense_is_refused(unit_time: int, unit: str) -> None:
    with pytest.raises(ValueError, match=r"unit"):
        compute_window_end(NOW, unit_time, unit)


@given(moment=moments)
def test_next_access_times_are_read_back_to_the_second(moment: datetime) -> None:
    assert parse_next_access_time(format_next_access_time(moment)) == moment.replace(microsecond=0)


@given(moment=moments)
def test_retry_after_dates_are_read_back_to_the_second(moment: datetime) -> None:
    assert parse_retry_after(format_retry_after(moment), NOW) == moment.replace(microsecond=0)


def test_the_gateways_own_texts_are_parsed() -> None:
    end = datetime(2026, 6, 26, 4, tzinfo=UTC)

    assert format_next_access_time(end) == "2026-Jun-26 04:00:00+0000 UTC"
    assert format_retry_after(end) == "Fri, 26 Jun 2026 04:00:00 GMT"
    assert parse_next_access_time(" 2026-jun-26 05:30:00+0130 UTC ") == end


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-06-26 04:00:00", "2026-Xyz-26 04:00:00+0000 UTC", "2026-Jun-31 04:00:00+0000 UTC"]
)
def test_what_is_no_next_access_time_is_none(text: str) -> None:
    assert parse_next_access_time(text) is None


def test_seconds_are_taken_for_what_they_are() -> None:
    assert parse_retry_after("30", NOW) == NOW + timedelta(seconds=30)


@given(text=st.text(max_size=40))
def test_no_header_value_breaks_the_parsers(text: str) -> None:
    for found in (parse_retry_after(text, NOW), parse_next_access_time(text)):
        assert found is None or found.tzinfo is not None
