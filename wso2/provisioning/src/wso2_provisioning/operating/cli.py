"""Command line with which a person sees and operates the site."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from ev_service.errors import ConfigurationError, EvError
from ev_service.settings import load
from ev_service.units import utc_text
from wso2_provisioning.applications import OPERATOR
from wso2_provisioning.backends import load_configured_artifacts
from wso2_provisioning.http_client import HttpClient, Identity, parse_json_object
from wso2_provisioning.operating.commands import GatewayCall, build_call, format_csv, render_answer
from wso2_provisioning.owner_applications import request_application_token
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.wso2 import Wso2
from wso2_terms.artifacts import Artifacts
from wso2_terms.documents import ArtifactError

# A scope of its own, so that a kill at the same time keeps its token.
_OWN_TOKEN = "device_operating"
_UNFOLDED = 250
_EPILOG = """\
  make operate ARGS="chargers"                                        what every charger does
  make operate ARGS="sessions --csv"                                  who charged, where, when and how much
  make operate ARGS="stop --minutes 30" REASON="fire alarm test"      no car charges
  make operate ARGS="power 11 --minutes 30" REASON="customer's wish"  each car may draw so much, within all limits
  make operate ARGS="release" REASON="test is over"                   agents command again
  make operate ARGS="limit 60" REASON="transformer works"             building and cars together; "limit none" undoes it
  make operate ARGS="departure SESSION --at 2026-06-21T21:00+02:00 --energy-kwh 30"
  make operate ARGS="mode SESSION surplus"

Without make: python scripts/dev.py operate stop --minutes 30 REASON="fire alarm test". It acts on
whatever runs here, of make run or of make up; STACK=run or STACK=compose names one of them. With WSO2_ADMIN_PASSWORD
set it is the one that the variables of scripts/bootstrap.py and OPERATOR_PASSWORD name.

exit code: 0 it is done; 1 it is not, and the reason is printed; 2 wrong usage
"""


def main(argv: Sequence[str] | None = None, *, artifacts_dir: Path) -> int:
    """Carry a command out, and return the exit code.

    Args:
        argv: arguments; None takes those of the process.
        artifacts_dir: folder of the artifacts.
    """
    arguments = build_parser().parse_args(argv)
    try:
        artifacts = load_configured_artifacts(artifacts_dir)
        if "reason" in arguments and not (arguments.reason or "").strip():
            raise ConfigurationError('an order needs a reason, which is recorded: REASON="…", or --reason')
        answer = _execute(arguments, artifacts)
    except (EvError, ArtifactError) as error:
        sys.stderr.write(f"not done: {error}\n")
        return 1
    if getattr(arguments, "csv", False):
        sys.stdout.write(format_csv(answer["sessions"]))
        return 0
    if arguments.json:
        sys.stdout.write(f"{json.dumps(answer, indent=2)}\n")
        return 0
    # Piped output is not wrapped; texts of chargers are not markup.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else _UNFOLDED)
    for part in render_answer(arguments.command, answer):
        console.print(part)
    return 0


def _execute(arguments: argparse.Namespace, artifacts: Artifacts) -> dict[str, Any]:
    """Return the answer to a command; the pages of completed sessions are joined."""
    answer = _send(build_call(arguments), artifacts)
    known = {one["session_id"] for one in answer["sessions"]} if answer.get("next_since") else set[str]()
    while (since := answer.get("next_since")) is not None:
        page = _send(build_call(argparse.Namespace(**vars(arguments) | {"since": since})), artifacts)
        new = [one for one in page["sessions"] if one["session_id"] not in known]
        known.update(one["session_id"] for one in new)
        answer["sessions"] += new
        answer["next_since"] = page["next_since"] if new else None
    return answer


def _send(call: GatewayCall, artifacts: Artifacts) -> dict[str, Any]:
    settings = load(ProvisioningSettings)
    url = settings.wso2_gateway_url + artifacts.find_api(call.api).api.versioned_context + call.target
    with HttpClient(settings.wso2_ca_file) as http:
        token = request_application_token(Wso2(http, settings), artifacts, OPERATOR, _OWN_TOKEN)
        identity = Identity.from_token(OPERATOR.name, token.access_token)
        return parse_json_object(http.call(call.method, url, identity, json=call.body))


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="make operate", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the answer as it came")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("chargers", help="what every charger does, and under which limit")
    sessions = commands.add_parser("sessions", help="which cars are there; with --since who charged, and how much")
    sessions.add_argument(
        "--since", type=_parse_timestamp, help="sessions that ended then or later, with token and name"
    )
    sessions.add_argument("--csv", action="store_true", help="those that are over, as CSV; without --since all")
    commands.add_parser("orders", help="who ordered what, when and why").add_argument(
        "--most", type=int, default=20, help="how many, the newest first"
    )
    stop = _add_order(commands, "stop", "no car charges, for some minutes")
    power = _add_order(commands, "power", "every car may draw so much, for some minutes")
    power.add_argument("kilowatts", type=float, help="each car's power [kW]; lowered where it does not fit")
    for lasting in (stop, power):
        lasting.add_argument("--minutes", type=float, required=True, help="after which it ends by itself")
    _add_order(commands, "release", "end a stop or a power before its time")
    limit = _add_order(commands, "limit", "what building and cars may draw together")
    limit.add_argument("kilowatts", type=_parse_kilowatts, help="at most as configured [kW]; none: back to that")
    _add_departure(commands)
    _add_mode(commands)
    return parser


def _add_order(commands: Any, name: str, what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=what, description=what)
    parser.add_argument("--reason", default=os.environ.get("REASON"), help="why; else the variable REASON")
    return parser


def _add_departure(commands: Any) -> None:
    what = "say when a car leaves, and what it needs until then"
    departure: argparse.ArgumentParser = commands.add_parser("departure", help=what, description=what)
    departure.add_argument("session", help="as sessions names it")
    departure.add_argument(
        "--at", type=_parse_timestamp, required=True, help="2026-06-21T21:00Z, or with another offset"
    )
    departure.add_argument("--energy-kwh", type=float, help="wanted in all in this session [kWh]")
    departure.add_argument("--priority", type=int, help="0 to 9; higher goes first when power is scarce")
    departure.add_argument("--guaranteed-a", type=float, help="current per phase that it gets wherever allowed [A]")


def _add_mode(commands: Any) -> None:
    what = "say how a car is charged: fast, by departure (smart), or from what the site would export (surplus)"
    mode: argparse.ArgumentParser = commands.add_parser("mode", help=what, description=what)
    mode.add_argument("session", help="as sessions names it")
    mode.add_argument("mode", choices=("fast", "smart", "surplus", "minimum_and_surplus"))


def _parse_kilowatts(text: str) -> float | None:
    return None if text == "none" else float(text)


def _parse_timestamp(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} is no time with an offset: take 2026-06-21T21:00Z or …T23:00+02:00")
    return utc_text(moment)
