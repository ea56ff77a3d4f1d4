"""Kill and revive of an application, and of its permission to set charging limits alone.

A kill denies the owner first, which holds against whatever application, name, subscription or key somebody creates in
the owner's name; every further step only adds to it. With the scope `control` ChargerControlAPI is denied instead of
the owner, because the agent continues to read. People stop cars through SiteAPI, which stays open. Limits in force stay
until they expire; the charger service then applies each charger's fallback.

A revive undoes what kills did, and nothing that somebody else stopped. It refuses as long as resources exist that were
created in the owner's name since the kill: they would get access as well.
"""

from dataclasses import dataclass

from wso2_provisioning.applications import CONTROL_API, EVAPP, ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.smoke_test import Verdict, parse_answer
from wso2_provisioning.switch.context import SwitchContext
from wso2_provisioning.switch.kill_audit import KEY, GatewayChange, StepResult, StepRunner, compute_key_id
from wso2_provisioning.switch.polling import Probe
from wso2_provisioning.switch.subscriptions import (
    RevertFilter,
    allow_calls,
    block_subscriptions,
    build_application_target,
    build_control_target,
    build_owner_target,
    deny_calls,
    find_active_deny_policy,
    read_recorded_changes,
    unblock_subscriptions,
)
from wso2_provisioning.switch.unmanaged import (
    UnmanagedSearch,
    clear_unmanaged_resources,
    revoke_portal_role,
)
from wso2_provisioning.tokens import ClientCredentials, Token, request_exact_token, revoke_token
from wso2_terms.artifacts import Artifacts


@dataclass(frozen=True, slots=True)
class KillResult:
    """What stops the application now."""

    is_owner_denied: bool
    """Whether every call of any application of the owner is denied."""
    is_application_denied: bool
    are_subscriptions_blocked: bool

    @property
    def is_stopped(self) -> bool:
        """Whether the application itself has no access, even if another one of its owner had."""
        return self.is_owner_denied or self.is_application_denied or self.are_subscriptions_blocked


def kill(context: SwitchContext, runner: StepRunner, device: str | None) -> KillResult:
    """Revoke the application's access; a step that fails does not stop the others.

    Args:
        context: operated stack and application.
        runner: runs and records each step.
        device: AGENT_DEVICE of the agent, if set; its token has another scope then.
    """
    spec = context.spec
    is_owner_denied = runner.run_step(
        "deny user", lambda: deny_calls(context, runner, build_owner_target(spec), spec.owner)
    )
    is_denied = runner.run_step(
        "deny application", lambda: deny_calls(context, runner, build_application_target(spec), spec.name)
    )
    key = context.read_credentials()
    probe = context.request_probe_token(key)
    if probe is not None:
        reading = context.build_first_reading_probe(probe)
        runner.run_step("gateway refuses", lambda: _wait_for_refusal(runner, reading))
    if is_owner_denied or is_denied:
        _stop_agent(context, runner)
    runner.run_step("take portal role", lambda: revoke_portal_role(context))
    are_shut = block_subscriptions(context, runner)
    if not (is_owner_denied or is_denied):
        # Only the blocked subscriptions stop the agent then, so it is checked after them.
        _stop_agent(context, runner)
    for name, scopes in build_scope_sets(spec, context.artifacts, device).items():
        runner.run_step(name, lambda scopes=scopes: _revoke_token(context, runner, key, scopes))
    return KillResult(is_owner_denied, is_denied, are_shut)


def _wait_for_refusal(runner: StepRunner, probe: Probe, prefix: str = "") -> StepResult:
    answer = probe.wait_for_refusal()
    runner.event.gateway_refused_after_s = runner.elapsed_s
    return "done", f"{prefix}{answer}, {runner.elapsed_s:.3f} s after the command"


def _stop_agent(context: SwitchContext, runner: StepRunner) -> None:
    if context.spec is EVAPP:
        runner.run_step("agent stops", lambda: _wait_for_agent_stop(context, runner))


