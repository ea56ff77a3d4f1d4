"""How a run is told: a table for people, JUnit XML and JSON for machines."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from tests.attacks.rows import Result, RowState

from ev_service.units import utc_text
from wso2_provisioning.verification.rows import format_json, format_result, format_summary, write_report

_ID_WIDTH = 34


def label_of(stack: str, started: datetime) -> str:
    """What was attacked and when, on every form of the report."""
    return f"attacked: {stack}; {utc_text(started)}"


def format_row(result: Result) -> str:
    """Format one result for a terminal."""
    return format_result(f"{result.row_id:<{_ID_WIDTH}} {result.title}", result, took_s=result.took_s)


def print_results(results: Sequence[Result], console: Console) -> None:
    """Print each row that did not hold once more: they scroll away."""
    for result in results:
        if result.state is not RowState.HOLDS:
            console.print(format_row(result))
    console.print(f"{len(results)} rows: {format_summary(results)}")


def write_json(path: Path, label: str, results: Sequence[Result]) -> None:
    """Write the results as JSON."""
    write_report(path, format_json(results, label=label))


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
