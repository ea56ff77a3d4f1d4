"""Takes commanding from EVApp and leaves it reading: its subscription to ChargerControlAPI alone, shut and opened.

Limits that are in force stay until they lapse; the charger service then lets each charger fall to its fallback.
"""

from collections.abc import Callable

from wso2_provisioning.applications import CONTROL_API
from wso2_provisioning.proof import Verdict, read_answer
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doorman import open_doors, shut_doors, what_kills_made
from wso2_provisioning.switch.doors import denial
from wso2_provisioning.switch.site import Site
from wso2_provisioning.switch.watching import BLOCKED, wait_for_refusal, wait_until_let_through
from wso2_provisioning.tokens import Token


def kill_control(site: Site, course: Course) -> bool:
    """Shut ChargerControlAPI to EVApp, and see that a limit is refused while a reading is not.

    Returns:
        Whether it is shut.
    """
    _, probe = site.evapp()
    is_shut = shut_doors(site, course, CONTROL_API)
    if probe is not None:
        token = probe
        course.step("gateway refuses limits", lambda: _refused(site, course, token))
        course.step("reading goes on", lambda: _reads(site, token))
    course.step("agent sets no limits", lambda: _agent(site, lambda word: word == BLOCKED))
    return is_shut


def revive_control(site: Site, course: Course, *, everything: bool) -> bool:
    """Open ChargerControlAPI to EVApp where a kill shut it, and see that the gateway takes limits again.

    Args:
        site: what is operated.
        course: is told each step.
        everything: open it also where no kill is known to have shut it.

    Returns:
        Whether EVApp may set limits.
    """
    is_ours = what_kills_made(site, course, everything=everything)
    if not open_doors(site, course, is_ours, CONTROL_API):
        return False
    _, probe = site.evapp()
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
    if denial(site.wso2) is not None:
        return "failed", "every call of EVApp is denied: make revive without SCOPE lets it go on"
    answer = wait_until_let_through(site.wso2.wire, site.control_probe(probe))
    return "done", f"PUT /limits is let through: {answer}"


def _agent(site: Site, is_so: Callable[[str], bool]) -> Done:
    """Have the agent try at once, and see how that ends."""
    if site.agent.commanding() is None:
        return "skipped", "it sets none"
    site.agent.recheck()
    return "done", f"it says: {site.agent.wait_until_commanding(is_so)}"