def _wait_for_agent_stop(context: SwitchContext, runner: StepRunner) -> StepResult:
    try:
        context.agent.recheck()
        decision = context.agent.wait_until_stopped()
    except ProvisioningError as error:
        return "failed", f"{error.message}; it falls back to 0 kW when its readings exceed their maximum age"
    runner.event.agent_stopped_after_s = runner.elapsed_s
    return (
        "done",
        f"{decision['charging_power_kw']:g} kW, {runner.elapsed_s:.3f} s after the command: {decision['reason']}",
    )


def build_scope_sets(spec: ApplicationSpec, artifacts: Artifacts, device: str | None) -> dict[str, set[str]]:
    """Return the scope sets that a token of the application may have, each revoked by one step.

    Those of the agent depend on the protocol of its readings and on whether it controls chargers.

    Args:
        spec: the application.
        artifacts: define the scopes.
        device: AGENT_DEVICE of the agent, if set.

    Returns:
        Scopes by the name of the step that revokes their token.
    """
    own = {f"device_{device}"} if device else set[str]()
    if spec is not EVAPP:
        return {"revoke token": set(spec.collect_scopes(artifacts)) | own}
    servers = spec.find_mcp_projects(artifacts)
    as_tools = {artifacts.find_underlying_api(project).api.name for project in servers}
    apis = spec.find_projects(artifacts)
    readings = {one.scope.name for it in apis if it.api.name in as_tools for one in it.api.scopes}
    # APIs without MCP tools are always called over REST.
    chargers = {one.scope.name for it in apis if it.api.name not in as_tools for one in it.api.scopes}
    tools = {one.scope.name for project in servers for one in project.server.scopes}
    return {
        "revoke token (rest)": readings | chargers | own,
        "revoke token (mcp)": tools | chargers | own,
        "revoke token (rest, no chargers)": readings | own,
        "revoke token (mcp, no chargers)": tools | own,
    }


def _revoke_token(
    context: SwitchContext, runner: StepRunner, key: ClientCredentials | None, scopes: set[str]
) -> StepResult:
    if key is None:
        return "skipped", f"the key of {context.spec.name} is not known here"
    http, token_url = context.wso2.http, context.wso2.settings.token_url
    change = GatewayChange(KEY, compute_key_id(key), context.spec.name)
    if change not in runner.event.changes:
        runner.event.changes.append(change)
    # Requesting the same scopes revokes the application's token; the new one is revoked as well.
    token = request_exact_token(http, token_url, key, context.spec.name, scopes)
    revoke_token(http, token_url, key, token, context.spec.name)
    return "done", " ".join(sorted(scopes))


def revive(context: SwitchContext, runner: StepRunner, *, everything: bool, remove: bool) -> bool:
    """Revert what kills changed.

    Args:
        context: operated stack and application.
        runner: runs and records each step.
        everything: revert also what no known kill changed, and accept subscriptions and key as they are.
        remove: remove resources created in the owner's name since.

    Returns:
        Whether nothing that was reverted stops the application any longer.
    """
    spec, recorded = context.spec, read_recorded_changes(context, runner)
    search = UnmanagedSearch(recorded, build_owner_target(spec), everything=everything)
    if not clear_unmanaged_resources(context, runner, search, remove=remove):
        return False
    revert_filter = RevertFilter(recorded, everything=everything)
    target = {spec.owner: build_owner_target(spec), spec.name: build_application_target(spec)}
    if spec is EVAPP:
        target |= {CONTROL_API: build_control_target(context)}
    allowed = [
        runner.run_step(
            f"allow {name}", lambda name=name, one=one: allow_calls(context, runner, one, name, revert_filter)
        )
        for name, one in target.items()
    ]
    is_open = unblock_subscriptions(context, runner, revert_filter) and all(allowed)
    # The key that the application has now is accepted.
    runner.event.changes.extend(one for one in recorded.unreverted.values() if (one.kind, one.name) == (KEY, spec.name))
    if spec is EVAPP:
        runner.run_step("agent decides", lambda: _wait_for_decision(context, runner, is_open=is_open))
    return is_open


