"""One picture of the day: power given, the readings it was decided from, the rules, and the overloads."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl

from local_stack.day import Step

_COLOUR_OF = {
    "fail_safe": "#6d6d6d",
    "grid_overload": "#c62828",
    "solar_and_battery_high": "#2e7d32",
    "solar_medium": "#1565c0",
    "solar_low": "#ef9a00",
}


def draw(steps: Sequence[Step], title: str, overload_percent: float, path: Path) -> None:
    """Draw the day into a PNG.

    Args:
        steps: the day's decisions in their order.
        title: above the picture.
        overload_percent: the load above which charging pauses [%].
        path: file to write; its folder is made.
    """
    mpl.use("agg")
    # matplotlib's own annotations leave the parts of a figure partly unknown.
    from matplotlib import pyplot

    plot: Any = pyplot
    figure, (power, sun, grid) = plot.subplots(3, 1, sharex=True, figsize=(12, 8.5), height_ratios=(2, 1.3, 1.3))
    hours = [step.at.hour + step.at.minute / 60 for step in steps]
    _draw_power(power, hours, steps)
    _draw_sun(sun, hours, steps)
    _draw_grid(grid, hours, steps, overload_percent)
    power.set_title(title)
    grid.set_xlabel("local time [h]")
    grid.set_xlim(0, 24)
    grid.set_xticks(range(0, 25, 2))
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


def _draw_sun(axes: Any, hours: Sequence[float], steps: Sequence[Step]) -> None:
    axes.fill_between(hours, [_or_nan(step.generation_kw) for step in steps], color="#f9c74f", alpha=0.8)
    axes.set_ylabel("sun [kW]")
    battery = axes.twinx()
    battery.plot(hours, [_or_nan(step.soc_percent) for step in steps], color="#2a6f97")
    battery.set_ylabel("battery [%]", color="#2a6f97")
    battery.set_ylim(0, 100)


def _draw_grid(axes: Any, hours: Sequence[float], steps: Sequence[Step], overload_percent: float) -> None:
    loads = [_or_nan(step.load_percent) for step in steps]
    axes.plot(hours, loads, color="#444444", linewidth=1.2)
    axes.axhline(overload_percent, color="#c62828", linestyle="--", linewidth=1)
    is_over = [load > overload_percent for load in loads]
    axes.fill_between(hours, loads, overload_percent, where=is_over, color="#c62828", alpha=0.4, step=None)
    axes.set_ylabel("grid load [%]")
    axes.set_ylim(0, None)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
