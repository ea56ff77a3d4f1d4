"""Denies and allows, shuts subscriptions and opens them again, each as a step of an act."""

from collections.abc import Callable, Iterable

from wso2_provisioning.admin import DenyTarget
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.acts import DENY_POLICY, SUBSCRIPTION, GatewayChange, RecordedChanges, collect_changes
from wso2_provisioning.switch.course import StepResult, StepRunner
from wso2_provisioning.switch.doors import (
    SubscriptionState,
    SubscriptionStates,
    find_active_deny_policy,
    list_subscription_states,
)
from wso2_provisioning.switch.site import SwitchContext

MayRevert = Callable[[str], bool]
"""Tells of an id at the gateway whether it may be taken back."""

NOT_REVERTIBLE = "no kill that is known here did it: see ARGS=--all"


def deny_calls(site: SwitchContext, course: StepRunner, denied: DenyTarget, name: str) -> StepResult:
    """Refuse these calls from now on.

    Args:
        site: what is operated.
        course: whose act is told of the change.
        denied: whose calls.
        name: what the record calls it.
    """
    if find_active_deny_policy(site, denied) is not None:
        return "already", f"{denied.value} was denied before"
    made = site.wso2.admin.deny(denied)
    course.event.changes.append(GatewayChange(DENY_POLICY, made.condition_id, name))
    return "done", f"{denied.condition_type} {denied.value} is denied"


def allow_calls(
    site: SwitchContext, course: StepRunner, denied: DenyTarget, name: str, is_ours: MayRevert
) -> StepResult:
    """Let these calls go on, where a kill denied them."""
    known = find_active_deny_policy(site, denied)
    if known is None:
        return "already", f"{denied.value} is not denied"
    if not is_ours(known.condition_id):
        return "skipped", NOT_REVERTIBLE
    site.wso2.admin.remove_deny_policy(known.condition_id)
    course.event.changes.append(GatewayChange(DENY_POLICY, known.condition_id, name))
    return "done", f"{denied.condition_type} {denied.value} is no longer denied"


def block_subscriptions(site: SwitchContext, course: StepRunner, only: str | None = None) -> bool:
    """Block the subscriptions of the owner, whichever application holds them.

    Args:
        site: what is operated.
        course: is told each step.
        only: name of the one API or MCP server that is meant; None means all.

    Returns:
        Whether all that are meant are known and blocked.
    """
    doors = _find_subscriptions(site, course, only)
    done = [course.run_step(f"block {door.name}", lambda door=door: _block(site, course, door)) for door in doors.own]
    if doors.others:
        # One step however many they are: an act takes only so many, and these are never opened again.
        done.append(course.run_step("block all others", lambda: _block_others(site, doors.others)))
    return not doors.unreadable and bool(done) and all(done)


def unblock_subscriptions(site: SwitchContext, course: StepRunner, is_ours: MayRevert, only: str | None = None) -> bool:
    """Unblock the application's own subscriptions.

    Args:
        site: what is operated.
        course: is told each step.
        is_ours: which may be unblocked.
        only: name of the one API or MCP server that is meant; None means all.

    Returns:
        Whether all that are meant are known and open.
    """
    doors = _find_subscriptions(site, course, only)
    opened: Callable[[SubscriptionState], StepResult] = lambda door: _unblock(site, course, door, is_ours)  # noqa: E731
    done = [course.run_step(f"unblock {door.name}", lambda door=door: opened(door)) for door in doors.own]
    return not doors.unreadable and bool(done) and all(done)


def build_revert_filter(acts: RecordedChanges, *, everything: bool) -> MayRevert:
    """Take back what kills made, or all."""
    return lambda changed: everything or changed in acts.unreverted


def read_recorded_changes(site: SwitchContext, course: StepRunner) -> RecordedChanges:
    """Read in the record what kills and revives did at the gateway."""
    found: list[RecordedChanges] = []

    def read() -> StepResult:
        found.append(_collect_known_changes(site))
        return "done", f"{len(found[0].unreverted)} changes of kills"

    course.run_step("read the record", read)
    return found[0] if found else collect_changes(())


def _find_subscriptions(site: SwitchContext, course: StepRunner, only: str | None) -> SubscriptionStates:
    found: list[SubscriptionStates] = []

    def look() -> StepResult:
        found.append(list_subscription_states(site, only))
        return found[0].to_step_result()

    course.run_step("look for subscriptions", look)
    return found[0] if found else SubscriptionStates((), ((only or "all", "not looked at"),))


def _block(site: SwitchContext, course: StepRunner, door: SubscriptionState) -> StepResult:
    if not door.is_unblocked:
        return "already", "was not open before"
    site.wso2.publisher.block_subscription(door.subscription_id)
    course.event.changes.append(GatewayChange(SUBSCRIPTION, door.subscription_id, door.name))
    return "done", "subscription blocked"


def _block_others(site: SwitchContext, doors: Iterable[SubscriptionState]) -> StepResult:
    shut: list[str] = []
    failed: list[str] = []
    for door in doors:
        if not door.is_unblocked:
            continue
        try:
            site.wso2.publisher.block_subscription(door.subscription_id)
            shut.append(str(door))
        except ProvisioningError as error:
            failed.append(f"{door}: {error.message}")
    if failed:
        return "failed", "; ".join(failed)
    return ("done" if shut else "already"), f"blocked: {', '.join(shut) or 'none was open'}"


def _unblock(site: SwitchContext, course: StepRunner, door: SubscriptionState, is_ours: MayRevert) -> StepResult:
    if door.is_unblocked:
        return "already", "is open"
    if not is_ours(door.subscription_id):
        return "skipped", NOT_REVERTIBLE
    site.wso2.publisher.unblock_subscription(door.subscription_id)
    course.event.changes.append(GatewayChange(SUBSCRIPTION, door.subscription_id, door.name))
    return "done", "subscription unblocked"


def _collect_known_changes(site: SwitchContext) -> RecordedChanges:
    left = site.journal.list_unrecorded()
    try:
        return collect_changes([*left, *site.audit_log.list_newest()])
    except ProvisioningError as error:
        site.report(f"the record can not be read, so only what is kept on this machine is known: {error.message}")
        return collect_changes(left)
