"""Lets an application go on: takes back what kills made, and leaves what somebody else stopped as it is.

It refuses while there is something that was made in the owner's name since: that would get through, too.
"""

from wso2_provisioning.applications import CONTROL_API, EVAPP
from wso2_provisioning.switch.acts import KEY
from wso2_provisioning.switch.course import StepResult, StepRunner
from wso2_provisioning.switch.doorman import (
    allow_calls,
    build_revert_filter,
    read_recorded_changes,
    unblock_subscriptions,
)
from wso2_provisioning.switch.doors import (
    build_application_target,
    build_control_target,
    build_owner_target,
    find_active_deny_policy,
)
from wso2_provisioning.switch.site import SwitchContext
from wso2_provisioning.switch.strays import UnmanagedResource, clear_unmanaged_resources, find_unmanaged_resources


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
