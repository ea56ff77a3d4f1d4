"""The command line of the switch: proves who operates it, acts, and says what stands."""

import argparse
import getpass
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ev_service.clock import make_clock
from ev_service.errors import ConfigurationError, EvError
from ev_service.settings import RunSettings, load
from wso2_provisioning.applications import ASSISTANT, CONTROL_API, EVAPP, ApplicationSpec
from wso2_provisioning.backends import artifacts_of_this_run
from wso2_provisioning.settings import ProvisioningSettings
from wso2_provisioning.switch.acts import Act, checked_reason, checked_scope, operator_name
from wso2_provisioning.switch.control import kill_control, revive_control
from wso2_provisioning.switch.course import Course
from wso2_provisioning.switch.journal import Journal
from wso2_provisioning.switch.kill import kill
from wso2_provisioning.switch.record import Record
from wso2_provisioning.switch.revive import revive
from wso2_provisioning.switch.settings import SwitchSettings
from wso2_provisioning.switch.site import Site, prove_operator
from wso2_provisioning.switch.status import status
from wso2_provisioning.switch.watching import AgentSeen
from wso2_provisioning.wire import Wire
from wso2_provisioning.wso2 import SWITCH_SCOPES, Wso2
from wso2_terms.documents import ArtifactError

_STOPPABLE = (EVAPP, ASSISTANT)
_EPILOG = """\
which stack:
  make kill REASON="…"                 whatever runs here, of make run or of make up; both, where both run
  make kill REASON="…" STACK=compose   the one of make up alone; STACK=run: the one of make run alone
  make kill REASON="…" SCOPE=control   EVApp sets no limits on chargers any more, and reads on
  make kill REASON="…" APPLICATION=Assistant   the assistant's application instead of EVApp
  with WSO2_ADMIN_PASSWORD set         whichever the variables name: those of scripts/bootstrap.py, and besides
                                       OPERATOR_PASSWORD (needed), AGENT_URL (default http://localhost:8004),
                                       OPERATOR_STATE_DIR (default .state/operator)

exit code: 0 it is done and recorded; 1 it is not, or only in part (what stands is said); 2 wrong usage
"""


def main(argv: Sequence[str] | None = None, *, artifacts_dir: Path) -> int:
    """Act, and return the exit code.

    Args:
        argv: arguments, the first of which is `kill` or `revive`; None takes those of the process.
        artifacts_dir: default of `--artifacts`.
    """
    began = time.monotonic()
    arguments = _parser(artifacts_dir).parse_args(argv)
    try:
        return _run(arguments, began)
    except (EvError, ArtifactError) as error:
        _say(f"nothing is done: {error}")
        return 1
    except KeyboardInterrupt:
        _say("stopped")
        return 130


def _run(arguments: argparse.Namespace, began: float) -> int:
    settings, own = load(ProvisioningSettings), load(SwitchSettings)
    is_status = arguments.act == "kill" and arguments.status
    reason = "" if is_status else checked_reason(arguments.reason, arguments.act)
    scope, spec = checked_scope(arguments.scope), _application(arguments)
    artifacts = artifacts_of_this_run(arguments.artifacts)
    with Wire(settings.wso2_ca_file) as wire:
        wso2 = Wso2(wire, settings, admin_scopes=SWITCH_SCOPES)
        token = prove_operator(wso2, artifacts)
        record = Record(wire, settings.wso2_gateway_url, token)
        journal = Journal(own.operator_state_dir, _say)
        site = Site(wso2, spec, artifacts, record, AgentSeen(wire, own.agent_url.rstrip("/")), journal, _say)
        if is_status:
            for line in status(site):
                sys.stdout.write(f"{line}\n")
            return 0
        now = make_clock(load(RunSettings).sim_clock_file).now()
        act = Act(arguments.act, reason, operator_name(arguments.operator or _who()), now, scope, spec.name)
        course = Course(act, journal, _say, began)
        _say(f"{course.elapsed_s():7.3f} s  operator and administrator are proved")
        journal.keep(act)
        return _kill(site, course, arguments.device) if arguments.act == "kill" else _revive(site, course, arguments)


