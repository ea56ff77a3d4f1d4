"""How a run is told: a table for people, JUnit XML and JSON for machines."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.markup import escape
from tests.attacks.rows import Result, RowState

from ev_service.units import utc_text

_COLOURS = {RowState.HOLDS: "green", RowState.DIFFERS: "red", RowState.NOT_TRIED: "yellow"}
_ID_WIDTH, _SHOWN = 34, 60


def label_of(stack: str, started: datetime) -> str:
    """What was attacked and when, on every form of the report."""
    return f"attacked: {stack}; {utc_text(started)}"


def told(result: Result) -> str:
    """One result for a terminal."""
    colour = _COLOURS[result.state]
    measured = f"  ({result.measured})" if result.measured else ""
    head = f"[{colour}]{result.state:<9}[/] {escape(result.row_id):<{_ID_WIDTH}} {escape(result.title)}"
    if result.state is RowState.HOLDS:
        return f"{head}\n{'':45}{escape(result.observed + measured)}  [dim]{result.took_s:.2f} s[/]"
    return (
        f"{head}\n{'expected':>44} {escape(result.expected)}\n{'observed':>44} {escape(result.observed + measured)}"
        f"  [dim]{result.took_s:.2f} s[/]"
    )


def summary(results: Sequence[Result]) -> str:
    """How many rows ended how."""
    return ", ".join(f"{sum(one.state is state for one in results)} {state}" for state in RowState)


def is_green(results: Sequence[Result]) -> bool:
    """Nothing differs, and something holds."""
    return not any(one.state is RowState.DIFFERS for one in results) and any(
        one.state is RowState.HOLDS for one in results
    )


def tell(results: Sequence[Result], console: Console) -> None:
    """Print each row that did not hold once more: they scroll away."""
    for result in results:
        if result.state is not RowState.HOLDS:
            console.print(told(result))
    console.print(f"{len(results)} rows: {summary(results)}")


def write_json(path: Path, label: str, results: Sequence[Result]) -> None:
    """Write the results as JSON."""
    content = {"label": label, "rows": [asdict(result) for result in results]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_junit(path: Path, label: str, results: Sequence[Result]) -> None:
    """Write the results as JUnit XML, as CI reads it."""
    count = {state: sum(one.state is state for one in results) for state in RowState}
    suite = ElementTree.Element(
        "testsuite",
        name="attacks",
        tests=str(len(results)),
        failures=str(count[RowState.DIFFERS]),
        errors="0",
        skipped=str(count[RowState.NOT_TRIED]),
        time=f"{sum(one.took_s for one in results):.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="label", value=label)
    for one in results:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"attacks.{one.group}", name=one.row_id, time=f"{one.took_s:.3f}"
        )
        if one.state is RowState.DIFFERS:
            message = f"expected {one.expected}, observed {one.observed}"
            ElementTree.SubElement(case, "failure", message=message).text = one.title
        elif one.state is RowState.NOT_TRIED:
            ElementTree.SubElement(case, "skipped", message=one.observed)
        else:
            ElementTree.SubElement(case, "system-out").text = f"{one.observed} {one.measured}".strip()
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def as_markdown(results: Sequence[Result]) -> str:
    """The results as the table of docs/attack-matrix.md."""
    lines = ["| row | tried | observed, as it must be |", "| --- | --- | --- |"]
    for one in results:
        observed = one.observed if one.state is RowState.HOLDS else f"**{one.state}**: {one.observed}"
        cells = (f"`{one.row_id}`", one.title, f"{observed} ({one.measured})" if one.measured else observed)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
