"""Kill and revive of an application, and of its permission to set charging limits alone.

A kill denies the owner first, which holds against whatever application, name, subscription or key somebody creates in
the owner's name; every further step only adds to it. With the scope `control` ChargerControlAPI is denied instead of
the owner, because the agent continues to read. People stop cars through SiteAPI, which stays open. Limits in force stay
until they expire; the charger service then applies each charger's fallback.

A revive undoes what kills did, and nothing that somebody else stopped. It refuses as long as resources exist that were
created in the owner's name since the kill: they would get access as well.
"""

from collections.abc import Callable
from dataclasses import dataclass

from wso2_provisioning.applications import CONTROL_API, EVAPP, ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.smoke_test import Verdict, parse_answer
from wso2_provisioning.switch.context import SwitchContext
from wso2_provisioning.switch.kill_audit import KEY, GatewayChange, compute_key_id
from wso2_provisioning.switch.polling import BLOCKED, wait_for_refusal, wait_until_let_through
from wso2_provisioning.switch.step_runner import StepResult, StepRunner
from wso2_provisioning.switch.subscriptions import (
    allow_calls,
    block_subscriptions,
    build_application_target,
    build_control_target,
    build_owner_target,
    build_revert_filter,
    deny_calls,
    find_active_deny_policy,
    read_recorded_changes,
    unblock_subscriptions,
)
from wso2_provisioning.switch.unmanaged import (
    UnmanagedResource,
    clear_unmanaged_resources,
    find_unmanaged_resources,
    revoke_portal_role,
)
from wso2_provisioning.tokens import ClientCredentials, Token, request_exact_token, revoke_token
from wso2_terms.artifacts import Artifacts


@dataclass(frozen=True, slots=True)
class KillResult:
    """What stops the application now."""

    is_owner_denied: bool
    is_application_denied: bool
    are_subscriptions_blocked: bool

    @property
    def is_stopped(self) -> bool:
        """Whether the application itself is kept out, be it only as it is now."""
        return self.is_owner_denied or self.is_application_denied or self.are_subscriptions_blocked


def kill(site: SwitchContext, course: StepRunner, device: str | None) -> KillResult:
    """Cut the application off, whatever of it fails.

    Args:
        site: what is operated.
        course: is told each step.
        device: of the agent, where it has one; its token is then another.
    """
    spec = site.spec
    is_owner_denied = course.run_step(
        "deny user", lambda: deny_calls(site, course, build_owner_target(spec), spec.owner)
    )
    is_denied = course.run_step(
        "deny application", lambda: deny_calls(site, course, build_application_target(spec), spec.name)
    )
    key = site.read_credentials()
    probe = site.request_probe_token(key)
    if probe is not None:
        token = probe
        course.run_step("gateway refuses", lambda: _wait_for_refusal(site, course, token))
    if is_owner_denied or is_denied:
        _stop_agent(site, course)
    course.run_step("take portal role", lambda: revoke_portal_role(site))
    are_shut = block_subscriptions(site, course)
    if not (is_owner_denied or is_denied):
        # It notices nothing before something stops it.
        _stop_agent(site, course)
    for name, scopes in build_scope_sets(spec, site.artifacts, device).items():
        course.run_step(name, lambda scopes=scopes: _revoke_token(site, course, key, scopes))
    return KillResult(is_owner_denied, is_denied, are_shut)


def _wait_for_refusal(site: SwitchContext, course: StepRunner, probe: Token) -> StepResult:
    answer = wait_for_refusal(site.wso2.http, site.build_first_reading_probe(probe))
    course.event.gateway_refused_after_s = course.elapsed_s
    return "done", f"{answer}, {course.elapsed_s:.3f} s after the command"


def _stop_agent(site: SwitchContext, course: StepRunner) -> None:
    if site.spec is EVAPP:
        course.run_step("agent stops", lambda: _wait_for_agent_stop(site, course))


