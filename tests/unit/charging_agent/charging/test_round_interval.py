"""Where calls are scarce, readings and chargers both get theirs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_agent.charging.composition import compute_round_interval, split_budget
from charging_agent.gateway.budget import CallLimit

PLAN = [CallLimit(10, 60), CallLimit(10, 60)]


@pytest.mark.parametrize(
    ("period_s", "own", "shared", "rounds"),
    [
        (15, PLAN, CallLimit(None), 1),
        (15, [CallLimit(None), CallLimit(None)], CallLimit(None), 1),
        (15, PLAN, CallLimit(20, 60), 1),
        (15, PLAN, CallLimit(10, 60), 2),
        (1, PLAN, CallLimit(None), 6),
        (15, [CallLimit(2, 60), CallLimit(10, 60)], CallLimit(None), 2),
        (3600, PLAN, CallLimit(1, 3600), 1),
        (15, [CallLimit(0, 60)], CallLimit(None), 80),
    ],
)
def test_the_chargers_have_as_many_rounds_as_calls_allow(
    period_s: float, own: list[CallLimit], shared: CallLimit, rounds: int
) -> None:
    assert compute_round_interval(period_s, own, shared) == rounds


@given(requests=st.integers(0, 200), per_s=st.sampled_from([1, 60, 600, 3600]), period_s=st.floats(1, 3600))
def test_no_call_is_given_away_twice_and_the_readings_go_first(requests: int, per_s: int, period_s: float) -> None:
    readings, chargers = split_budget(CallLimit(requests, per_s), period_s)

    assert readings.requests is not None
    assert chargers.requests is not None
    assert readings.requests + chargers.requests == requests
    assert chargers.requests == 0 or (chargers.requests >= 2 and readings.requests >= 3)


def test_without_a_shared_limit_nothing_is_divided() -> None:
    assert split_budget(CallLimit(None), 15) == (CallLimit(None), CallLimit(None))
