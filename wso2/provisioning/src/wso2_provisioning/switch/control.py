"""Takes commanding from EVApp and leaves it reading: ChargerControlAPI is denied to everybody, its subscription shut.

The API and not the owner is denied, because the owner is to read on; whatever application is made in the owner's name
meets the same denial. People stop cars at SiteAPI, which stays open. Limits that are in force stay until they lapse;
the charger service then lets each charger fall to its fallback.
"""

from collections.abc import Callable

from wso2_provisioning.applications import CONTROL_API
from wso2_provisioning.proof import Verdict, read_answer
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doorman import allow, deny, open_doors, ours, shut_doors, what_acts_did
from wso2_provisioning.switch.doors import denial, denied_application, denied_control, denied_owner
from wso2_provisioning.switch.site import Site
from wso2_provisioning.switch.strays import Stray, clear_of_strays, strays_of, take_portal_role
from wso2_provisioning.switch.watching import BLOCKED, wait_for_refusal, wait_until_let_through
from wso2_provisioning.tokens import Token


def kill_control(site: Site, course: Course) -> bool:
    """Shut ChargerControlAPI, and see that a limit is refused while a reading is not.

    Returns:
        Whether it is shut to whatever EVApp's owner makes.
    """
    is_denied = course.step("deny API", lambda: deny(site, course, denied_control(site), CONTROL_API))
    probe = site.own_token(site.key())
    if probe is not None:
        token = probe
        course.step("gateway refuses limits", lambda: _refused(site, course, token))
    course.step("take portal role", lambda: take_portal_role(site))
    shut_doors(site, course, CONTROL_API)
    if probe is not None:
        course.step("reading goes on", lambda: _reads(site, probe))
    course.step("agent sets no limits", lambda: _agent(site, lambda word: word == BLOCKED))
    return is_denied


def revive_control(site: Site, course: Course, *, everything: bool, remove: bool) -> bool:
    """Open ChargerControlAPI to EVApp where a kill shut it, and see that the gateway takes limits again.

    Args:
        site: what is operated.
        course: is told each step.
        everything: open it also where no kill is known to have shut it.
        remove: remove what was made in the owner's name since.

    Returns:
        Whether EVApp may set limits.
    """
    acts, denied = what_acts_did(site, course), denied_control(site)

    def look() -> list[Stray]:
        is_shut = denial(site, denied) is not None
        return strays_of(site, acts, is_shut=is_shut, everything=everything, only=CONTROL_API)

    if not clear_of_strays(site, course, look, remove=remove):
        return False
    is_ours = ours(acts, everything=everything)
    is_allowed = course.step(f"allow {CONTROL_API}", lambda: allow(site, course, denied, CONTROL_API, is_ours))
    if not (open_doors(site, course, is_ours, CONTROL_API) and is_allowed):
        return False
    probe = site.own_token(site.key())
    is_taken = probe is None or course.step("gateway takes limits", lambda: _taken(site, probe))
    course.step("agent sets limits", lambda: _agent(site, lambda word: word != BLOCKED))
    return is_taken


def _refused(site: Site, course: Course, probe: Token) -> Done:
    answer = wait_for_refusal(site.wso2.wire, site.control_probe(probe))
    course.act.gateway_refused_after_s = course.elapsed_s()
    return "done", f"PUT /limits: {answer}, {course.elapsed_s():.3f} s after the command"


def _reads(site: Site, probe: Token) -> Done:
    answer = read_answer(site.reading_probe(probe)())
    return "done" if answer.verdict is Verdict.LET_THROUGH else "failed", f"GET /chargers: {answer}"


def _taken(site: Site, probe: Token) -> Done:
    if any(denial(site, one) for one in (denied_owner(site.spec), denied_application(site.spec))):
        return "failed", "every call of EVApp is denied: make revive without SCOPE lets it go on"
    answer = wait_until_let_through(site.wso2.wire, site.control_probe(probe))
    return "done", f"PUT /limits is let through: {answer}"


def _agent(site: Site, is_so: Callable[[str], bool]) -> Done:
    """Have the agent try at once, and see how that ends."""
    if site.agent.commanding() is None:
        return "skipped", "it sets none"
    site.agent.recheck()
    return "done", f"it says: {site.agent.wait_until_commanding(is_so)}"
