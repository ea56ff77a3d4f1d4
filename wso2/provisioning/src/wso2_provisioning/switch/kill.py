"""Stops an application: its owner is denied first, which holds by itself; all else follows.

The order is that of strength: what is denied by user stays out whatever application, name, subscription or key
somebody makes in the owner's name.
"""

from dataclasses import dataclass

from wso2_provisioning.applications import EVAPP, ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.acts import KEY, GatewayChange, compute_key_id
from wso2_provisioning.switch.course import StepResult, StepRunner
from wso2_provisioning.switch.doorman import block_subscriptions, deny_calls
from wso2_provisioning.switch.doors import build_application_target, build_owner_target
from wso2_provisioning.switch.site import SwitchContext
from wso2_provisioning.switch.strays import revoke_portal_role
from wso2_provisioning.switch.watching import wait_for_refusal
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
