"""Command line of the verification."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape

from ev_service.clock import make_clock
from ev_service.errors import EvError
from ev_service.settings import RunSettings, load
from wso2_provisioning.backends import load_configured_artifacts
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.smoke_test import wait_until_ready
from wso2_provisioning.verification.context import VerificationContext
from wso2_provisioning.verification.echo import run_echo_backend
from wso2_provisioning.verification.rows import (
    RowResult,
    format_json,
    format_result,
    format_summary,
    is_green,
    write_report,
)
from wso2_provisioning.verification.runner import build_all_rows, run_rows
from wso2_terms.documents import ArtifactError

_DESCRIPTION = "Compare a running, bootstrapped WSO2 with what is expected of it, row by row."
_EPILOG = """\
Variables are those of the bootstrap (see bootstrap.py --help), and GATEWAY_CERT_FILE for the assertion's signature.
Works with applications, two APIs, an MCP server, two limits and a role of its own and removes them; the agent goes on
undisturbed, but for the calls of all applications together that an API allows in a minute.

exit code: 0 every row that could be observed holds; 1 one differs, or none could be observed; 2 wrong usage
"""


_STANDARD_OUTPUT = Path("-")


def main(argv: Sequence[str] | None = None, *, artifacts_dir: Path | None = None) -> int:
    """Observe every row and return the exit code.

    Args:
        argv: arguments; None takes those of the process.
        artifacts_dir: default of `--artifacts`.
    """
    arguments = _build_parser(artifacts_dir).parse_args(argv)
    # With `-` standard output contains only the JSON.
    console = Console(stderr=arguments.json == _STANDARD_OUTPUT, highlight=False, soft_wrap=True, emoji=False)
    try:
        results = _run_rows(arguments, console)
    except (EvError, ArtifactError) as error:
        console.print(f"[red]failed[/] {escape(str(error))}")
        return 1
    except KeyboardInterrupt:
        console.print("[red]stopped[/] half-way; what was made is removed")
        return 1
    return _report_results(results, arguments.json, console)


def _run_rows(arguments: argparse.Namespace, console: Console) -> list[RowResult]:
    settings = load(ProvisioningSettings)
    settings.require_admin_password()
    settings.require_evapp_password()
    artifacts = load_configured_artifacts(arguments.artifacts)
    results: list[RowResult] = []

    def report(line: str) -> None:
        console.print(f"[yellow]·[/] {escape(line)}")

    with HttpClient(settings.wso2_ca_file) as http, ExitStack() as stack:
        wait_until_ready(http, settings.wso2_management_url, arguments.wait, report)
        echo = None
        if arguments.echo_url is not None:
            echo = stack.enter_context(run_echo_backend(arguments.echo_bind, arguments.echo_url.port or 80))
        context = VerificationContext(http, settings, artifacts, make_clock(load(RunSettings).sim_clock_file))
        url = None if arguments.echo_url is None else str(arguments.echo_url)
        rows = build_all_rows(context, echo=echo, echo_url=url, metrics_log=arguments.metrics_log)
        for result in run_rows(context, rows, report):
            console.print(format_result(result.name, result))
            results.append(result)
    return results


def _report_results(results: Sequence[RowResult], file: Path | None, console: Console) -> int:
    console.print(format_summary(results))
    text = format_json(results)
    if file == _STANDARD_OUTPUT:
        sys.stdout.write(text)
    elif file is not None:
        write_report(file, text)
        console.print(f"written to {file}")
    return 0 if is_green(results) else 1


def _build_parser(artifacts_dir: Path | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verify_wso2.py",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--artifacts",
        type=Path,
        metavar="DIR",
        default=artifacts_dir,
        required=artifacts_dir is None,
        help="folder that holds apis/ and policies/ (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too; - for standard output")
    parser.add_argument(
        "--metrics-log",
        metavar="WHERE",
        help="apim_metrics.log: a file, or SERVICE:PATH in a running container of the Compose project",
    )
    parser.add_argument(
        "--echo-url",
        type=_parse_url,
        metavar="URL",
        help="where the gateway reaches this machine: a backend is started on that port, to see the assertion",
    )
    parser.add_argument(
        "--echo-bind", metavar="ADDRESS", default="127.0.0.1", help="where it listens (default: %(default)s)"
    )
    parser.add_argument(
        "--wait", type=float, default=300.0, metavar="SECONDS", help="for WSO2 to be ready (default: %(default).0f)"
    )
    return parser


def _parse_url(text: str) -> httpx.URL:
    url = httpx.URL(text)
    if url.scheme != "http" or not url.host:
        raise argparse.ArgumentTypeError(f"must be http://HOST:PORT, got {text}")
    return url
