"""Lets EVApp go on: takes back what kills made, and leaves what somebody else stopped as it is."""

from wso2_provisioning.applications import EVAPP
from wso2_provisioning.switch.acts import DENY_POLICY, Change
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doorman import LEFT, IsOurs, open_doors, what_kills_made
from wso2_provisioning.switch.doors import denial
from wso2_provisioning.switch.site import Site


def revive(site: Site, course: Course, *, everything: bool) -> bool:
    """Take back what kills made.

    Args:
        site: what is operated.
        course: is told each step.
        everything: take back also what no kill is known to have made.

    Returns:
        Whether nothing of it stops EVApp any longer.
    """
    is_ours = what_kills_made(site, course, everything=everything)
    is_allowed = course.step("remove deny policy", lambda: _allow(site, course, is_ours))
    are_open = open_doors(site, course, is_ours)
    is_open = is_allowed and are_open
    course.step("agent decides", lambda: _agent_decides(site, course, is_open=is_open))
    return is_open


def _allow(site: Site, course: Course, is_ours: IsOurs) -> Done:
    known = denial(site.wso2)
    if known is None:
        return "already", "EVApp is not denied"
    if not is_ours(known.condition_id):
        return "skipped", LEFT
    site.wso2.admin.remove_deny_policy(known.condition_id)
    course.act.changes.append(Change(DENY_POLICY, known.condition_id, EVAPP.name))
    return "done", f"calls of {EVAPP.name} are no longer denied"


def _agent_decides(site: Site, course: Course, *, is_open: bool) -> Done:
    site.agent.recheck()
    if not is_open:
        return "skipped", f"{EVAPP.name} is still stopped, at least in part, so the agent is not waited for"
    told = site.agent.wait_until_it_decides()
    course.act.agent_decides_after_s = course.elapsed_s()
    return "done", f"{told['charging_power_kw']:g} kW, {course.elapsed_s():.3f} s after the command: {told['reason']}"
