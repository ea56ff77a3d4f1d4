"""Denies and allows, shuts subscriptions and opens them again, each as a step of an act."""

from collections.abc import Callable, Iterable

from wso2_provisioning.admin import Denied
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.acts import DENY_POLICY, SUBSCRIPTION, Change, Remembered, remembered
from wso2_provisioning.switch.course import Course, Done
from wso2_provisioning.switch.doors import Door, Doors, denial, doors_of
from wso2_provisioning.switch.site import Site

IsOurs = Callable[[str], bool]
"""Tells of an id at the gateway whether it may be taken back."""

LEFT = "no kill that is known here did it: see ARGS=--all"


def deny(site: Site, course: Course, denied: Denied, name: str) -> Done:
    """Refuse these calls from now on.

    Args:
        site: what is operated.
        course: whose act is told of the change.
        denied: whose calls.
        name: what the record calls it.
    """
    if denial(site, denied) is not None:
        return "already", f"{denied.value} was denied before"
    made = site.wso2.admin.deny(denied)
    course.act.changes.append(Change(DENY_POLICY, made.condition_id, name))
    return "done", f"{denied.condition_type} {denied.value} is denied"


def allow(site: Site, course: Course, denied: Denied, name: str, is_ours: IsOurs) -> Done:
    """Let these calls go on, where a kill denied them."""
    known = denial(site, denied)
    if known is None:
        return "already", f"{denied.value} is not denied"
    if not is_ours(known.condition_id):
        return "skipped", LEFT
    site.wso2.admin.remove_deny_policy(known.condition_id)
    course.act.changes.append(Change(DENY_POLICY, known.condition_id, name))
    return "done", f"{denied.condition_type} {denied.value} is no longer denied"


def shut_doors(site: Site, course: Course, only: str | None = None) -> bool:
    """Block the subscriptions of the owner, whichever application holds them.

    Args:
        site: what is operated.
        course: is told each step.
        only: name of the one API or MCP server that is meant; None means all.

    Returns:
        Whether all that are meant are known and blocked.
    """
    doors = _seen(site, course, only)
    done = [course.step(f"block {door.name}", lambda door=door: _shut(site, course, door)) for door in doors.own]
    if doors.others:
        # One step however many they are: an act takes only so many, and these are never opened again.
        done.append(course.step("block all others", lambda: _shut_others(site, doors.others)))
    return not doors.unseen and bool(done) and all(done)


def open_doors(site: Site, course: Course, is_ours: IsOurs, only: str | None = None) -> bool:
    """Unblock the application's own subscriptions.

    Args:
        site: what is operated.
        course: is told each step.
        is_ours: which may be unblocked.
        only: name of the one API or MCP server that is meant; None means all.

    Returns:
        Whether all that are meant are known and open.
    """
    doors = _seen(site, course, only)
    opened: Callable[[Door], Done] = lambda door: _open(site, course, door, is_ours)  # noqa: E731
    done = [course.step(f"unblock {door.name}", lambda door=door: opened(door)) for door in doors.own]
    return not doors.unseen and bool(done) and all(done)


def ours(acts: Remembered, *, everything: bool) -> IsOurs:
    """Take back what kills made, or all."""
    return lambda changed: everything or changed in acts.made


def what_acts_did(site: Site, course: Course) -> Remembered:
    """Read in the record what kills and revives did at the gateway."""
    found: list[Remembered] = []

    def known() -> Done:
        found.append(_remembered(site))
        return "done", f"{len(found[0].made)} changes of kills"

    course.step("read the record", known)
    return found[0] if found else remembered(())


def _seen(site: Site, course: Course, only: str | None) -> Doors:
    found: list[Doors] = []

    def look() -> Done:
        found.append(doors_of(site, only))
        return found[0].told()

    course.step("look for subscriptions", look)
    return found[0] if found else Doors((), ((only or "all", "not looked at"),))


def _shut(site: Site, course: Course, door: Door) -> Done:
    if not door.is_open:
        return "already", "was not open before"
    site.wso2.publisher.block_subscription(door.subscription_id)
    course.act.changes.append(Change(SUBSCRIPTION, door.subscription_id, door.name))
    return "done", "subscription blocked"


def _shut_others(site: Site, doors: Iterable[Door]) -> Done:
    shut: list[str] = []
    failed: list[str] = []
    for door in doors:
        if not door.is_open:
            continue
        try:
            site.wso2.publisher.block_subscription(door.subscription_id)
            shut.append(str(door))
        except ProvisioningError as error:
            failed.append(f"{door}: {error.message}")
    if failed:
        return "failed", "; ".join(failed)
    return ("done" if shut else "already"), f"blocked: {', '.join(shut) or 'none was open'}"


def _open(site: Site, course: Course, door: Door, is_ours: IsOurs) -> Done:
    if door.is_open:
        return "already", "is open"
    if not is_ours(door.subscription_id):
        return "skipped", LEFT
    site.wso2.publisher.unblock_subscription(door.subscription_id)
    course.act.changes.append(Change(SUBSCRIPTION, door.subscription_id, door.name))
    return "done", "subscription unblocked"


def _remembered(site: Site) -> Remembered:
    left = site.journal.left()
    try:
        return remembered([*left, *site.record.newest()])
    except ProvisioningError as error:
        site.say(f"the record can not be read, so only what is kept on this machine is known: {error.message}")
        return remembered(left)
