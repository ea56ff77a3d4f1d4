"""The command line: which stack, which rows, where the results go, and how it ended."""

import argparse
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from tests.attacks import report
from tests.attacks.attack_run import AttackRun
from tests.attacks.matrix import every_row
from tests.attacks.rows import Group, Result, Row, carry_out, select_rows
from tests.attacks.run_lifecycle import create_run
from tests.attacks.stack_discovery import find_stack

from ev_service.errors import EvError
from local_stack.stack import ROOT
from wso2_provisioning.verification.rows import is_green
from wso2_terms.documents import ArtifactError

_DESCRIPTION = "Attack the running stack: what is tried, what must happen, what happened; a row for each attack."
_EPILOG = """\
Which stack: the one that the variables of the bootstrap name (WSO2_MANAGEMENT_URL or WSO2_GATEWAY_URL set; see
scripts/bootstrap.py --help), else that of `make run`, else that of `make up`, else one of its own, which it starts
and ends. On a stack of its own minutes are jumped over; elsewhere it waits for them and says so.

Works with a user, applications and an API of its own, and takes them back, also after Ctrl-C; what a run left that
was killed is removed by the next. EVApp's calls are not spent and its token is not revoked.

exit code: 0 every row that could be tried holds; 1 one differs, or nothing could be tried; 2 wrong usage; 130 stopped
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Try the rows that are asked for and return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    try:
        rows = tuple(select_rows(every_row(), arguments.only))
    except ValueError as error:
        parser.error(str(error))
    if arguments.list:
        for row in rows:
            console.print(f"{row.row_id:<36} {escape(row.title)}: {escape(' or '.join(row.expected))}")
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _prove(rows, arguments, console)
    except (EvError, ArtifactError) as error:
        console.print(f"[red]failed[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        console.print("[red]stopped[/] half-way; what was made is removed")
        return 130


def _prove(rows: Sequence[Row], arguments: argparse.Namespace, console: Console) -> int:
    def say(line: str) -> None:
        console.print(f"[yellow]·[/] {escape(line)}")

    started = datetime.now(UTC)
    with find_stack(say, is_own=arguments.own) as stack:
        label = report.label_of(stack.label, started)
        console.print(f"[bold]{escape(label)}[/]")
        with create_run(stack, say) as run:
            results = _carry_out_rows(rows, run, console)
    report.print_results(results, console)
    report.write_json(arguments.json, label, results)
    report.write_junit(arguments.junit, label, results)
    if arguments.markdown is not None:
        arguments.markdown.write_text(f"{label}\n\n{report.as_markdown(results)}", encoding="utf-8")
    console.print(f"{escape(label)}; {(datetime.now(UTC) - started).total_seconds():.0f} s; see {arguments.json}")
    return 0 if is_green(results) else 1


def _carry_out_rows(rows: Sequence[Row], run: AttackRun, console: Console) -> list[Result]:
    results: list[Result] = []
    for row in rows:
        results.append(carry_out(row, run))
        console.print(report.format_row(results[-1]))
    return results


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make prove",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="print the rows and try none")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ID|GROUP",
        help=f"try these alone; may be given again; groups: {', '.join(Group)}",
    )
    parser.add_argument("--own", action="store_true", help="start a stack of its own, whatever runs")
    out = ROOT / "out"
    parser.add_argument("--json", type=Path, metavar="FILE", default=out / "attacks.json", help="default %(default)s")
    parser.add_argument("--junit", type=Path, metavar="FILE", default=out / "attacks.xml", help="default %(default)s")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table of docs/attack-matrix.md")
    return parser
