"""Quotas per clock minute, rejected calls that are not counted, and burst windows."""

from hypothesis import given
from hypothesis import strategies as st

from local_gateway.gateway.throttling import Throttle, ThrottleLevel
from wso2_terms.codes import API_THROTTLED, BURST_THROTTLED, SUBSCRIPTION_THROTTLED

MINUTE_STARTS_S = 1_782_043_200.0
PLAN = ThrottleLevel(("plan",), 3, 60, SUBSCRIPTION_THROTTLED, True)
API = ThrottleLevel(("api",), 2, 60, API_THROTTLED, True)
BURST = ThrottleLevel(("burst",), 2, 60, BURST_THROTTLED, False)


def test_the_call_after_the_last_waits_for_the_next_clock_minute() -> None:
    throttle = Throttle()
    for second in (1, 2, 59.9):
        assert throttle.admit([PLAN], MINUTE_STARTS_S + second) is None

    refused = throttle.admit([PLAN], MINUTE_STARTS_S + 59.95)

    assert refused is not None
    assert (refused.level, refused.ends_s) == (PLAN, MINUTE_STARTS_S + 60)
    assert throttle.admit([PLAN], MINUTE_STARTS_S + 60) is None


def test_the_first_exceeded_level_is_reported() -> None:
    throttle = Throttle()
    for _ in range(2):
        throttle.admit([API, PLAN], MINUTE_STARTS_S)

    refused = throttle.admit([API, PLAN], MINUTE_STARTS_S)

    assert refused is not None
    assert refused.level is API


def test_a_refused_call_is_counted_nowhere() -> None:
    throttle = Throttle()
    for _ in range(5):
        throttle.admit([PLAN, API], MINUTE_STARTS_S)

    assert throttle.admit([PLAN], MINUTE_STARTS_S) is None


def test_a_burst_window_opens_with_its_first_call() -> None:
    throttle = Throttle()
    throttle.admit([BURST], MINUTE_STARTS_S + 50)
    throttle.admit([BURST], MINUTE_STARTS_S + 55)

    refused = throttle.admit([BURST], MINUTE_STARTS_S + 70)

    assert refused is not None
    assert refused.ends_s == MINUTE_STARTS_S + 110


def test_limits_of_different_callers_are_independent() -> None:
    throttle = Throttle()
    other = ThrottleLevel(("other",), 3, 60, SUBSCRIPTION_THROTTLED, True)
    for _ in range(4):
        throttle.admit([PLAN], MINUTE_STARTS_S)

    assert throttle.admit([other], MINUTE_STARTS_S) is None


@given(st.lists(st.floats(min_value=0, max_value=600), max_size=80))
def test_a_clock_minute_never_admits_more_calls_than_its_quota(moments_s: list[float]) -> None:
    throttle = Throttle()
    passed: dict[int, int] = {}

    for moment_s in sorted(moments_s):
        if throttle.admit([PLAN], MINUTE_STARTS_S + moment_s) is None:
            minute = int((MINUTE_STARTS_S + moment_s) // 60)
            passed[minute] = passed.get(minute, 0) + 1

    assert all(count <= PLAN.count for count in passed.values())
