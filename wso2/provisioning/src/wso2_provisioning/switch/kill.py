"""Stops EVApp: deny policy, then the agent is told, then subscriptions are blocked and its token revoked."""

from dataclasses import dataclass

from wso2_provisioning.applications import EVAPP
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.acts import DENY_POLICY, Change
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doorman import shut_doors
from wso2_provisioning.switch.doors import denial
from wso2_provisioning.switch.site import Site
from wso2_provisioning.switch.watching import wait_for_refusal
from wso2_provisioning.tokens import ClientCredentials, Token, exact_token, revoke_token
from wso2_terms.artifacts import Artifacts


@dataclass(frozen=True, slots=True)
class Cut:
    """What stops EVApp now."""

    is_denied: bool
    are_doors_shut: bool

    @property
    def stands(self) -> bool:
        """Whether EVApp is cut off."""
        return self.is_denied or self.are_doors_shut


def kill(site: Site, course: Course, device: str | None) -> Cut:
    """Cut EVApp off, whatever of it fails.

    Args:
        site: what is operated.
        course: is told each step.
        device: of the agent, where it has one; its token is then another.
    """
    keys, probe = site.evapp()
    is_denied = course.step("deny policy", lambda: _deny(site, course))
    if probe is not None:
        token = probe
        course.step("gateway refuses", lambda: _refused(site, course, token))
    if is_denied:
        course.step("agent stops", lambda: _agent_stops(site, course))
    are_shut = shut_doors(site, course)
    if not is_denied:
        # It notices nothing before something stops it.
        course.step("agent stops", lambda: _agent_stops(site, course))
    for name, scopes in scope_sets(site.artifacts, device).items():
        course.step(name, lambda scopes=scopes: _revoke(site, keys, scopes))
    return Cut(is_denied, are_shut)


def _deny(site: Site, course: Course) -> Done:
    known = denial(site.wso2)
    if known is not None:
        return "already", "EVApp was denied before"
    made = site.wso2.admin.deny_application(EVAPP.owner, EVAPP.name)
    course.act.changes.append(Change(DENY_POLICY, made.condition_id, EVAPP.name))
    return "done", f"every call of {EVAPP.name} is denied"


def _refused(site: Site, course: Course, probe: Token) -> Done:
    answer = wait_for_refusal(site.wso2.wire, site.probe(probe))
    course.act.gateway_refused_after_s = course.elapsed_s()
    return "done", f"{answer}, {course.elapsed_s():.3f} s after the command"


def _agent_stops(site: Site, course: Course) -> Done:
    try:
        site.agent.recheck()
        told = site.agent.wait_until_stopped()
    except ProvisioningError as error:
        return "failed", f"{error.message}; it falls to 0 kW by itself when its readings are older than it allows"
    course.act.agent_stopped_after_s = course.elapsed_s()
    return "done", f"{told['charging_power_kw']:g} kW, {course.elapsed_s():.3f} s after the command: {told['reason']}"


def scope_sets(artifacts: Artifacts, device: str | None) -> dict[str, set[str]]:
    """What the agent's token may hold: by the protocol of its readings, and whether it cares for chargers.

    Args:
        artifacts: say which scopes there are.
        device: of the agent, where it has one.

    Returns:
        Each set of scopes, by the step that revokes a token of it.
    """
    servers = EVAPP.mcp_projects(artifacts)
    as_tools = {artifacts.api_behind(project).api.name for project in servers}
    apis = EVAPP.projects(artifacts)
    readings = {one.scope.name for it in apis if it.api.name in as_tools for one in it.api.scopes}
    # What is no tool is called over REST, whatever the protocol of the readings.
    chargers = {one.scope.name for it in apis if it.api.name not in as_tools for one in it.api.scopes}
    tools = {one.scope.name for project in servers for one in project.server.scopes}
    own = {f"device_{device}"} if device else set[str]()
    return {
        "revoke token (rest)": readings | chargers | own,
        "revoke token (mcp)": tools | chargers | own,
        "revoke token (rest, no chargers)": readings | own,
        "revoke token (mcp, no chargers)": tools | own,
    }


def _revoke(site: Site, keys: ClientCredentials | None, scopes: set[str]) -> Done:
    if keys is None:
        return "skipped", "EVApp's key is not known here"
    wire, token_url = site.wso2.wire, site.wso2.settings.token_url
    # Asking for the same scopes revokes the token that the agent holds; this one then goes, too.
    token = exact_token(wire, token_url, keys, EVAPP.name, scopes)
    revoke_token(wire, token_url, keys, token, EVAPP.name)
    return "done", " ".join(sorted(scopes))
