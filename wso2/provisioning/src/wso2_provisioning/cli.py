"""Command line of the bootstrap."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ev_service.errors import ConfigurationError, EvError
from ev_service.settings import load
from wso2_provisioning.applications import APPLICATIONS
from wso2_provisioning.backends import load_configured_artifacts, write_apictl_params
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.provision import ProvisioningResult, Wso2, provision
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.smoke_test import wait_until_ready
from wso2_provisioning.trust_anchor import Confirmation, save_ca
from wso2_terms.artifacts import Artifacts
from wso2_terms.documents import ArtifactError

_DESCRIPTION = (
    "Give WSO2 API Manager, or the local gateway, its policies, APIs, MCP servers, users, applications and keys."
)
_EPILOG = """\
Safe to run again at any moment: what is there already stays as it is.

environment (an empty variable counts as unset; passwords also as NAME_FILE, a file to read):
  WSO2_ADMIN_PASSWORD   password of the administrator (WSO2_ADMIN_USERNAME, default admin)
  EVAPP_PASSWORD        password of evapp, the owner of EVApp: 5 to 30 characters, no blanks
  ASSISTANT_PASSWORD    password of assistant, the owner of Assistant; unset, Assistant is left out
  OPERATOR_PASSWORD     password of operator, the owner of Operator; unset, Operator is left out
  WSO2_MANAGEMENT_URL   default https://localhost:9443
  WSO2_GATEWAY_URL      default https://localhost:8243
  WSO2_TOKEN_URL        default WSO2_MANAGEMENT_URL/oauth2/token
  WSO2_CA_FILE          PEM to trust in addition to the system's
  SOLAR_BACKEND_URL     where the gateway finds the services, default http://localhost:8001
  BATTERY_BACKEND_URL   default http://localhost:8002
  GRID_BACKEND_URL      default http://localhost:8003
  AGENT_BACKEND_URL     default http://localhost:8004
  CHARGERS_BACKEND_URL  default http://localhost:8005

