"""Command line of kill and revive: authenticates the operator, acts, and reports the result or the present status."""

import argparse
import getpass
import os
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ev_service.clock import make_clock
from ev_service.errors import ConfigurationError, EvError
from ev_service.settings import RunSettings, load
from wso2_provisioning.applications import ASSISTANT, CONTROL_API, EVAPP, ApplicationSpec
from wso2_provisioning.backends import load_configured_artifacts
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.http_client import HttpClient
from wso2_provisioning.settings import ProvisioningSettings, SwitchSettings
from wso2_provisioning.switch.context import SwitchContext, authenticate_operator
from wso2_provisioning.switch.kill_audit import (
    EventJournal,
    KillAuditLog,
    KillEvent,
    StepRunner,
    collect_changes,
    format_operator_name,
    parse_reason,
    parse_scope,
)
from wso2_provisioning.switch.kill_switch import kill, kill_control, revive, revive_control
from wso2_provisioning.switch.polling import AgentClient
from wso2_provisioning.switch.subscriptions import (
    SubscriptionStates,
    build_application_target,
    build_control_target,
    build_owner_target,
    find_active_deny_policy,
    list_subscription_states,
)
from wso2_provisioning.switch.unmanaged import REMOVAL_HINT, UnmanagedSearch, find_unmanaged_resources
from wso2_provisioning.wso2 import SWITCH_SCOPES, Wso2
from wso2_terms.documents import ArtifactError


def describe_status(context: SwitchContext) -> Iterable[str]:
    """Return the status as lines.

    Raises:
        ProvisioningError: the gateway does not report it.
    """
    spec, subscriptions = context.spec, list_subscription_states(context)
    is_owner_denied = find_active_deny_policy(context, build_owner_target(spec)) is not None
    yield _describe_state(context, subscriptions, is_owner_denied=is_owner_denied)
    if blocked := [subscription.name for subscription in subscriptions.own if not subscription.is_unblocked]:
        yield f"blocked subscriptions: {', '.join(blocked)}"
    for name, why in subscriptions.unreadable:
        yield f"not known: {name} ({why})"
    try:
        recorded = [*context.journal.list_unrecorded(), *context.audit_log.list_newest()]
    except ProvisioningError as error:
        yield f"the record cannot be read: {error.message}"
        return
    search = UnmanagedSearch(collect_changes(recorded), build_owner_target(spec))
    for resource in find_unmanaged_resources(context, search):
        yield f"no artifact describes: {resource.description}. {REMOVAL_HINT}"
    yield from _describe_last_event(act for act in recorded if act.get("application") in (None, spec.name))


def _describe_state(context: SwitchContext, subscriptions: SubscriptionStates, *, is_owner_denied: bool) -> str:
    spec = context.spec
    if is_owner_denied:
        return f"{spec.name} is stopped: every call is denied"
    if find_active_deny_policy(context, build_application_target(spec)) is not None:
        return f"{spec.name} is stopped, but not what else {spec.owner} owns: make kill denies both"
    if subscriptions.are_blocked:
        return f"{spec.name} is stopped: no subscription is open"
    is_control_shut = any(
        subscription.name == CONTROL_API and not subscription.is_unblocked for subscription in subscriptions.own
    )
    if spec is EVAPP and (
        is_control_shut or find_active_deny_policy(context, build_control_target(context)) is not None
    ):
        return f"{spec.name} is not stopped, but may set no limits on chargers"
    return f"{spec.name} is not stopped"


