"""The moments of a day, also of one whose clock is changed."""

from datetime import date, timedelta

import pytest

from charging_agent.settings import AgentSettings
from local_stack.cli import main
from local_stack.day import LONGEST_STEP, DayPlan


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 6, 17), 24), (date(2026, 3, 8), 23), (date(2026, 11, 1), 25)], ids=str
)
def test_a_day_has_as_many_steps_as_it_has_hours(day: date, hours: int) -> None:
    moments = list(DayPlan(day, "America/New_York", timedelta(hours=1)).moments())

    assert len(moments) == hours
    assert {moment.date() for moment in moments} == {day}


def test_the_agent_never_looks_by_itself_between_two_steps() -> None:
    plan = DayPlan(date(2026, 6, 17), "America/New_York", LONGEST_STEP)

    settings = AgentSettings(period_s=plan.agent_period.total_seconds())

    assert settings.period_s > LONGEST_STEP.total_seconds()


@pytest.mark.parametrize("minutes", ["0", "41", "ten"])
def test_a_step_that_is_too_long_or_none_is_wrong_usage(minutes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["local_stack", "demo", "--step-min", minutes])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
