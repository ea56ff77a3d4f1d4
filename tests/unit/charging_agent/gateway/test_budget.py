"""The calls that are left, by the gateway's clock minute."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_agent.gateway.budget import CallBudget, CallLimit

AT_20_S = datetime(2026, 6, 21, 12, 0, 20, tzinfo=UTC)
NEXT_MINUTE = datetime(2026, 6, 21, 12, 1, tzinfo=UTC)


def spend(budget: CallBudget, calls: int, now: datetime) -> list[bool]:
    return [budget.take(now) for _ in range(calls)]


def test_the_eleventh_call_of_a_minute_is_not_made() -> None:
    assert spend(CallBudget(CallLimit()), 11, AT_20_S) == [True] * 10 + [False]


def test_a_new_utc_minute_brings_a_new_budget() -> None:
    budget = CallBudget(CallLimit())
    spend(budget, 11, AT_20_S)

    assert not budget.take(NEXT_MINUTE - timedelta(microseconds=1))
    assert budget.take(NEXT_MINUTE)
    assert budget.remaining(NEXT_MINUTE) == 9


def test_the_window_is_the_clock_minute_and_not_a_minute_since_the_first_call() -> None:
    budget = CallBudget(CallLimit(requests=2))
    spend(budget, 2, NEXT_MINUTE - timedelta(seconds=1))

    assert spend(budget, 3, NEXT_MINUTE) == [True, True, False]


def test_windows_of_another_length_are_aligned_to_the_epoch() -> None:
    budget = CallBudget(CallLimit(requests=1, per_s=3600))

    assert budget.window_end(AT_20_S) == datetime(2026, 6, 21, 13, tzinfo=UTC)
    assert spend(budget, 2, AT_20_S) == [True, False]
    assert budget.take(datetime(2026, 6, 21, 13, tzinfo=UTC))


def test_no_limit_lets_every_call_pass() -> None:
    budget = CallBudget(CallLimit(requests=None))

    assert all(spend(budget, 1000, AT_20_S))
    assert budget.remaining(AT_20_S) is None


def test_no_call_passes_before_the_moment_that_the_gateway_named() -> None:
    budget = CallBudget(CallLimit())

    budget.close_until(AT_20_S + timedelta(seconds=100), AT_20_S)

    assert not budget.take(AT_20_S + timedelta(seconds=99))
    assert budget.remaining(AT_20_S) == 0
    assert budget.take(AT_20_S + timedelta(seconds=100))


def test_a_shorter_hint_does_not_shorten_a_longer_one() -> None:
    budget = CallBudget(CallLimit())
    budget.close_until(AT_20_S + timedelta(seconds=100), AT_20_S)

    budget.close_until(AT_20_S + timedelta(seconds=10), AT_20_S)

    assert not budget.take(AT_20_S + timedelta(seconds=50))


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=3650)])
def test_a_clock_set_back_does_not_keep_an_api_closed(back: timedelta) -> None:
    budget = CallBudget(CallLimit())
    budget.close_until(NEXT_MINUTE, AT_20_S)

    assert budget.take(AT_20_S - back)


def test_an_api_closed_again_after_the_clock_was_set_back_opens_as_told_then() -> None:
    budget = CallBudget(CallLimit())
    budget.close_until(NEXT_MINUTE, AT_20_S)
    earlier = AT_20_S - timedelta(hours=1)

    budget.close_until(earlier + timedelta(seconds=30), earlier)

    assert not budget.take(earlier + timedelta(seconds=29))
    assert budget.take(earlier + timedelta(seconds=30))


def test_every_call_counts_against_the_applications_limit_too() -> None:
    whole = CallBudget(CallLimit(3))
    one, other = CallBudget(CallLimit(2), whole), CallBudget(CallLimit(2), whole)

    assert spend(one, 3, AT_20_S) == [True, True, False]
    assert (other.own_remaining(AT_20_S), other.remaining(AT_20_S), whole.remaining(AT_20_S)) == (2, 1, 1)
    assert spend(other, 2, AT_20_S) == [True, False]


def test_what_the_application_may_not_call_costs_the_api_nothing() -> None:
    budget = CallBudget(CallLimit(2), CallBudget(CallLimit(0)))

    assert not budget.take(AT_20_S)
    assert budget.own_remaining(AT_20_S) == 2


@pytest.mark.parametrize("code", ["900803", "900809"])
def test_a_refusal_by_the_applications_limit_closes_all_apis(code: str) -> None:
    whole = CallBudget(CallLimit(None))
    one, other = CallBudget(CallLimit(), whole), CallBudget(CallLimit(), whole)

    one.close_until(NEXT_MINUTE, AT_20_S, code)

    assert not other.take(NEXT_MINUTE - timedelta(seconds=1))
    assert other.remaining(AT_20_S) == 0
    assert other.take(NEXT_MINUTE)


@pytest.mark.parametrize("code", [None, "900804", "900800"])
def test_a_refusal_by_an_apis_own_limit_closes_no_other(code: str | None) -> None:
    whole = CallBudget(CallLimit(None))
    one, other = CallBudget(CallLimit(), whole), CallBudget(CallLimit(), whole)

    one.close_until(NEXT_MINUTE, AT_20_S, code)

    assert not one.take(AT_20_S)
    assert other.take(AT_20_S)


def test_more_than_half_is_asked_of_the_api_and_of_the_application() -> None:
    whole = CallBudget(CallLimit(12))
    budget = CallBudget(CallLimit(10), whole)
    spend(budget, 4, AT_20_S)
    assert budget.has_more_than_half(AT_20_S)

    spend(budget, 1, AT_20_S)
    assert not budget.has_more_than_half(AT_20_S)

    spend(CallBudget(CallLimit(10), whole), 1, AT_20_S)
    assert not CallBudget(CallLimit(10), whole).has_more_than_half(AT_20_S)


@given(
    requests=st.integers(min_value=0, max_value=20),
    gaps_s=st.lists(st.floats(min_value=0, max_value=40), min_size=1, max_size=80),
)
def test_no_window_ever_holds_more_calls_than_its_limit(requests: int, gaps_s: list[float]) -> None:
    budget, now, made = CallBudget(CallLimit(requests=requests)), AT_20_S, dict[datetime, int]()

    for gap_s in gaps_s:
        now += timedelta(seconds=gap_s)
        minute = now.replace(second=0, microsecond=0)
        made[minute] = made.get(minute, 0) + budget.take(now)

    assert max(made.values()) <= requests
