"""`make demo`: one day of cars charging through the gateway, seven controls, one picture."""

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

from ev_service.clock import write_clock_file
from ev_service.settings import SiteSettings
from local_stack.controls import ControlResult, prove_controls
from local_stack.day import Charging, DayPlan, Step, play
from local_stack.environment import free_ports, make_passwords, remove_settings
from local_stack.measured_day import write_measured_day
from local_stack.presentation import draw, show_steps
from local_stack.stack import ROOT, StackPlan, running

DEMO_DAY = date(2026, 6, 25)
PICTURE = ROOT / "out" / "demo-day.png"
_PACE_S = 0.1
_OVERLOAD_PERCENT = 85.0
_TOLERANCE_KW = 1.0
_TOLERANCE_A = 1.5
"""The tolerance of one phase [A]."""
_WITHIN = "no car charges over it"


@dataclass(frozen=True, slots=True)
class Scenario:
    """The day that is played and the settings of the services for it."""

    plan: DayPlan
    """Date and steps."""

    title: str
    """Title of the picture."""

    settings: Mapping[str, str]
    """Variables of the stack's processes."""


def demo(arguments: argparse.Namespace, console: Console) -> int:
    """Play the day and show the controls.

    Returns:
        0 when every control held, else 1.
    """
    remove_settings(os.environ)
    # Resolved, because the temporary folder is a symbolic link on some systems.
    with tempfile.TemporaryDirectory(prefix="ev-demo-") as folder:
        state = Path(folder).resolve()
        scenario = _plan_scenario(arguments, state)
        clock_file = state / "clock.json"
        start = datetime.combine(scenario.plan.day, time_of_day(), ZoneInfo(scenario.plan.timezone))
        write_clock_file(clock_file, start)
        settings = dict(scenario.settings) | {
            "SIM_CLOCK_FILE": str(clock_file),
            "SIM_SEED": str(arguments.seed),
            "AGENT_PERIOD_S": f"{scenario.plan.agent_period.total_seconds():.0f}",
        }
        stack_plan = StackPlan(free_ports(), make_passwords(), state, settings)
        console.print(f"[bold]{scenario.title}[/]", soft_wrap=True)
        with running(stack_plan, lambda step: console.print(f"  starting: {step}")) as stack:
            steps = list(
                show_steps(play(scenario.plan, stack_plan.agent_url, stack_plan.twin_url, clock_file), console)
            )
            controls = _show_controls([check_site_limit(steps), *prove_controls(stack.plan, clock_file)], console)
    _print_day(steps, console)
    draw(steps, scenario.title, _OVERLOAD_PERCENT, PICTURE)
    console.print(f"picture of the day: {PICTURE.relative_to(ROOT)}")
    return 0 if all(control.holds for control in controls) else 1


def _plan_scenario(arguments: argparse.Namespace, state: Path) -> Scenario:
    step, pace_s = timedelta(minutes=arguments.step_min), 0.0 if arguments.fast else _PACE_S
    if arguments.measured:
        measured = write_measured_day(arguments.day, state)
        plan = DayPlan(measured.day, measured.timezone, step, pace_s, is_recorded=True)
        return Scenario(plan, measured.title, measured.settings)
    plan = DayPlan(arguments.day or DEMO_DAY, SiteSettings().timezone, step, pace_s)
    return Scenario(plan, f"A simulated day at Greensboro on measured weather, {plan.day}, seed {arguments.seed}", {})


def _show_controls(controls: Sequence[ControlResult], console: Console) -> Sequence[ControlResult]:
    table = Table(title="seven controls, tried on the running stack")
    for name in ("control", "expected", "observed", ""):
        table.add_column(name)
    for control in controls:
        verdict = "[green]holds[/]" if control.holds else "[red]FAILS[/]"
        table.add_row(control.name, control.expected, control.observed, verdict)
    console.print(table)
    return controls


def _print_day(steps: Sequence[Step], console: Console) -> None:
    rules = Counter(step.rule for step in steps)
    counts = ", ".join(f"{rule} {count}" for rule, count in rules.most_common())
    console.print(
        f"{len(steps)} governed decisions: {counts}; {sum(step.is_degraded for step in steps)} degraded", soft_wrap=True
    )
    charging = [step.charging for step in steps]
    cars = {car.car_id for at_step in charging for car in at_step.cars}
    energy_kwh = sum(at_step.charging_kw for at_step in charging) * 24 / len(steps)
    console.print(f"{len(cars)} cars took about {energy_kwh:.0f} kWh", soft_wrap=True)


def check_site_limit(steps: Sequence[Step]) -> ControlResult:
    """Check that no car charged while the connection, or a phase that the car uses, was over its share."""
    over = [step for step in steps if _is_over(step.charging)]
    uncommanded = [step for step in steps if not step.charging.is_commanded]
    charged = [step.charging for step in steps if step.charging.charging_kw > _TOLERANCE_KW]
    highest_kw = max(charging.load_kw for charging in charged)
    of_phases = zip(*(charging.phases for charging in charged), strict=True)
    highest_a = [max(phase.load_a for phase in of_phase) for of_phase in of_phases]
    observed = f"cars over it in {len(over)} of {len(steps)} steps" if over else _WITHIN
    if uncommanded:
        observed = f"{observed}; limits not set in {len(uncommanded)} steps"
    phases = ", ".join(f"{current_a:.0f}" for current_a in highest_a)
    highest = f"highest with cars {highest_kw:.0f} kW; {phases} A"
    return ControlResult(
        f"{_OVERLOAD_PERCENT:g} % of the connection and each phase, all day; {highest}", _WITHIN, observed
    )


def _is_over(charging: Charging) -> bool:
    # A car at its minimum current, or slightly above its limit, is no overload.
    excess_kw = charging.load_kw - _OVERLOAD_PERCENT / 100 * charging.limit_kw
    return min(excess_kw, charging.charging_kw) > _TOLERANCE_KW or any(
        min(phase.load_a - _OVERLOAD_PERCENT / 100 * phase.limit_a, phase.charging_a) > _TOLERANCE_A
        for phase in charging.phases
    )
