"""The moments of a day, also of one whose clock is changed."""

from datetime import date, timedelta

import pytest

from local_stack.day import DayPlan


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 6, 17), 24), (date(2026, 3, 8), 23), (date(2026, 11, 1), 25)], ids=str
)
def test_a_day_has_as_many_steps_as_it_has_hours(day: date, hours: int) -> None:
    moments = list(DayPlan(day, "America/New_York", timedelta(hours=1)).moments())

    assert len(moments) == hours
    assert {moment.date() for moment in moments} == {day}
