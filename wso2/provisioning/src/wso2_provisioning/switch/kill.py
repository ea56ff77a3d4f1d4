"""Stops EVApp: deny policy, then the agent is told, then subscriptions are blocked and its token revoked."""

from dataclasses import dataclass

from wso2_provisioning.applications import EVAPP
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.owner_keys import keys_of
from wso2_provisioning.switch.acts import DENY_POLICY, SUBSCRIPTION, Change
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doors import Door, Doors, denial, doors_of
from wso2_provisioning.switch.site import Site
from wso2_provisioning.switch.watching import wait_for_refusal
from wso2_provisioning.tokens import ClientCredentials, Token, exact_token, revoke_token


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
    keys, probe = _evapp(site)
    is_denied = course.step("deny policy", lambda: _deny(site, course))
    if probe is not None:
        token = probe
        course.step("gateway refuses", lambda: _refused(site, course, token))
    if is_denied:
        course.step("agent stops", lambda: _agent_stops(site, course))
    are_shut = _shut_doors(site, course)
    if not is_denied:
        # It notices nothing before something stops it.
        course.step("agent stops", lambda: _agent_stops(site, course))
    for name, scopes in _scope_sets(site, device).items():
        course.step(name, lambda scopes=scopes: _revoke(site, keys, scopes))
    return Cut(is_denied, are_shut)


def _evapp(site: Site) -> tuple[ClientCredentials | None, Token | None]:
    try:
        keys = keys_of(site.wso2, EVAPP)
    except ProvisioningError as error:
        site.say(f"EVApp's key can not be read, so its token stays and no call is tried: {error.message}")
        return None, None
    try:
        return keys, site.token_of_evapp(keys)
    except ProvisioningError as error:
        site.say(f"no call is tried: {error.message}")
        return keys, None


def _deny(site: Site, course: Course) -> Done:
    known = denial(site.wso2)
    if known is not None:
        return "already", "EVApp was denied before"
    made = site.wso2.admin.deny_application(EVAPP.owner, EVAPP.name)
    course.act.changes.append(Change(DENY_POLICY, made.condition_id, EVAPP.name))
    return "done", f"every call of {EVAPP.name} is denied"


def _refused(site: Site, course: Course, probe: Token) -> Done:
    answer = wait_for_refusal(site.wso2.wire, site.probe_url, probe)
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


def _shut_doors(site: Site, course: Course) -> bool:
    found: list[Doors] = []

    def look() -> Done:
        found.append(doors_of(site.wso2, site.artifacts))
        return found[0].told()

    is_seen = course.step("look for subscriptions", look)
    doors = found[0].doors if found else ()
    shut = [course.step(f"block {door.name}", lambda door=door: _block(site, course, door)) for door in doors]
    return is_seen and bool(shut) and all(shut)


def _block(site: Site, course: Course, door: Door) -> Done:
    if not door.is_open:
        return "already", "was not open before"
    site.wso2.publisher.block_subscription(door.subscription_id)
    course.act.changes.append(Change(SUBSCRIPTION, door.subscription_id, door.name))
    return "done", "subscription blocked"


def _scope_sets(site: Site, device: str | None) -> dict[str, set[str]]:
    own = {f"device_{device}"} if device else set[str]()
    apis = {one.scope.name for project in EVAPP.projects(site.artifacts) for one in project.api.scopes}
    servers = {one.scope.name for project in EVAPP.mcp_projects(site.artifacts) for one in project.server.scopes}
    return {"revoke token (rest)": apis | own, "revoke token (mcp)": servers | own}


def _revoke(site: Site, keys: ClientCredentials | None, scopes: set[str]) -> Done:
    if keys is None:
        return "skipped", "EVApp's key is not known here"
    wire, token_url = site.wso2.wire, site.wso2.settings.token_url
    # Asking for the same scopes revokes the token that the agent holds; this one then goes, too.
    token = exact_token(wire, token_url, keys, EVAPP.name, scopes)
    revoke_token(wire, token_url, keys, token, EVAPP.name)
    return "done", " ".join(sorted(scopes))
