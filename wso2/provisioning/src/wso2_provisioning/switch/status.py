"""Status of an application: whether it is stopped, since when, by whom and why. Changes nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from wso2_provisioning.applications import CONTROL_API, EVAPP
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.context import SwitchContext
from wso2_provisioning.switch.kill_audit import collect_changes
from wso2_provisioning.switch.subscriptions import (
    SubscriptionStates,
    build_application_target,
    build_control_target,
    build_owner_target,
    find_active_deny_policy,
    list_subscription_states,
)
from wso2_provisioning.switch.unmanaged import REMOVAL_HINT, find_unmanaged_resources


def describe_status(context: SwitchContext) -> Iterable[str]:
    """Return the status as lines.

    Raises:
        ProvisioningError: the gateway does not report it.
    """
    spec, subscriptions = context.spec, list_subscription_states(context)
    is_owner_denied = find_active_deny_policy(context, build_owner_target(spec)) is not None
    yield _describe_state(context, subscriptions, is_owner_denied=is_owner_denied)
    if shut := [subscription.name for subscription in subscriptions.own if not subscription.is_unblocked]:
        yield f"blocked subscriptions: {', '.join(shut)}"
    for name, why in subscriptions.unreadable:
        yield f"not known: {name} ({why})"
    try:
        recorded = [*context.journal.list_unrecorded(), *context.audit_log.list_newest()]
    except ProvisioningError as error:
        yield f"the record cannot be read: {error.message}"
        return
    for stray in find_unmanaged_resources(context, collect_changes(recorded), is_shut=is_owner_denied):
        yield f"no artifact describes: {stray.description}. {REMOVAL_HINT}"
    yield from _describe_last_event(act for act in recorded if act.get("application") in (None, spec.name))


def _describe_state(context: SwitchContext, subscriptions: SubscriptionStates, *, is_owner_denied: bool) -> str:
    spec = context.spec
    if is_owner_denied:
        return f"{spec.name} is stopped: every call is denied"
    if find_active_deny_policy(context, build_application_target(spec)) is not None:
        return f"{spec.name} is stopped, but not what else {spec.owner} owns: make kill denies both"
    if subscriptions.are_blocked:
        return f"{spec.name} is stopped: no subscription is open"
    is_control_shut = any(
        subscription.name == CONTROL_API and not subscription.is_unblocked for subscription in subscriptions.own
    )
    if spec is EVAPP and (
        is_control_shut or find_active_deny_policy(context, build_control_target(context)) is not None
    ):
        return f"{spec.name} is not stopped, but may set no limits on chargers"
    return f"{spec.name} is not stopped"


def _describe_last_event(recorded: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    act = next(iter(recorded), None)
    if act is None:
        yield "no kill is recorded"
        return
    proved: Mapping[str, Any] = act.get("proved") or {}
    by = f"{act.get('operator')} ({proved.get('user') or 'not recorded yet'})"
    scope = "" if act.get("scope") in (None, "all") else f" of {act.get('scope')}"
    yield f"last: {act.get('kind')}{scope} at {act.get('started_at')} by {by}: {act.get('reason')}"
