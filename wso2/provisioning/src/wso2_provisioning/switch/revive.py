"""Lets an application go on: takes back what kills made, and leaves what somebody else stopped as it is.

It refuses while there is something that was made in the owner's name since: that would get through, too.
"""

from wso2_provisioning.applications import CONTROL_API, EVAPP
from wso2_provisioning.switch.acts import KEY
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doorman import allow, open_doors, ours, what_acts_did
from wso2_provisioning.switch.doors import denial, denied_application, denied_control, denied_owner
from wso2_provisioning.switch.site import Site
from wso2_provisioning.switch.strays import Stray, clear_of_strays, strays_of


def revive(site: Site, course: Course, *, everything: bool, remove: bool) -> bool:
    """Take back what kills made.

    Args:
        site: what is operated.
        course: is told each step.
        everything: take back also what no kill is known to have made, and take subscriptions and key as they are.
        remove: remove what was made in the owner's name since.

    Returns:
        Whether nothing of it stops the application any longer.
    """
    spec, acts = site.spec, what_acts_did(site, course)

    def look() -> list[Stray]:
        is_shut = denial(site, denied_owner(spec)) is not None
        return strays_of(site, acts, is_shut=is_shut, everything=everything)

    if not clear_of_strays(site, course, look, remove=remove):
        return False
    is_ours = ours(acts, everything=everything)
    denied = {spec.owner: denied_owner(spec), spec.name: denied_application(spec)}
    if spec is EVAPP:
        denied |= {CONTROL_API: denied_control(site)}
    allowed = [
        course.step(f"allow {name}", lambda name=name, one=one: allow(site, course, one, name, is_ours))
        for name, one in denied.items()
    ]
    is_open = open_doors(site, course, is_ours) and all(allowed)
    # Whichever key it has now, it is this one that goes on.
    course.act.changes.extend(one for one in acts.made.values() if (one.kind, one.name) == (KEY, spec.name))
    if spec is EVAPP:
        course.step("agent decides", lambda: _agent_decides(site, course, is_open=is_open))
    return is_open


def _agent_decides(site: Site, course: Course, *, is_open: bool) -> Done:
    site.agent.recheck()
    if not is_open:
        return "skipped", "EVApp is still stopped, at least in part, so the agent is not waited for"
    told = site.agent.wait_until_it_decides()
    course.act.agent_decides_after_s = course.elapsed_s()
    return "done", f"{told['charging_power_kw']:g} kW, {course.elapsed_s():.3f} s after the command: {told['reason']}"
