"""Stops an application: its owner is denied first, which holds by itself; all else follows.

The order is that of strength: what is denied by user stays out whatever application, name, subscription or key
somebody makes in the owner's name.
"""

from dataclasses import dataclass

from wso2_provisioning.applications import EVAPP, ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.acts import KEY, Change, key_id
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doorman import deny, shut_doors
from wso2_provisioning.switch.doors import denied_application, denied_owner
from wso2_provisioning.switch.site import Site
from wso2_provisioning.switch.strays import take_portal_role
from wso2_provisioning.switch.watching import wait_for_refusal
from wso2_provisioning.tokens import ClientCredentials, Token, exact_token, revoke_token
from wso2_terms.artifacts import Artifacts


@dataclass(frozen=True, slots=True)
class Cut:
    """What stops the application now."""

    is_owner_denied: bool
    is_application_denied: bool
    are_doors_shut: bool

    @property
    def is_any(self) -> bool:
        """Whether the application itself is kept out, be it only as it is now."""
        return self.is_owner_denied or self.is_application_denied or self.are_doors_shut


def kill(site: Site, course: Course, device: str | None) -> Cut:
    """Cut the application off, whatever of it fails.

    Args:
        site: what is operated.
        course: is told each step.
        device: of the agent, where it has one; its token is then another.
    """
    spec = site.spec
    is_owner_denied = course.step("deny user", lambda: deny(site, course, denied_owner(spec), spec.owner))
    is_denied = course.step("deny application", lambda: deny(site, course, denied_application(spec), spec.name))
    key = site.key()
    probe = site.own_token(key)
    if probe is not None:
        token = probe
        course.step("gateway refuses", lambda: _refused(site, course, token))
    if is_owner_denied or is_denied:
        _stop_agent(site, course)
    course.step("take portal role", lambda: take_portal_role(site))
    are_shut = shut_doors(site, course)
    if not (is_owner_denied or is_denied):
        # It notices nothing before something stops it.
        _stop_agent(site, course)
    for name, scopes in scope_sets(spec, site.artifacts, device).items():
        course.step(name, lambda scopes=scopes: _revoke(site, course, key, scopes))
    return Cut(is_owner_denied, is_denied, are_shut)


def _refused(site: Site, course: Course, probe: Token) -> Done:
    answer = wait_for_refusal(site.wso2.wire, site.probe(probe))
    course.act.gateway_refused_after_s = course.elapsed_s()
    return "done", f"{answer}, {course.elapsed_s():.3f} s after the command"


def _stop_agent(site: Site, course: Course) -> None:
    if site.spec is EVAPP:
        course.step("agent stops", lambda: _agent_stops(site, course))


def _agent_stops(site: Site, course: Course) -> Done:
    try:
        site.agent.recheck()
        told = site.agent.wait_until_stopped()
    except ProvisioningError as error:
        return "failed", f"{error.message}; it falls to 0 kW by itself when its readings are older than it allows"
    course.act.agent_stopped_after_s = course.elapsed_s()
    return "done", f"{told['charging_power_kw']:g} kW, {course.elapsed_s():.3f} s after the command: {told['reason']}"


def scope_sets(spec: ApplicationSpec, artifacts: Artifacts, device: str | None) -> dict[str, set[str]]:
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
        return {"revoke token": set(spec.scopes(artifacts)) | own}
    servers = spec.mcp_projects(artifacts)
    as_tools = {artifacts.find_underlying_api(project).api.name for project in servers}
    apis = spec.projects(artifacts)
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


def _revoke(site: Site, course: Course, key: ClientCredentials | None, scopes: set[str]) -> Done:
    if key is None:
        return "skipped", f"the key of {site.spec.name} is not known here"
    wire, token_url = site.wso2.wire, site.wso2.settings.token_url
    change = Change(KEY, key_id(key), site.spec.name)
    if change not in course.act.changes:
        course.act.changes.append(change)
    # Asking for the same scopes revokes the token that is held; this one then goes, too.
    token = exact_token(wire, token_url, key, site.spec.name, scopes)
    revoke_token(wire, token_url, key, token, site.spec.name)
    return "done", " ".join(sorted(scopes))
