"""Expected against observed: one fact per row, the way to observe it, and the report of all rows.

`make verify-wso2`, the policy cases and the attacks of `make prove` use this engine and this format.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from rich.markup import escape

from ev_service.errors import EvError


class RowState(StrEnum):
    """Result of a row."""

    HOLDS = "holds"
    DIFFERS = "differs"
    NOT_TRIED = "not tried"


_COLOURS = {RowState.HOLDS: "green", RowState.DIFFERS: "red", RowState.NOT_TRIED: "yellow"}


class RowSkippedError(Exception):
    """A row cannot be observed because something that it needs is missing; the message names it."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Result of observing one fact."""

    text: str
    """Compared with what is expected."""
    measured: str = ""
    """Reported next to the text, and compared with nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fact, and how it is observed."""

    name: str
    needs: str
    """What must be available to observe it."""
    expected: str
    observe: Callable[[], Observation]


@dataclass(frozen=True, slots=True)
class RowResult:
    """One fact, after it was observed."""

    name: str
    needs: str
    expected: str
    observed: str
    measured: str
    state: RowState


class ReportedResult(Protocol):
    """What the report needs of a result."""

    @property
    def expected(self) -> str: ...
    @property
    def observed(self) -> str: ...
    @property
    def measured(self) -> str: ...
    @property
    def state(self) -> RowState: ...


def check_row(row: Row) -> RowResult:
    """Observe one fact and compare it with what is expected; never raises."""
    observation, state = observe_and_compare(row.observe, (row.expected,))
    return RowResult(row.name, row.needs, row.expected, observation.text, observation.measured, state)


def observe_and_compare(observe: Callable[[], Observation], expected: Collection[str]) -> tuple[Observation, RowState]:
    """Observe one fact; an error is a difference in this row and does not end the others.

    Args:
        observe: observes it; raises RowSkippedError if it cannot.
        expected: texts that hold.
    """
    try:
        observation = observe()
    except RowSkippedError as missing:
        return Observation(str(missing)), RowState.NOT_TRIED
    except EvError as error:
        return Observation(f"failed: {error.message}"), RowState.DIFFERS
    except Exception as error:
        # An answer of an unforeseen form. Only the type is reported: the message may contain the answer.
        return Observation(f"failed: {type(error).__name__}"), RowState.DIFFERS
    return observation, RowState.HOLDS if observation.text in expected else RowState.DIFFERS


def format_result(label: str, result: ReportedResult, *, took_s: float | None = None) -> str:
    """Format one result for a terminal, as Rich markup.

    Args:
        label: identifies the row.
        result: of the row.
        took_s: how long it took [s], if that is reported.
    """
    measured = f"  ({result.measured})" if result.measured else ""
    observed = escape(result.observed + measured) + ("" if took_s is None else f"  [dim]{took_s:.2f} s[/]")
    head = f"[{_COLOURS[result.state]}]{result.state:<10}[/] {escape(label)}"
    if result.state is RowState.HOLDS:
        return f"{head}\n{'':20}{observed}"
    return f"{head}\n{'expected':>19} {escape(result.expected)}\n{'observed':>19} {observed}"


def format_summary(results: Sequence[ReportedResult]) -> str:
    """Return the number of rows in each state."""
    return ", ".join(f"{sum(one.state is state for one in results)} {state}" for state in RowState)


def is_green(results: Sequence[ReportedResult]) -> bool:
    """Return whether no row differs and at least one holds."""
    states = {one.state for one in results}
    return RowState.DIFFERS not in states and RowState.HOLDS in states


def format_json(results: Sequence[Any], **head: str) -> str:
    """Return results, which are dataclasses, as a JSON document.

    Args:
        results: listed under `rows`.
        head: fields before them.
    """
    return json.dumps({**head, "rows": [asdict(one) for one in results]}, indent=2, ensure_ascii=False) + "\n"


def write_report(file: Path, text: str) -> None:
    """Write a report; its folder is created if missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def remove_each(removals: Iterable[tuple[str, Callable[[], None]]], report: Callable[[str], None]) -> bool:
    """Remove one thing after the other, also after one that cannot be removed.

    Args:
        removals: What is removed, in words, and what removes it.
        report: Called with what could not be removed.

    Returns:
        Whether all was removed.
    """
    is_clean = True
    for what, remove in removals:
        try:
            remove()
        except EvError as error:
            report(f"{what} not removed: {error.message}")
            is_clean = False
    return is_clean