exit code: 0 everything is as it must be; 1 it is not (--check), or something failed; 2 wrong usage
"""


def main(argv: Sequence[str] | None = None, *, artifacts_dir: Path | None = None) -> int:
    """Run the bootstrap and return its exit code.

    Args:
        argv: arguments; None takes those of the process.
        artifacts_dir: default of `--artifacts`.
    """
    arguments = _build_parser(artifacts_dir).parse_args(argv)
    console = Console(stderr=True, quiet=arguments.quiet, highlight=False, soft_wrap=True)
    try:
        if arguments.apictl_params is not None:
            artifacts = _load_artifacts(arguments.artifacts)
            for path in write_apictl_params(artifacts, arguments.apictl_params, arguments.apictl_environment):
                console.print(f"[green]·[/] {escape(str(path))}")
            return 0
        outcome = _provision(arguments, console)
    except (EvError, ArtifactError) as error:
        # Not through the quiet console: --quiet suppresses progress, not the error.
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]failed[/] {escape(str(error))}")
        if arguments.json:
            _print_json({"ok": False, "error": str(error), "code": getattr(error, "code", "artifact_error")})
        return 1
    except KeyboardInterrupt:
        console.print("[red]stopped[/] half-way; run it again at any moment, it goes on from there")
        return 1
    return _report_result(arguments, console, outcome)


def _provision(arguments: argparse.Namespace, console: Console) -> ProvisioningResult:
    settings = load(ProvisioningSettings)
    # Before anything is contacted: a missing password is reported at once, not after minutes of waiting.
    settings.require_admin_password()
    settings.require_evapp_password()
    for application in APPLICATIONS:
        settings.find_owner_password(application)
    artifacts = _load_artifacts(arguments.artifacts)
    changes = ChangeLog(is_dry_run=arguments.check, report=lambda line: console.print(f"[green]·[/] {escape(line)}"))
    if arguments.save_ca is not None:
        settings = _save_ca(arguments, settings)
    with HttpClient(settings.wso2_ca_file) as http:
        wait_until_ready(http, settings.wso2_management_url, arguments.wait, changes.report)
        return provision(
            Wso2(http, settings, is_dry_run=arguments.check),
            artifacts,
            changes,
            credentials_dir=arguments.credentials_dir,
            rotate_secret=arguments.rotate_secret,
        )


def _save_ca(arguments: argparse.Namespace, settings: ProvisioningSettings) -> ProvisioningSettings:
    # Not through the quiet console: the question needs its context. `:AB:` in a fingerprint is no emoji.
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    confirmation = Confirmation(arguments.yes_fingerprint, input if sys.stdin.isatty() else None)
    save_ca(
        settings.wso2_management_url,
        arguments.save_ca,
        confirmation,
        arguments.wait,
        lambda line: console.print(f"[green]·[/] {escape(line)}"),
    )
    return settings.model_copy(update={"wso2_ca_file": arguments.save_ca})


def _load_artifacts(folder: Path | None) -> Artifacts:
    if folder is None:
        raise ConfigurationError("--artifacts is needed: the folder that contains apis/, mcp-servers/ and policies/")
    return load_configured_artifacts(folder)


def _report_result(arguments: argparse.Namespace, console: Console, outcome: ProvisioningResult) -> int:
    is_drifted = bool(arguments.check and outcome.changes)
    if arguments.check:
        console.print(f"[yellow]{len(outcome.changes)} to change[/]" if is_drifted else "[green]as it must be[/]")
    else:
        changed = f"{len(outcome.changes)} changed" if outcome.changes else "nothing to change"
        console.print(f"[green]done[/] {changed}; {escape(outcome.proof or 'not proven')}")
    if arguments.json:
        _print_json(
            {
                "ok": not is_drifted,
                "changes": outcome.changes,
                "warnings": outcome.warnings,
                "limits": {name: {"requests": it.requests, "per_s": it.per_s} for name, it in outcome.limits.items()},
                "proof": outcome.proof,
            }
        )
    return 1 if is_drifted else 0


def _print_json(value: Mapping[str, object]) -> None:
    print(json.dumps(value))  # noqa: T201 - what --json is for


def _build_parser(artifacts_dir: Path | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bootstrap.py",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--check", action="store_true", help="report what would change, change nothing, exit 1 on drift"
    )
    parser.add_argument(
        "--credentials-dir",
        type=Path,
        metavar="DIR",
        help="write client_id, client_secret and limits.json for the agent there, all three at once",
    )
    parser.add_argument(
        "--artifacts",
        type=Path,
        metavar="DIR",
        default=artifacts_dir,
        help="folder that holds apis/, mcp-servers/ and policies/ (default: %(default)s)",
    )
    parser.add_argument(
        "--rotate-secret",
        action="store_true",
        help="replace EVApp's secret, and an owner's password if WSO2 has another one",
    )
    _add_trust_options(parser)
    parser.add_argument(
        "--wait",
        type=_parse_seconds,
        default=300.0,
        metavar="SECONDS",
        help="for WSO2 to be ready (default: %(default).0f)",
    )
    _add_apictl_options(parser)
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error, errors only")
    return parser


def _add_trust_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--save-ca",
        type=Path,
        metavar="FILE",
        help="show the server's certificate, store what it is trusted by in FILE once confirmed, and go on with it",
    )
    parser.add_argument(
        "--yes-fingerprint", metavar="HEX", help="confirm --save-ca: SHA-256 of the server's certificate"
    )


def _add_apictl_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--apictl-params",
        type=Path,
        metavar="DIR",
        help="write a parameters file for apictl with each API's endpoints below DIR, and do nothing else",
    )
    parser.add_argument(
        "--apictl-environment",
        default="local",
        metavar="NAME",
        help="name of WSO2 in apictl (default: %(default)s)",
    )


def _parse_seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"must be between 0 and 86400 s, got {text}")
    return value
