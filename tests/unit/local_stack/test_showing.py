"""The day as a person sees it: live rows in a terminal, changes of rule elsewhere, and a picture."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image
from rich.console import Console

from local_stack.day import CarPower, Charging, PhaseLoad, Step
from local_stack.presentation import draw, show_steps

RULES = ("solar_low", "solar_low", "grid_overload", "solar_medium")
ACTIONS = {"solar_low": ("slow", 5.0), "grid_overload": ("pause", 0.0), "solar_medium": ("normal", 11.0)}


def day() -> list[Step]:
    start = datetime(2026, 6, 25, 12, tzinfo=UTC)
    return [
        Step(
            at=start + timedelta(minutes=5 * position),
            generation_kw=None if position == 0 else 30.0,
            soc_percent=50.0,
            load_percent=91.0 if rule == "grid_overload" else 40.0,
            action=ACTIONS[rule][0],
            rule=rule,
            charging_power_kw=ACTIONS[rule][1],
            reason=f"because of {rule}",
            is_degraded=position == 0,
            charging=Charging(
                (CarPower("car-1", "CP-1/1", ACTIONS[rule][1], (16.0,) * 3, 16.0),),
                40.0,
                100.0,
                (PhaseLoad(58.0, 16.0, 145.0),) * 3,
                is_commanded=True,
            ),
        )
        for position, rule in enumerate(RULES)
    ]


def test_without_a_terminal_each_change_of_rule_is_one_line() -> None:
    told = io.StringIO()

    steps = list(show_steps(day(), Console(file=told, width=120)))

    assert steps == day()
    assert [line.split("because of ")[1] for line in told.getvalue().splitlines()] == [
        "solar_low",
        "grid_overload",
        "solar_medium",
    ]
    assert told.getvalue().splitlines()[0].startswith("12:00 —")


def test_in_a_terminal_every_step_is_a_row_of_the_live_table() -> None:
    told = io.StringIO()

    list(show_steps(day(), Console(file=told, width=120, force_terminal=True)))

    assert all(f"12:{minute:02}" in told.getvalue() for minute in (0, 5, 10, 15))


def test_the_picture_is_a_readable_png_also_where_a_reading_was_missing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "day.png"

    draw(day(), "a title", 85.0, path)

    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10
