"""Shuts the doors of EVApp and opens them again, each as a step of an act."""

from collections.abc import Callable

from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.acts import SUBSCRIPTION, Change, made_by_kills
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doors import Door, Doors, doors_of
from wso2_provisioning.switch.site import Site

IsOurs = Callable[[str], bool]
"""Tells of an id at the gateway whether it may be taken back."""

LEFT = "no kill that is known here did it: see ARGS=--all"


def shut_doors(site: Site, course: Course, only: str | None = None) -> bool:
    """Block EVApp's subscriptions.

    Args:
        site: what is operated.
        course: is told each step.
        only: name of the one API or MCP server that is meant; None means all.

    Returns:
        Whether all that are meant are known and blocked.
    """
    return _each(site, course, only, "block", lambda door: _shut(site, course, door))


def open_doors(site: Site, course: Course, is_ours: IsOurs, only: str | None = None) -> bool:
    """Unblock EVApp's subscriptions.

    Args:
        site: what is operated.
        course: is told each step.
        is_ours: which may be unblocked.
        only: name of the one API or MCP server that is meant; None means all.

    Returns:
        Whether all that are meant are known and open.
    """
    return _each(site, course, only, "unblock", lambda door: _open(site, course, door, is_ours))


def what_kills_made(site: Site, course: Course, *, everything: bool) -> IsOurs:
    """Read in the record what kills made at the gateway and no revive undid.

    Args:
        site: what is operated.
        course: is told the step.
        everything: all else may be taken back, too.
    """
    ours: set[str] = set()

    def known() -> Done:
        ours.update(_made_by_kills(site))
        return "done", f"{len(ours)} changes of kills"

    course.step("read the record", known)
    return lambda changed: everything or changed in ours


def _each(site: Site, course: Course, only: str | None, act: str, do: Callable[[Door], Done]) -> bool:
    found: list[Doors] = []

    def look() -> Done:
        found.append(doors_of(site.wso2, site.artifacts, only))
        return found[0].told()

    is_seen = course.step("look for subscriptions", look)
    doors = found[0].doors if found else ()
    done = [course.step(f"{act} {door.name}", lambda door=door: do(door)) for door in doors]
    return is_seen and bool(done) and all(done)


def _shut(site: Site, course: Course, door: Door) -> Done:
    if not door.is_open:
        return "already", "was not open before"
    site.wso2.publisher.block_subscription(door.subscription_id)
    course.act.changes.append(Change(SUBSCRIPTION, door.subscription_id, door.name))
    return "done", "subscription blocked"


def _open(site: Site, course: Course, door: Door, is_ours: IsOurs) -> Done:
    if door.is_open:
        return "already", "is open"
    if not is_ours(door.subscription_id):
        return "skipped", LEFT
    site.wso2.publisher.unblock_subscription(door.subscription_id)
    course.act.changes.append(Change(SUBSCRIPTION, door.subscription_id, door.name))
    return "done", "subscription unblocked"


def _made_by_kills(site: Site) -> set[str]:
    left = site.journal.left()
    try:
        return made_by_kills([*left, *site.record.newest()])
    except ProvisioningError as error:
        site.say(f"the record can not be read, so only what is kept on this machine is known: {error.message}")
        return made_by_kills(left)