def _wait_for_agent_stop(site: SwitchContext, course: StepRunner) -> StepResult:
    try:
        site.agent.recheck()
        told = site.agent.wait_until_stopped()
    except ProvisioningError as error:
        return "failed", f"{error.message}; it falls to 0 kW by itself when its readings are older than it allows"
    course.event.agent_stopped_after_s = course.elapsed_s
    return "done", f"{told['charging_power_kw']:g} kW, {course.elapsed_s:.3f} s after the command: {told['reason']}"


def build_scope_sets(spec: ApplicationSpec, artifacts: Artifacts, device: str | None) -> dict[str, set[str]]:
    """What the application's token may hold: of the agent by the protocol of its readings, and whether it has chargers.

    Args:
        spec: the application.
        artifacts: say which scopes there are.
        device: of the agent, where it has one.

    Returns:
        Each set of scopes, by the step that revokes a token of it.
    """
    own = {f"device_{device}"} if device else set[str]()
    if spec is not EVAPP:
        return {"revoke token": set(spec.collect_scopes(artifacts)) | own}
    servers = spec.find_mcp_projects(artifacts)
    as_tools = {artifacts.find_underlying_api(project).api.name for project in servers}
    apis = spec.find_projects(artifacts)
    readings = {one.scope.name for it in apis if it.api.name in as_tools for one in it.api.scopes}
    # What is no tool is called over REST, whatever the protocol of the readings.
    chargers = {one.scope.name for it in apis if it.api.name not in as_tools for one in it.api.scopes}
    tools = {one.scope.name for project in servers for one in project.server.scopes}
    return {
        "revoke token (rest)": readings | chargers | own,
        "revoke token (mcp)": tools | chargers | own,
        "revoke token (rest, no chargers)": readings | own,
        "revoke token (mcp, no chargers)": tools | own,
    }


def _revoke_token(
    site: SwitchContext, course: StepRunner, key: ClientCredentials | None, scopes: set[str]
) -> StepResult:
    if key is None:
        return "skipped", f"the key of {site.spec.name} is not known here"
    http, token_url = site.wso2.http, site.wso2.settings.token_url
    change = GatewayChange(KEY, compute_key_id(key), site.spec.name)
    if change not in course.event.changes:
        course.event.changes.append(change)
    # Asking for the same scopes revokes the token that is held; this one then goes, too.
    token = request_exact_token(http, token_url, key, site.spec.name, scopes)
    revoke_token(http, token_url, key, token, site.spec.name)
    return "done", " ".join(sorted(scopes))


def revive(site: SwitchContext, course: StepRunner, *, everything: bool, remove: bool) -> bool:
    """Take back what kills made.

    Args:
        site: what is operated.
        course: is told each step.
        everything: take back also what no kill is known to have made, and take subscriptions and key as they are.
        remove: remove what was made in the owner's name since.

    Returns:
        Whether nothing of it stops the application any longer.
    """
    spec, acts = site.spec, read_recorded_changes(site, course)

    def look() -> list[UnmanagedResource]:
        is_shut = find_active_deny_policy(site, build_owner_target(spec)) is not None
        return find_unmanaged_resources(site, acts, is_shut=is_shut, everything=everything)

    if not clear_unmanaged_resources(site, course, look, remove=remove):
        return False
    is_ours = build_revert_filter(acts, everything=everything)
    denied = {spec.owner: build_owner_target(spec), spec.name: build_application_target(spec)}
    if spec is EVAPP:
        denied |= {CONTROL_API: build_control_target(site)}
    allowed = [
        course.run_step(f"allow {name}", lambda name=name, one=one: allow_calls(site, course, one, name, is_ours))
        for name, one in denied.items()
    ]
    is_open = unblock_subscriptions(site, course, is_ours) and all(allowed)
    # Whichever key it has now, it is this one that goes on.
    course.event.changes.extend(one for one in acts.unreverted.values() if (one.kind, one.name) == (KEY, spec.name))
    if spec is EVAPP:
        course.run_step("agent decides", lambda: _wait_for_decision(site, course, is_open=is_open))
    return is_open