def _wait_for_decision(context: SwitchContext, runner: StepRunner, *, is_open: bool) -> StepResult:
    context.agent.recheck()
    if not is_open:
        return "skipped", "EVApp is still stopped, at least in part, so the agent's decision is not awaited"
    decision = context.agent.wait_until_it_decides()
    runner.event.agent_decides_after_s = runner.elapsed_s
    return (
        "done",
        f"{decision['charging_power_kw']:g} kW, {runner.elapsed_s:.3f} s after the command: {decision['reason']}",
    )


def kill_control(context: SwitchContext, runner: StepRunner) -> bool:
    """Deny ChargerControlAPI, and check that a limit is refused while a reading is not.

    Returns:
        Whether it is denied to every application of EVApp's owner.
    """
    is_denied = runner.run_step(
        "deny API", lambda: deny_calls(context, runner, build_control_target(context), CONTROL_API)
    )
    probe = context.request_probe_token(context.read_credentials())
    if probe is not None:
        limits = context.build_limits_probe(probe)
        runner.run_step("gateway refuses limits", lambda: _wait_for_refusal(runner, limits, "PUT /limits: "))
    runner.run_step("take portal role", lambda: revoke_portal_role(context))
    block_subscriptions(context, runner, CONTROL_API)
    if probe is not None:
        runner.run_step("reading goes on", lambda: _check_reading(context, probe))
    runner.run_step("agent sets no limits", lambda: _check_agent(context, is_blocked=True))
    return is_denied


def revive_control(context: SwitchContext, runner: StepRunner, *, everything: bool, remove: bool) -> bool:
    """Allow ChargerControlAPI again if a kill denied it, and check that the gateway accepts limits.

    Args:
        context: operated stack and application.
        runner: runs and records each step.
        everything: allow it even if no known kill denied it.
        remove: remove resources created in the owner's name since.

    Returns:
        Whether EVApp may set limits.
    """
    recorded, target = read_recorded_changes(context, runner), build_control_target(context)
    search = UnmanagedSearch(recorded, target, everything=everything, only=CONTROL_API)
    if not clear_unmanaged_resources(context, runner, search, remove=remove):
        return False
    revert_filter = RevertFilter(recorded, everything=everything)
    is_allowed = runner.run_step(
        f"allow {CONTROL_API}", lambda: allow_calls(context, runner, target, CONTROL_API, revert_filter)
    )
    if not (unblock_subscriptions(context, runner, revert_filter, CONTROL_API) and is_allowed):
        return False
    probe = context.request_probe_token(context.read_credentials())
    is_taken = probe is None or runner.run_step("gateway takes limits", lambda: _wait_for_acceptance(context, probe))
    runner.run_step("agent sets limits", lambda: _check_agent(context, is_blocked=False))
    return is_taken


def _check_reading(context: SwitchContext, probe: Token) -> StepResult:
    answer = parse_answer(context.build_chargers_probe(probe).send())
    return "done" if answer.verdict is Verdict.LET_THROUGH else "failed", f"GET /chargers: {answer}"


def _wait_for_acceptance(context: SwitchContext, probe: Token) -> StepResult:
    if any(
        find_active_deny_policy(context, one)
        for one in (build_owner_target(context.spec), build_application_target(context.spec))
    ):
        return "failed", "every call of EVApp is denied: make revive without SCOPE lets it go on"
    return "done", f"PUT /limits is let through: {context.build_limits_probe(probe).wait_until_let_through()}"


def _check_agent(context: SwitchContext, *, is_blocked: bool) -> StepResult:
    """Make the agent try to set limits now, and wait for the result."""
    if context.agent.read_command_result() is None:
        return "skipped", "it sets none"
    context.agent.recheck()
    return "done", f"it reports: {context.agent.wait_for_command_result(is_blocked=is_blocked)}"
