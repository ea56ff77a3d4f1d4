"""Picture of simulated policies: the power of the site, and what each policy costs per kWh."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from charging_agent.simulation.simulation import PolicyRun
from charging_agent.simulation.tariff import FloatArray

_COLOURS = ("#6d6d6d", "#1565c0", "#ef9a00", "#8e24aa", "#2e7d32", "#c62828", "#00838f")


def draw(runs: Sequence[PolicyRun], other_kw: FloatArray, zone: ZoneInfo, feeder_kw: float, file: Path) -> None:
    """Draw the busiest week and the cost per kWh into a PNG.

    Args:
        runs: one for each policy.
        other_kw: power of the building less that of the panels, one per step [kW].
        zone: time zone of the axis.
        feeder_kw: limit of the feeder [kW].
        file: its folder is created.

    Raises:
        ModuleNotFoundError: matplotlib is not installed, which only `charging-agent[simulation]` brings.
    """
    import matplotlib as mpl

    mpl.use("agg")
    # matplotlib's own annotations leave the parts of a figure partly unknown.
    from matplotlib import dates, pyplot

    plot: Any = pyplot
    date_axis: Any = dates
    figure, (power, cost) = plot.subplots(1, 2, figsize=(11, 4.2), width_ratios=(2.6, 1))
    grid = runs[0].schedule.grid
    first, end = _busiest_week(runs[0].schedule.total_kw(), round(7 * 86400 / grid.step_s))
    times = [grid.start_of(step).astimezone(zone) for step in range(first, end)]
    for run, colour in zip(runs, _COLOURS, strict=False):
        total_kw = (run.schedule.total_kw() + other_kw)[first:end]
        power.step(times, total_kw, where="post", color=colour, linewidth=1.1, label=_label(run))
    if feeder_kw < 2 * max(float(run.schedule.total_kw().max()) for run in runs):
        power.axhline(feeder_kw, color="black", linestyle="--", linewidth=0.9, label="feeder")
    power.set_ylabel("power from the grid [kW]")
    power.set_xlabel(f"{times[0]:%B %Y}")
    power.set_ylim(bottom=min(0.0, float(other_kw.min())))
    power.xaxis.set_major_locator(date_axis.DayLocator(tz=zone))
    power.xaxis.set_major_formatter(date_axis.DateFormatter("%a %d", tz=zone))
    power.legend(fontsize=8)
    _draw_cost(cost, runs)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)
    plot.close(figure)


def _draw_cost(axes: Any, runs: Sequence[PolicyRun]) -> None:
    for row, run in enumerate(runs):
        energy_kwh = max(run.result.energy_kwh, 1e-9)
        energy, demand = run.result.energy_cost / energy_kwh, run.result.demand_cost / energy_kwh
        axes.barh(row, energy, color="#90a4ae", label="energy" if row == 0 else None)
        axes.barh(row, demand, left=energy, color="#ef6c00", label="demand charge" if row == 0 else None)
        axes.text(energy + demand, row, f" {energy + demand:.3f}", va="center", fontsize=8)
    axes.set_yticks(range(len(runs)), [_label(run) for run in runs], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel("cost per kWh charged")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2)


def _label(run: PolicyRun) -> str:
    return f"{run.policy} ({run.result.information})" if run.result.information else run.policy.value


def _busiest_week(total_kw: FloatArray, steps: int) -> tuple[int, int]:
    if len(total_kw) <= steps:
        return 0, len(total_kw)
    sums = np.cumsum(np.concatenate((np.zeros(1), total_kw)))
    first = int(np.argmax(sums[steps:] - sums[:-steps]))
    return first, first + steps