def _wait_for_decision(site: SwitchContext, course: StepRunner, *, is_open: bool) -> StepResult:
    site.agent.recheck()
    if not is_open:
        return "skipped", "EVApp is still stopped, at least in part, so the agent is not waited for"
    told = site.agent.wait_until_it_decides()
    course.event.agent_decides_after_s = course.elapsed_s
    return "done", f"{told['charging_power_kw']:g} kW, {course.elapsed_s:.3f} s after the command: {told['reason']}"


def kill_control(site: SwitchContext, course: StepRunner) -> bool:
    """Shut ChargerControlAPI, and see that a limit is refused while a reading is not.

    Returns:
        Whether it is shut to whatever EVApp's owner makes.
    """
    is_denied = course.run_step("deny API", lambda: deny_calls(site, course, build_control_target(site), CONTROL_API))
    probe = site.request_probe_token(site.read_credentials())
    if probe is not None:
        token = probe
        course.run_step("gateway refuses limits", lambda: _wait_for_limits_refusal(site, course, token))
    course.run_step("take portal role", lambda: revoke_portal_role(site))
    block_subscriptions(site, course, CONTROL_API)
    if probe is not None:
        course.run_step("reading goes on", lambda: _check_reading(site, probe))
    course.run_step("agent sets no limits", lambda: _check_agent(site, lambda word: word == BLOCKED))
    return is_denied


def revive_control(site: SwitchContext, course: StepRunner, *, everything: bool, remove: bool) -> bool:
    """Open ChargerControlAPI to EVApp where a kill shut it, and see that the gateway takes limits again.

    Args:
        site: what is operated.
        course: is told each step.
        everything: open it also where no kill is known to have shut it.
        remove: remove what was made in the owner's name since.

    Returns:
        Whether EVApp may set limits.
    """
    acts, denied = read_recorded_changes(site, course), build_control_target(site)

    def look() -> list[UnmanagedResource]:
        is_shut = find_active_deny_policy(site, denied) is not None
        return find_unmanaged_resources(site, acts, is_shut=is_shut, everything=everything, only=CONTROL_API)

    if not clear_unmanaged_resources(site, course, look, remove=remove):
        return False
    is_ours = build_revert_filter(acts, everything=everything)
    is_allowed = course.run_step(
        f"allow {CONTROL_API}", lambda: allow_calls(site, course, denied, CONTROL_API, is_ours)
    )
    if not (unblock_subscriptions(site, course, is_ours, CONTROL_API) and is_allowed):
        return False
    probe = site.request_probe_token(site.read_credentials())
    is_taken = probe is None or course.run_step("gateway takes limits", lambda: _wait_for_acceptance(site, probe))
    course.run_step("agent sets limits", lambda: _check_agent(site, lambda word: word != BLOCKED))
    return is_taken


def _wait_for_limits_refusal(site: SwitchContext, course: StepRunner, probe: Token) -> StepResult:
    answer = wait_for_refusal(site.wso2.http, site.build_limits_probe(probe))
    course.event.gateway_refused_after_s = course.elapsed_s
    return "done", f"PUT /limits: {answer}, {course.elapsed_s:.3f} s after the command"


def _check_reading(site: SwitchContext, probe: Token) -> StepResult:
    answer = parse_answer(site.build_chargers_probe(probe)())
    return "done" if answer.verdict is Verdict.LET_THROUGH else "failed", f"GET /chargers: {answer}"


def _wait_for_acceptance(site: SwitchContext, probe: Token) -> StepResult:
    if any(
        find_active_deny_policy(site, one)
        for one in (build_owner_target(site.spec), build_application_target(site.spec))
    ):
        return "failed", "every call of EVApp is denied: make revive without SCOPE lets it go on"
    answer = wait_until_let_through(site.wso2.http, site.build_limits_probe(probe))
    return "done", f"PUT /limits is let through: {answer}"


def _check_agent(site: SwitchContext, is_so: Callable[[str], bool]) -> StepResult:
    """Have the agent try at once, and see how that ends."""
    if site.agent.read_command_result() is None:
        return "skipped", "it sets none"
    site.agent.recheck()
    return "done", f"it says: {site.agent.wait_for_command_result(is_so)}"
