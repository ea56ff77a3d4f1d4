"""The day in the terminal: a live table, or one line an hour where there is no terminal."""

from collections import deque
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.live import Live
from rich.table import Table

from local_stack.day import Step

STYLE_OF = {"pause": "red", "slow": "yellow", "normal": "cyan", "fast": "green"}
_ROWS = 16


def show_steps(steps: Iterable[Step], console: Console) -> Iterator[Step]:
    """Show each step and yield it."""
    return _show_table(steps, console) if console.is_terminal else _print_lines(steps, console)


def _show_table(steps: Iterable[Step], console: Console) -> Iterator[Step]:
    last: deque[Step] = deque(maxlen=_ROWS)
    with Live(console=console, refresh_per_second=10) as live:
        for step in steps:
            last.append(step)
            live.update(_table(last))
            yield step


def _print_lines(steps: Iterable[Step], console: Console) -> Iterator[Step]:
    former: Step | None = None
    for step in steps:
        if former is None or step.rule != former.rule:
            console.print(" ".join(_cells(step)), soft_wrap=True, highlight=False)
        former = step
        yield step


def _table(steps: Iterable[Step]) -> Table:
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
        table.add_row(*_cells(step), style=STYLE_OF[step.action])
    return table


def _cells(step: Step) -> tuple[str, ...]:
    return (
        f"{step.at:%H:%M}",
        _number(step.generation_kw, "kW", 1),
        _number(step.soc_percent, "%", 0),
        _number(step.load_percent, "%", 0),
        f"{step.action:6}",
        f"{step.charging_power_kw:3g} kW",
        f"{len(step.charging.cars)} take {step.charging.charging_kw:4.1f} kW",
        step.reason,
    )


def _number(value: float | None, unit: str, digits: int) -> str:
    return "—" if value is None else f"{value:5.{digits}f} {unit}"