def _kill(site: Site, course: Course, device: str | None) -> int:
    if course.act.scope == "control":
        return _kill_control(site, course)
    cut, spec = kill(site, course, device), site.spec
    is_recorded = _record(site, course)
    if cut.is_owner_denied:
        others = [
            name
            for name, is_so in (
                ("application denied", cut.is_application_denied),
                ("subscriptions blocked", cut.are_doors_shut),
            )
            if is_so
        ]
        _say(f"{spec.name} is stopped: {', '.join([f'every application of {spec.owner} is denied', *others])}")
    elif cut.is_any:
        _say(f"{spec.name} is stopped, but another application of {spec.owner} would get through: kill it again")
    else:
        _say(f"{spec.name} is NOT stopped: neither a deny policy nor blocked subscriptions keep it out")
    return 0 if cut.is_owner_denied and is_recorded else 1


def _kill_control(site: Site, course: Course) -> int:
    is_shut = kill_control(site, course)
    is_recorded = _record(site, course)
    if is_shut:
        _say(f"{EVAPP.name} sets no limits any more: {CONTROL_API} is denied. Those in force lapse to the fallbacks")
    else:
        _say(f"{EVAPP.name} may STILL set limits: {CONTROL_API} is not denied")
    return 0 if is_shut and is_recorded else 1


def _revive(site: Site, course: Course, arguments: argparse.Namespace) -> int:
    is_control, spec = course.act.scope == "control", site.spec
    act = revive_control if is_control else revive
    is_open = act(site, course, everything=arguments.all, remove=arguments.remove)
    is_recorded = _record(site, course)
    if is_control:
        _say(f"{spec.name} may set limits" if is_open else f"{spec.name} may still set no limits: see above")
    elif is_open:
        _say(f"{spec.name} may go on")
    elif arguments.remove and spec.name not in {one.name for one in site.wso2.admin.applications(spec.owner)}:
        _say(f"{spec.name} is gone: the bootstrap (scripts/bootstrap.py, or a new start) makes it, with a new key")
    else:
        _say(f"{spec.name} is still stopped, at least in part: see above")
    return 0 if is_open and is_recorded else 1


def _application(arguments: argparse.Namespace) -> ApplicationSpec:
    spec = next((one for one in _STOPPABLE if one.name == (arguments.application or EVAPP.name)), None)
    if spec is None:
        raise ConfigurationError(f"APPLICATION must be {' or '.join(one.name for one in _STOPPABLE)}")
    if spec is not EVAPP and arguments.scope == "control":
        raise ConfigurationError(f"only {EVAPP.name} sets limits on chargers: leave SCOPE out for {spec.name}")
    return spec


def _record(site: Site, course: Course) -> bool:
    if course.step("record", lambda: site.record_all(course.act), is_last=True):
        return True
    site.journal.keep(course.act)
    where = site.journal.path(course.act.act_id) if site.journal.is_kept(course.act) else "nowhere"
    _say(f"NOT RECORDED. What was done stands; it is written down in {where}, and the next act records it, too")
    return False


def _who() -> str:
    try:
        return f"{getpass.getuser()} on {socket.gethostname()}"
    except (OSError, KeyError, ImportError):
        return f"somebody on {socket.gethostname()}"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _parser(artifacts_dir: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    acts = parser.add_subparsers(dest="act", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--reason", default=os.environ.get("REASON"), help="why; else the variable REASON")
    shared.add_argument(
        "--scope",
        default=os.environ.get("SCOPE"),
        help="all, or control: setting limits on chargers alone; else the variable SCOPE, else all",
    )
    shared.add_argument("--as", dest="operator", default=os.environ.get("OPERATOR"), help="who acts; else your login")
    shared.add_argument(
        "--artifacts", type=Path, default=artifacts_dir, help="folder that holds apis/ and mcp-servers/"
    )
    shared.add_argument(
        "--application",
        default=os.environ.get("APPLICATION"),
        help=f"{' or '.join(one.name for one in _STOPPABLE)}; else the variable APPLICATION, else {EVAPP.name}",
    )
    for act, what in (("kill", f"stop {EVAPP.name} at the gateway"), ("revive", f"let {EVAPP.name} go on")):
        own = acts.add_parser(
            act,
            parents=[shared],
            help=what,
            description=what,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if act == "kill":
            own.add_argument("--device", help="AGENT_DEVICE of the agent, where it has one")
            own.add_argument("--status", action="store_true", help=f"only say whether {EVAPP.name} is stopped")
        else:
            own.add_argument("--all", action="store_true", help="take back also what no kill is known to have made")
            own.add_argument(
                "--remove",
                action="store_true",
                help="remove applications that somebody made or changed in the owner's name",
            )
    return parser
