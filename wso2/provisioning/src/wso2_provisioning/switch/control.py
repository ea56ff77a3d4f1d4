"""Takes commanding from EVApp and leaves it reading: ChargerControlAPI is denied to everybody, its subscription shut.

The API and not the owner is denied, because the owner is to read on; whatever application is made in the owner's name
meets the same denial. People stop cars at SiteAPI, which stays open. Limits that are in force stay until they lapse;
the charger service then lets each charger fall to its fallback.
"""

from collections.abc import Callable

from wso2_provisioning.applications import CONTROL_API
from wso2_provisioning.proof import Verdict, parse_answer
from wso2_provisioning.switch.course import StepResult, StepRunner
from wso2_provisioning.switch.doorman import (
    allow_calls,
    block_subscriptions,
    build_revert_filter,
    deny_calls,
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
from wso2_provisioning.switch.strays import (
    UnmanagedResource,
    clear_unmanaged_resources,
    find_unmanaged_resources,
    revoke_portal_role,
)
from wso2_provisioning.switch.watching import BLOCKED, wait_for_refusal, wait_until_let_through
from wso2_provisioning.tokens import Token


def kill_control(site: SwitchContext, course: StepRunner) -> bool:
    """Shut ChargerControlAPI, and see that a limit is refused while a reading is not.

    Returns:
        Whether it is shut to whatever EVApp's owner makes.
    """
    is_denied = course.run_step("deny API", lambda: deny_calls(site, course, build_control_target(site), CONTROL_API))
    probe = site.request_probe_token(site.read_credentials())
    if probe is not None:
        token = probe
        course.run_step("gateway refuses limits", lambda: _wait_for_refusal(site, course, token))
    course.run_step("take portal role", lambda: revoke_portal_role(site))
    block_subscriptions(site, course, CONTROL_API)
    if probe is not None:
        course.run_step("reading goes on", lambda: _check_reading(site, probe))
    course.run_step("agent sets no limits", lambda: _check_agent(site, lambda word: word == BLOCKED))
    return is_denied


def revive_control(site: SwitchContext, course: StepRunner, *, everything: bool, remove: bool) -> bool:
    """Open ChargerControlAPI to EVApp where a kill shut it, and see that the gateway takes limits again.

    Args:
        site: what is operated.
        course: is told each step.
        everything: open it also where no kill is known to have shut it.
        remove: remove what was made in the owner's name since.

    Returns:
        Whether EVApp may set limits.
    """
    acts, denied = read_recorded_changes(site, course), build_control_target(site)

    def look() -> list[UnmanagedResource]:
        is_shut = find_active_deny_policy(site, denied) is not None
        return find_unmanaged_resources(site, acts, is_shut=is_shut, everything=everything, only=CONTROL_API)

    if not clear_unmanaged_resources(site, course, look, remove=remove):
        return False
    is_ours = build_revert_filter(acts, everything=everything)
    is_allowed = course.run_step(
        f"allow {CONTROL_API}", lambda: allow_calls(site, course, denied, CONTROL_API, is_ours)
    )
    if not (unblock_subscriptions(site, course, is_ours, CONTROL_API) and is_allowed):
        return False
    probe = site.request_probe_token(site.read_credentials())
    is_taken = probe is None or course.run_step("gateway takes limits", lambda: _wait_for_acceptance(site, probe))
    course.run_step("agent sets limits", lambda: _check_agent(site, lambda word: word != BLOCKED))
    return is_taken


def _wait_for_refusal(site: SwitchContext, course: StepRunner, probe: Token) -> StepResult:
    answer = wait_for_refusal(site.wso2.http, site.build_limits_probe(probe))
    course.event.gateway_refused_after_s = course.elapsed_s
    return "done", f"PUT /limits: {answer}, {course.elapsed_s:.3f} s after the command"


def _check_reading(site: SwitchContext, probe: Token) -> StepResult:
    answer = parse_answer(site.build_chargers_probe(probe)())
    return "done" if answer.verdict is Verdict.LET_THROUGH else "failed", f"GET /chargers: {answer}"


def _wait_for_acceptance(site: SwitchContext, probe: Token) -> StepResult:
    if any(
        find_active_deny_policy(site, one)
        for one in (build_owner_target(site.spec), build_application_target(site.spec))
    ):
        return "failed", "every call of EVApp is denied: make revive without SCOPE lets it go on"
    answer = wait_until_let_through(site.wso2.http, site.build_limits_probe(probe))
    return "done", f"PUT /limits is let through: {answer}"


def _check_agent(site: SwitchContext, is_so: Callable[[str], bool]) -> StepResult:
    """Have the agent try at once, and see how that ends."""
    if site.agent.read_command_result() is None:
        return "skipped", "it sets none"
    site.agent.recheck()
    return "done", f"it says: {site.agent.wait_for_command_result(is_so)}"
