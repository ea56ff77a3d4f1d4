"""Which calls are made when more are wanted than the gateway allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging_agent.gateway.budget import CallBudget, CallLimit
from charging_agent.readings.apis import BATTERY, GRID, SOLAR, SOURCES
from charging_agent.readings.assessment import AgeLimits
from charging_agent.readings.fetch_priority import CallPlan, Wish
from ev_service.telemetry import BatteryStatus, GridLoad, Reading, SolarStatus

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
NAMES = tuple(api.name for api in SOURCES)
NO_LIMIT = CallLimit(None)


@dataclass(frozen=True)
class Turn:
    """One decision: when it was asked, what was too old (age by API), and what was called for it."""

    at_s: float
    wishes: Mapping[str, float]
    called: frozenset[str]


@dataclass
class Agent:
    """Decides at moments that a test chooses; every call brings a reading taken just then, unless it fails."""

    own: CallLimit
    whole: CallLimit = NO_LIMIT
    ages: AgeLimits = field(default_factory=AgeLimits)
    fails: Callable[[str, float], bool] = lambda _api, _at_s: False
    moves: Mapping[str, float] = field(default_factory=dict[str, float])
    turns: list[Turn] = field(default_factory=list[Turn])

    def __post_init__(self) -> None:
        self._whole = CallBudget(self.whole)
        self._budgets = {name: CallBudget(self.own, self._whole) for name in NAMES}
        self._plan = CallPlan(self._budgets, self.ages)
        self._read_at_s: dict[str, float] = {}

    def decide(self, at_s: float) -> None:
        """Ask for a decision, `at_s` seconds after noon."""
        now = NOON + timedelta(seconds=at_s)
        ages = {name: at_s - self._read_at_s.get(name, -1e9) for name in NAMES}
        wishes = {name: age for name, age in ages.items() if not 0 <= age <= self.ages.maximum_s}
        asked = [Wish(name, age if name in self._read_at_s else None) for name, age in wishes.items()]
        called = frozenset(name for name in self._plan.choose(asked, now) if self._budgets[name].take(now))
        for name in called:
            if not self.fails(name, at_s):
                self._read_at_s[name] = at_s
                self._plan.note_read(name, _reading(name, now, at_s * self.moves.get(name, 0.0)))
        self.turns.append(Turn(at_s, wishes, called))

    def every_second(self, minutes: int) -> Agent:
        """Ask every second."""
        for second in range(60 * minutes):
            self.decide(second)
        return self

    def calls_by_window(self, per_s: int = 60) -> dict[int, Counter[str]]:
        """How often each API was called in each of the gateway's windows."""
        counted: dict[int, Counter[str]] = {}
        for turn in self.turns:
            counted.setdefault(int(turn.at_s // per_s), Counter()).update(turn.called)
        return counted

    def oldest_s(self, api: str, from_s: float = 0) -> float:
        """The greatest age that a decision met [s]."""
        return max(turn.wishes.get(api, 0) for turn in self.turns if turn.at_s >= from_s and api not in turn.called)


def _reading(api: str, at: datetime, moved_percent: float) -> Reading:
    percent = moved_percent % 100
    who = {"site_id": "test", "timestamp": at, "source": "test"}
    if api == SOLAR.name:
        return SolarStatus.model_validate(who | {"generation_kw": percent, "capacity_kwp": 100.0})
    if api == BATTERY.name:
        return BatteryStatus.model_validate(who | {"soc_percent": percent, "capacity_kwh": 100.0})
    return GridLoad.model_validate(who | {"load_percent": percent, "load_kw": percent, "limit_kw": 100.0})


class Simple(Agent):
    """Asks for whatever is too old, as long as a call is left."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._plan.choose = lambda wishes, _now: frozenset(wish.api for wish in wishes)  # type: ignore[method-assign]


limits = st.builds(CallLimit, st.one_of(st.none(), st.integers(1, 30)), st.sampled_from([1, 30, 60, 600]))
ages = st.sampled_from([AgeLimits(0, 60), AgeLimits(3, 20), AgeLimits(), AgeLimits(60, 60)])
# A demo's day jumps; callers come by twos and threes; a clock is set back now and then.
gaps_s = st.lists(st.sampled_from([0.0, 0.01, 0.7, 1.0, 4.0, 11.0, 15.0, 61.0, 300.0]), min_size=1, max_size=120)
failures = st.sets(st.tuples(st.sampled_from(NAMES), st.integers(0, 120)), max_size=40)


def run_fetches(agent: Agent, gaps: list[float]) -> Agent:
    at_s = 0.0
    for gap_s in gaps:
        agent.decide(at_s)
        at_s += gap_s
    return agent


@given(own=limits, whole=limits, ages=ages, gaps=gaps_s, failing=failures)
def test_no_window_ever_holds_more_calls_than_either_limit_allows(
    own: CallLimit, whole: CallLimit, ages: AgeLimits, gaps: list[float], failing: set[tuple[str, int]]
) -> None:
    agent = run_fetches(Agent(own, whole, ages, lambda api, at_s: (api, int(at_s)) in failing), gaps)

    if own.requests is not None:
        assert all(
            max(calls.values(), default=0) <= own.requests for calls in agent.calls_by_window(own.per_s).values()
        )
    if whole.requests is not None:
        assert all(calls.total() <= whole.requests for calls in agent.calls_by_window(whole.per_s).values())


@given(whole=limits, ages=ages, gaps=gaps_s, failing=failures)
def test_sun_and_battery_never_get_a_call_that_an_older_grid_reading_was_refused(
    whole: CallLimit, ages: AgeLimits, gaps: list[float], failing: set[tuple[str, int]]
) -> None:
    agent = run_fetches(Agent(NO_LIMIT, whole, ages, lambda api, at_s: (api, int(at_s)) in failing), gaps)

    for turn in agent.turns:
        others = [turn.wishes[api] for api in turn.called if api != GRID.name]
        if others and GRID.name not in turn.called:
            assert turn.wishes.get(GRID.name, 0) < min(others)


@given(own=limits, whole=limits, ages=ages, gaps=gaps_s)
def test_with_calls_enough_whatever_is_too_old_is_called_at_once(
    own: CallLimit, whole: CallLimit, ages: AgeLimits, gaps: list[float]
) -> None:
    enough = 3 * len(gaps) + 3
    own, whole = (CallLimit(None if limit.requests is None else 100 * enough, 60) for limit in (own, whole))

    agent = run_fetches(Agent(own, whole, ages), gaps)

    assert all(turn.called == turn.wishes.keys() for turn in agent.turns)


def test_the_shipped_limit_delays_nothing_that_is_asked_for_every_second() -> None:
    assert Agent(CallLimit(10)).every_second(3).turns == Simple(CallLimit(10)).every_second(3).turns


@pytest.mark.parametrize("requests", range(1, 6))
def test_scarce_calls_to_one_api_are_spread_over_the_window_and_none_is_wasted(requests: int) -> None:
    agent = Agent(CallLimit(requests)).every_second(10)

    windows = agent.calls_by_window()
    assert all(calls == Counter(dict.fromkeys(NAMES, requests)) for calls in windows.values())
    # A call is made on a whole second, and the first window taught how often decisions are wanted.
    assert agent.oldest_s(GRID.name, from_s=120) <= 60 / requests + 1


@pytest.mark.parametrize("requests", range(1, 16))
def test_scarce_calls_of_the_application_are_spread_over_the_window_and_none_is_wasted(requests: int) -> None:
    agent = Agent(CallLimit(10), CallLimit(requests)).every_second(10)

    assert [calls.total() for calls in agent.calls_by_window().values()] == [requests] * 10
    rounds = -(-requests // 3)
    assert agent.oldest_s(GRID.name, from_s=120) <= 60 / rounds + 1


@pytest.mark.parametrize("requests", range(3, 19))
def test_scarce_calls_of_the_application_make_as_many_decisions_undegraded_as_any_plan_could(requests: int) -> None:
    agent = Agent(CallLimit(10), CallLimit(requests)).every_second(10)

    undegraded = sum(turn.wishes.keys() <= turn.called for turn in agent.turns) / len(agent.turns)
    # Each three calls make all readings young for 10 s and the second in which they are made.
    assert undegraded >= min(1, requests // 3 * 11 / 60) - 1e-9


@pytest.mark.parametrize("requests", range(3, 12))
def test_neither_sun_nor_battery_starves_where_a_round_is_affordable(requests: int) -> None:
    windows = Agent(CallLimit(10), CallLimit(requests)).every_second(10).calls_by_window()

    assert all(calls[SOLAR.name] and calls[BATTERY.name] for calls in windows.values())


def test_of_two_calls_a_minute_the_grid_gets_one_and_the_faster_of_the_others_most_of_the_rest() -> None:
    agent = Agent(CallLimit(10), CallLimit(2), moves={SOLAR.name: 0.5, BATTERY.name: 0.01}).every_second(40)

    calls = sum(agent.calls_by_window().values(), Counter[str]())
    assert calls[GRID.name] == 40
    assert calls[SOLAR.name] > 3 * calls[BATTERY.name] > 0


def test_a_battery_that_moves_while_the_sun_is_down_comes_before_the_sun() -> None:
    agent = Agent(CallLimit(10), CallLimit(2), moves={SOLAR.name: 0.0, BATTERY.name: 0.01}).every_second(40)

    calls = sum(agent.calls_by_window().values(), Counter[str]())
    assert calls[BATTERY.name] > 3 * calls[SOLAR.name] > 0


def test_a_single_call_a_minute_is_the_grids() -> None:
    agent = Agent(CallLimit(10), CallLimit(1)).every_second(5)

    assert [turn.called for turn in agent.turns if turn.called] == [{GRID.name}] * 5


def test_an_hour_of_calls_is_not_spent_in_its_first_minutes() -> None:
    agent, simple = (kind(CallLimit(120, 3600)).every_second(60) for kind in (Agent, Simple))

    assert agent.oldest_s(GRID.name, from_s=300) <= 31
    assert simple.oldest_s(GRID.name) > 2000


def test_a_grid_reading_about_to_be_missing_takes_a_call_that_was_meant_for_a_round() -> None:
    # Four rounds in ten minutes are further apart than a grid reading counts.
    agent = Agent(CallLimit(10), CallLimit(12, 600))
    for second in range(61):
        agent.decide(second)

    assert [(turn.at_s, turn.called) for turn in agent.turns if turn.called] == [(0, set(NAMES)), (60, {GRID.name})]


def test_a_grid_that_fails_at_first_is_tried_again_at_once_although_calls_are_scarce() -> None:
    agent = Agent(CallLimit(10), CallLimit(6), fails=lambda api, at_s: api == GRID.name and at_s == 0)

    agent.decide(0)
    agent.decide(1)

    assert agent.turns[1].called == {GRID.name}


def test_an_api_that_refuses_every_second_does_not_eat_the_calls_of_a_minute() -> None:
    agent = Agent(CallLimit(10), fails=lambda api, _at_s: api == SOLAR.name).every_second(3)

    for minute in range(3):
        calls = [turn.at_s for turn in agent.turns if SOLAR.name in turn.called and turn.at_s // 60 == minute]
        assert sum(at_s % 60 >= 20 for at_s in calls) >= 3


@pytest.mark.parametrize("maximum_s", [0.0, 2.0])
def test_two_questions_in_a_quiet_minute_are_both_answered_afresh(maximum_s: float) -> None:
    agent = Agent(CallLimit(10), ages=AgeLimits(maximum_s))

    for at_s in (0, 15, 30, 33, 36, 45):
        agent.decide(at_s)

    assert all(turn.called == set(NAMES) for turn in agent.turns)


def test_a_clock_that_was_set_back_holds_up_no_call() -> None:
    agent = Agent(CallLimit(120, 3600), CallLimit(360, 3600)).every_second(45)

    agent.decide(900)

    assert agent.turns[-1].called == set(NAMES)


def test_a_day_that_jumps_five_minutes_between_decisions_takes_every_reading_fresh() -> None:
    agent = Agent(CallLimit(3), CallLimit(3))

    for number in range(50):
        agent.decide(300.0 * number)

    assert all(turn.called == set(NAMES) for turn in agent.turns)
