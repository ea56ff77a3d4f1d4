"""Lets EVApp go on: takes back what kills made, and leaves what somebody else stopped as it is."""

from collections.abc import Callable

from wso2_provisioning.applications import EVAPP
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.acts import DENY_POLICY, SUBSCRIPTION, Change, made_by_kills
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doors import Door, Doors, denial, doors_of
from wso2_provisioning.switch.site import Site

IsOurs = Callable[[str], bool]

_LEFT = "no kill that is known here did it: see ARGS=--all"


def revive(site: Site, course: Course, *, everything: bool) -> bool:
    """Take back what kills made.

    Args:
        site: what is operated.
        course: is told each step.
        everything: take back also what no kill is known to have made.

    Returns:
        Whether nothing of it stops EVApp any longer.
    """
    ours: set[str] = set()

    def known() -> Done:
        ours.update(_made_by_kills(site))
        return "done", f"{len(ours)} changes of kills"

    def is_ours(changed: str) -> bool:
        return everything or changed in ours

    course.step("read the record", known)
    is_allowed = course.step("remove deny policy", lambda: _allow(site, course, is_ours))
    are_open = _open_doors(site, course, is_ours)
    course.step("agent decides", lambda: _agent_decides(site, course))
    return is_allowed and are_open


def _made_by_kills(site: Site) -> set[str]:
    left = site.journal.left()
    try:
        return made_by_kills([*left, *site.record.newest()])
    except ProvisioningError as error:
        site.say(f"the record can not be read, so only what is kept on this machine is known: {error.message}")
        return made_by_kills(left)


def _allow(site: Site, course: Course, is_ours: IsOurs) -> Done:
    known = denial(site.wso2)
    if known is None:
        return "already", "EVApp is not denied"
    if not is_ours(known.condition_id):
        return "skipped", _LEFT
    site.wso2.admin.remove_deny_policy(known.condition_id)
    course.act.changes.append(Change(DENY_POLICY, known.condition_id, EVAPP.name))
    return "done", f"calls of {EVAPP.name} are no longer denied"


def _open_doors(site: Site, course: Course, is_ours: IsOurs) -> bool:
    found: list[Doors] = []

    def look() -> Done:
        found.append(doors_of(site.wso2, site.artifacts))
        return found[0].told()

    is_seen = course.step("look for subscriptions", look)
    doors = found[0].doors if found else ()
    opened = [
        course.step(f"unblock {door.name}", lambda door=door: _open(site, course, door, is_ours)) for door in doors
    ]
    return is_seen and all(opened)


def _open(site: Site, course: Course, door: Door, is_ours: IsOurs) -> Done:
    if door.is_open:
        return "already", "is open"
    if not is_ours(door.subscription_id):
        return "skipped", _LEFT
    site.wso2.publisher.unblock_subscription(door.subscription_id)
    course.act.changes.append(Change(SUBSCRIPTION, door.subscription_id, door.name))
    return "done", "subscription unblocked"


def _agent_decides(site: Site, course: Course) -> Done:
    site.agent.recheck()
    told = site.agent.wait_until_it_decides()
    course.act.agent_decides_after_s = course.elapsed_s()
    return "done", f"{told['charging_power_kw']:g} kW, {course.elapsed_s():.3f} s after the command: {told['reason']}"
