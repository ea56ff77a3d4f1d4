"""How the demo shows a day: a table in the terminal, or lines without a terminal, and a picture.

The picture has the ceiling, the power of each car, the readings, the rules and the load of the connection.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
from rich.console import Console
from rich.live import Live
from rich.table import Table

from local_stack.day import Step

_COLOUR_OF = {
    "fail_safe": "#6d6d6d",
    "grid_overload": "#c62828",
    "solar_and_battery_high": "#2e7d32",
    "solar_medium": "#1565c0",
    "solar_low": "#ef9a00",
}
_STYLE_OF = {"pause": "red", "slow": "yellow", "normal": "cyan", "fast": "green"}
_TABLE_ROWS = 16


def draw(steps: Sequence[Step], title: str, overload_percent: float, path: Path) -> None:
    """Draw the day into a PNG.

    Args:
        steps: the day's decisions in their order.
        title: above the picture.
        overload_percent: the load above which charging pauses [%].
        path: file to write; its folder is created.
    """
    mpl.use("agg")
    # matplotlib's own annotations leave the parts of a figure partly unknown.
    from matplotlib import pyplot

    plot: Any = pyplot
    figure, (power, cars, sun, grid, phases) = plot.subplots(
        5, 1, sharex=True, figsize=(12, 13), height_ratios=(1.6, 1.8, 1.2, 1.6, 1.4)
    )
    hours = [step.at.hour + step.at.minute / 60 for step in steps]
    _draw_power(power, hours, steps)
    _draw_cars(cars, hours, steps)
    _draw_sun(sun, hours, steps)
    _draw_grid(grid, hours, steps, overload_percent)
    _draw_phases(phases, hours, steps, overload_percent)
    power.set_title(title)
    phases.set_xlabel("local time [h]")
    phases.set_xlim(0, 24)
    phases.set_xticks(range(0, 25, 2))
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plot.close(figure)


def _draw_power(axes: Any, hours: Sequence[float], steps: Sequence[Step]) -> None:
    width_h = hours[1] - hours[0] if len(hours) > 1 else 1.0
    axes.step(hours, [step.charging_power_kw for step in steps], where="post", color="black", linewidth=1.4)
    for rule, group in groupby(zip(hours, steps, strict=True), key=lambda item: item[1].rule):
        starts = [hour for hour, _ in group]
        axes.axvspan(starts[0], starts[-1] + width_h, color=_COLOUR_OF[rule], alpha=0.25, linewidth=0)
    for rule in dict.fromkeys(step.rule for step in steps):
        axes.plot([], [], color=_COLOUR_OF[rule], linewidth=8, alpha=0.35, label=rule)
    axes.set_ylabel("ceiling per car [kW]")
    axes.set_yticks([0, 5, 11, 22])
    axes.legend(loc="upper left", fontsize=9)


def _draw_cars(axes: Any, hours: Sequence[float], steps: Sequence[Step]) -> None:
    places = sorted({car.place for step in steps for car in step.charging.cars})
    drawn = [{car.place: car.power_kw for car in step.charging.cars} for step in steps]
    if places:
        powers = [[at_step.get(place, 0.0) for at_step in drawn] for place in places]
        axes.stackplot(hours, powers, labels=places, step="post", alpha=0.85)
        axes.legend(loc="upper left", fontsize=9, ncols=2)
    axes.set_ylabel("each car [kW]")
    axes.set_ylim(0, None)


def _draw_sun(axes: Any, hours: Sequence[float], steps: Sequence[Step]) -> None:
    axes.fill_between(hours, [_or_nan(step.generation_kw) for step in steps], color="#f9c74f", alpha=0.8)
    axes.set_ylabel("sun [kW]")
    battery = axes.twinx()
    battery.plot(hours, [_or_nan(step.soc_percent) for step in steps], color="#2a6f97")
    battery.set_ylabel("battery [%]", color="#2a6f97")
    battery.set_ylim(0, 100)


def _draw_grid(axes: Any, hours: Sequence[float], steps: Sequence[Step], overload_percent: float) -> None:
    """Draw the load of the connection after the limits were set, the cars stacked on the other loads."""
    charging = [step.charging for step in steps]
    totals = [at_step.load_kw for at_step in charging]
    others = [max(0.0, at_step.load_kw - at_step.charging_kw) for at_step in charging]
    limits = [at_step.limit_kw for at_step in charging]
    paused = [limit_kw * overload_percent / 100 for limit_kw in limits]
    axes.fill_between(hours, others, color="#9e9e9e", alpha=0.7, step="post", label="building, sun and battery")
    axes.fill_between(hours, others, totals, color="#1565c0", alpha=0.5, step="post", label="cars")
    axes.plot(hours, limits, color="#c62828", linewidth=1.2, label="limit of the connection")
    axes.plot(hours, paused, color="#c62828", linestyle="--", linewidth=1, label=f"{overload_percent:g} % of it")
    axes.set_ylabel("from the grid [kW]")
    axes.set_ylim(0, None)
    axes.legend(loc="upper left", fontsize=9, ncols=2)


def _draw_phases(axes: Any, hours: Sequence[float], steps: Sequence[Step], overload_percent: float) -> None:
    """Draw the current of each phase of the connection; negative currents are exported."""
    for line, of_phase in enumerate(zip(*(step.charging.phases for step in steps), strict=True), start=1):
        axes.step(hours, [phase.load_a for phase in of_phase], where="post", linewidth=1.2, label=f"L{line}")
    shares = [overload_percent / 100 * step.charging.phases[0].limit_a for step in steps]
    axes.plot(hours, shares, color="#c62828", linestyle="--", linewidth=1, label=f"{overload_percent:g} % of the limit")
    axes.axhline(0, color="#9e9e9e", linewidth=0.6)
    axes.set_ylabel("each phase [A]")
    axes.legend(loc="upper left", fontsize=9, ncols=4)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def show_steps(steps: Iterable[Step], console: Console) -> Iterator[Step]:
    """Show each step and yield it; without a terminal only those at which another rule applies."""
    return _show_table(steps, console) if console.is_terminal else _print_lines(steps, console)


def _show_table(steps: Iterable[Step], console: Console) -> Iterator[Step]:
    last: deque[Step] = deque(maxlen=_TABLE_ROWS)
    with Live(console=console, refresh_per_second=10) as live:
        for step in steps:
            last.append(step)
            live.update(_build_table(last))
            yield step


def _print_lines(steps: Iterable[Step], console: Console) -> Iterator[Step]:
    previous: Step | None = None
    for step in steps:
        if previous is None or step.rule != previous.rule:
            console.print(" ".join(_format_cells(step)), soft_wrap=True, highlight=False)
        previous = step
        yield step


def _build_table(steps: Iterable[Step]) -> Table:
    table = Table(expand=True)
    for name, width in (
        ("time", 5),
        ("sun", 8),
        ("battery", 6),
        ("grid", 6),
        ("action", 6),
        ("power", 6),
        ("cars", 14),
    ):
        table.add_column(name, min_width=width, no_wrap=True, justify="left" if name in ("time", "action") else "right")
    table.add_column("why", overflow="ellipsis", no_wrap=True)
    for step in steps:
        table.add_row(*_format_cells(step), style=_STYLE_OF[step.action])
    return table


def _format_cells(step: Step) -> tuple[str, ...]:
    return (
        f"{step.at:%H:%M}",
        _format_number(step.generation_kw, "kW", 1),
        _format_number(step.soc_percent, "%", 0),
        _format_number(step.load_percent, "%", 0),
        f"{step.action:6}",
        f"{step.charging_power_kw:3g} kW",
        f"{len(step.charging.cars)} take {step.charging.charging_kw:4.1f} kW",
        step.reason,
    )


def _format_number(value: float | None, unit: str, digits: int) -> str:
    return "—" if value is None else f"{value:5.{digits}f} {unit}"