def _describe_last_event(recorded: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    act = next(iter(recorded), None)
    if act is None:
        yield "no kill is recorded"
        return
    proved: Mapping[str, Any] = act.get("proved") or {}
    by = f"{act.get('operator')} ({proved.get('user') or 'not recorded yet'})"
    scope = "" if act.get("scope") in (None, "all") else f" of {act.get('scope')}"
    yield f"last: {act.get('kind')}{scope} at {act.get('started_at')} by {by}: {act.get('reason')}"


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

exit code: 0 it is done and recorded; 1 it is not, or only in part (the state is reported); 2 wrong usage
"""


def main(argv: Sequence[str] | None = None, *, artifacts_dir: Path) -> int:
    """Kill or revive, and return the exit code.

    Args:
        argv: arguments, the first of which is `kill` or `revive`; None takes those of the process.
        artifacts_dir: default of `--artifacts`.
    """
    began = time.monotonic()
    arguments = _build_parser(artifacts_dir).parse_args(argv)
    try:
        return _run(arguments, began)
    except (EvError, ArtifactError) as error:
        _report(f"nothing is done: {error}")
        return 1
    except KeyboardInterrupt:
        _report("stopped")
        return 130


def _run(arguments: argparse.Namespace, began: float) -> int:
    settings, own = load(ProvisioningSettings), load(SwitchSettings)
    is_status = arguments.act == "kill" and arguments.status
    reason = "" if is_status else parse_reason(arguments.reason, arguments.act)
    scope, spec = parse_scope(arguments.scope), _parse_application(arguments)
    artifacts = load_configured_artifacts(arguments.artifacts)
    with HttpClient(settings.wso2_ca_file) as http:
        wso2 = Wso2(http, settings, admin_scopes=SWITCH_SCOPES)
        token = authenticate_operator(wso2, artifacts)
        record = KillAuditLog(http, settings.wso2_gateway_url, token)
        journal = EventJournal(own.operator_state_dir, _report)
        context = SwitchContext(
            wso2, spec, artifacts, record, AgentClient(http, own.agent_url.rstrip("/")), journal, _report
        )
        if is_status:
            for line in describe_status(context):
                sys.stdout.write(f"{line}\n")
            return 0
        now = make_clock(load(RunSettings).sim_clock_file).now()
        act = KillEvent(
            arguments.act, reason, format_operator_name(arguments.operator or _describe_user()), now, scope, spec.name
        )
        runner = StepRunner(act, journal, _report, began)
        _report(f"{runner.elapsed_s:7.3f} s  operator and administrator are authenticated")
        journal.save(act)
        return (
            _run_kill(context, runner, arguments.device)
            if arguments.act == "kill"
            else _run_revive(context, runner, arguments)
        )


def _run_kill(context: SwitchContext, runner: StepRunner, device: str | None) -> int:
    if runner.event.scope == "control":
        return _run_kill_control(context, runner)
    result, spec = kill(context, runner, device), context.spec
    is_recorded = _record_event(context, runner)
    if result.is_owner_denied:
        others = [
            name
            for name, is_so in (
                ("application denied", result.is_application_denied),
                ("subscriptions blocked", result.are_subscriptions_blocked),
            )
            if is_so
        ]
        _report(f"{spec.name} is stopped: {', '.join([f'every application of {spec.owner} is denied', *others])}")
    elif result.is_stopped:
        _report(f"{spec.name} is stopped, but another application of {spec.owner} would have access: kill it again")
    else:
        _report(f"{spec.name} is NOT stopped: neither a deny policy nor blocked subscriptions stop it")
    return 0 if result.is_owner_denied and is_recorded else 1


def _run_kill_control(context: SwitchContext, runner: StepRunner) -> int:
    is_shut = kill_control(context, runner)
    is_recorded = _record_event(context, runner)
    if is_shut:
        _report(f"{EVAPP.name} sets no limits any more: {CONTROL_API} is denied. Those in force lapse to the fallbacks")
    else:
        _report(f"{EVAPP.name} may STILL set limits: {CONTROL_API} is not denied")
    return 0 if is_shut and is_recorded else 1


def _run_revive(context: SwitchContext, runner: StepRunner, arguments: argparse.Namespace) -> int:
    is_control, spec = runner.event.scope == "control", context.spec
    act = revive_control if is_control else revive
    is_open = act(context, runner, everything=arguments.all, remove=arguments.remove)
    is_recorded = _record_event(context, runner)
    if is_control:
        _report(f"{spec.name} may set limits" if is_open else f"{spec.name} may still set no limits: see above")
    elif is_open:
        _report(f"{spec.name} may go on")
    elif arguments.remove and spec.name not in {one.name for one in context.wso2.admin.list_applications(spec.owner)}:
        _report(f"{spec.name} is gone: the bootstrap (scripts/bootstrap.py, or a new start) makes it, with a new key")
    else:
        _report(f"{spec.name} is still stopped, at least in part: see above")
    return 0 if is_open and is_recorded else 1


def _parse_application(arguments: argparse.Namespace) -> ApplicationSpec:
    spec = next((one for one in _STOPPABLE if one.name == (arguments.application or EVAPP.name)), None)
    if spec is None:
        raise ConfigurationError(f"APPLICATION must be {' or '.join(one.name for one in _STOPPABLE)}")
    if spec is not EVAPP and arguments.scope == "control":
        raise ConfigurationError(f"only {EVAPP.name} sets limits on chargers: leave SCOPE out for {spec.name}")
    return spec


def _record_event(context: SwitchContext, runner: StepRunner) -> bool:
    if runner.run_step("record", lambda: context.record_event(runner.event), is_last=True):
        return True
    context.journal.save(runner.event)
    where = context.journal.path_of(runner.event.event_id) if context.journal.contains(runner.event) else "nowhere"
    _report(
        f"NOT RECORDED. What was done remains in force; it is saved in {where}, and the next kill or revive records it"
    )
    return False


def _describe_user() -> str:
    try:
        return f"{getpass.getuser()} on {socket.gethostname()}"
    except (OSError, KeyError, ImportError):
        return f"somebody on {socket.gethostname()}"


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _build_parser(artifacts_dir: Path) -> argparse.ArgumentParser:
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
            own.add_argument("--all", action="store_true", help="revert also what no known kill changed")
            own.add_argument(
                "--remove",
                action="store_true",
                help="remove applications that somebody made or changed in the owner's name",
            )
    return parser
