"""Says whether an application is stopped, since when, by whom and why; changes nothing."""

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


def describe_status(site: SwitchContext) -> Iterable[str]:
    """Say it in lines.

    Raises:
        ProvisioningError: the gateway does not say.
    """
    spec, doors = site.spec, list_subscription_states(site)
    is_owner_denied = find_active_deny_policy(site, build_owner_target(spec)) is not None
    yield _describe_state(site, doors, is_owner_denied=is_owner_denied)
    if shut := [door.name for door in doors.own if not door.is_unblocked]:
        yield f"blocked subscriptions: {', '.join(shut)}"
    for name, why in doors.unreadable:
        yield f"not known: {name} ({why})"
    try:
        acts = [*site.journal.list_unrecorded(), *site.audit_log.list_newest()]
    except ProvisioningError as error:
        yield f"the record can not be read: {error.message}"
        return
    for stray in find_unmanaged_resources(site, collect_changes(acts), is_shut=is_owner_denied):
        yield f"no artifact describes: {stray.description}. {REMOVAL_HINT}"
    yield from _describe_last_event(act for act in acts if act.get("application") in (None, spec.name))


def _describe_state(site: SwitchContext, doors: SubscriptionStates, *, is_owner_denied: bool) -> str:
    spec = site.spec
    if is_owner_denied:
        return f"{spec.name} is stopped: every call is denied"
    if find_active_deny_policy(site, build_application_target(spec)) is not None:
        return f"{spec.name} is stopped, but not what else {spec.owner} owns: make kill denies both"
    if doors.are_blocked:
        return f"{spec.name} is stopped: no subscription is open"
    is_control_shut = any(door.name == CONTROL_API and not door.is_unblocked for door in doors.own)
    if spec is EVAPP and (is_control_shut or find_active_deny_policy(site, build_control_target(site)) is not None):
        return f"{spec.name} is not stopped, but may set no limits on chargers"
    return f"{spec.name} is not stopped"


def _describe_last_event(acts: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    act = next(iter(acts), None)
    if act is None:
        yield "no kill is recorded"
        return
    proved: Mapping[str, Any] = act.get("proved") or {}
    by = f"{act.get('operator')} ({proved.get('user') or 'not recorded yet'})"
    scope = "" if act.get("scope") in (None, "all") else f" of {act.get('scope')}"
    yield f"last: {act.get('kind')}{scope} at {act.get('started_at')} by {by}: {act.get('reason')}"
