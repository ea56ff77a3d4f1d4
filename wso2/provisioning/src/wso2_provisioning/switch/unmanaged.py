"""Resources that an application's owner has and no artifact describes.

After a kill they may come from the holder of a leaked key: a revive would give them access.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from wso2_provisioning.admin import DenyTarget, OwnerApplication
from wso2_provisioning.applications import SUBSCRIBER_ROLE
from wso2_provisioning.owner_applications import export_application
from wso2_provisioning.switch.context import SwitchContext
from wso2_provisioning.switch.kill_audit import KEY, RecordedChanges, StepResult, StepRunner, compute_key_id
from wso2_provisioning.switch.subscriptions import find_active_deny_policy, list_subscription_states

REMOVAL_HINT = "make revive ARGS=--remove removes it"


@dataclass(frozen=True, slots=True)
class UnmanagedResource:
    """One resource that no artifact describes."""

    description: str
    """For the operator."""
    application_id: str | None
    """Application whose removal removes it; None for the owner's portal role."""


@dataclass(frozen=True, slots=True)
class UnmanagedSearch:
    """What counts as unmanaged."""

    recorded: RecordedChanges
    """Changes of earlier kills and revives."""
    denied: DenyTarget
    """Calls that a kill denies; while it does, every subscription is blocked, so an unblocked one is new."""
    everything: bool = False
    """Accept the application's own subscriptions and keys as they are."""
    only: str | None = None
    """Name of one API or MCP server whose subscriptions are checked; None for all."""


def find_unmanaged_resources(context: SwitchContext, search: UnmanagedSearch) -> list[UnmanagedResource]:
    """Find what the owner has in addition to what the artifacts describe and the kill left.

    Raises:
        ProvisioningError: WSO2 does not list them.
    """
    is_shut = find_active_deny_policy(context, search.denied) is not None
    spec, owned = context.spec, context.wso2.admin.list_applications(context.spec.owner)
    own = next((one for one in owned if one.name == spec.name), None)
    template = "application {}" if own else f"application {{}}, while {spec.name} is missing: it may have been renamed"
    resources = [UnmanagedResource(template.format(one.name), one.application_id) for one in owned if one is not own]
    if own is not None:
        subscriptions = [
            subscription
            for subscription in list_subscription_states(context, search.only).states
            if subscription.application == spec.name and subscription.is_unblocked
        ]
        resources += [
            UnmanagedResource(
                f"subscription of {own.name} to {subscription.name}, which it does not need", own.application_id
            )
            for subscription in subscriptions
            if not subscription.is_own
        ]
        if not search.everything:
            resources += [
                UnmanagedResource(
                    f"subscription of {own.name} to {subscription.name}, made since the kill", own.application_id
                )
                for subscription in subscriptions
                if subscription.is_own and is_shut and subscription.subscription_id not in search.recorded.known_ids
            ]
            resources += _find_foreign_keys(context, search.recorded, own)
    if not spec.keeps_portal and SUBSCRIBER_ROLE in context.wso2.users.list_roles(spec.owner):
        resources.append(UnmanagedResource(f"{spec.owner} holds {SUBSCRIBER_ROLE}, as during a bootstrap", None))
    return resources


def clear_unmanaged_resources(
    context: SwitchContext, runner: StepRunner, search: UnmanagedSearch, *, remove: bool
) -> bool:
    """Report unmanaged resources as a step; remove them if requested.

    An application that was changed is removed as a whole, because whoever changed it has its key.

    Returns:
        Whether none remains.
    """
    found: list[UnmanagedResource] = []

    def report() -> StepResult:
        found.extend(find_unmanaged_resources(context, search))
        if not found:
            return "done", "nothing"
        what = "; ".join(resource.description for resource in found)
        return ("done", f"to be removed: {what}") if remove else ("failed", f"{what}. {REMOVAL_HINT}")

    is_clear = runner.run_step("look for what was made since", report)
    if not (is_clear and found):
        return is_clear
    ids = sorted({resource.application_id for resource in found if resource.application_id is not None})

    def remove_applications() -> StepResult:
        for application_id in ids:
            context.wso2.admin.delete_application(application_id)
        return ("done", f"{len(ids)} with their keys and subscriptions") if ids else ("already", "there is none")

    done = [runner.run_step("remove applications", remove_applications)]
    if any(resource.application_id is None for resource in found):
        done.append(runner.run_step("take portal role", lambda: revoke_portal_role(context)))
    return all(done)


def revoke_portal_role(context: SwitchContext) -> StepResult:
    """Revoke the role with which the owner's key could create and change applications."""
    spec, users = context.spec, context.wso2.users
    if spec.keeps_portal:
        return "skipped", f"{spec.owner} is a person who keeps the role"
    if SUBSCRIBER_ROLE not in users.list_roles(spec.owner):
        return "already", f"{spec.owner} does not hold {SUBSCRIBER_ROLE}"
    users.revoke_role(spec.owner, SUBSCRIBER_ROLE)
    return "done", f"{SUBSCRIBER_ROLE} taken from {spec.owner}"


def _find_foreign_keys(
    context: SwitchContext, recorded: RecordedChanges, own: OwnerApplication
) -> Iterable[UnmanagedResource]:
    application = export_application(context.wso2, context.spec)
    known = {one.id for one in recorded.unreverted.values() if (one.kind, one.name) == (KEY, own.name)}
    credentials = None if application.keys is None else application.keys.credentials
    if known and (credentials is None or compute_key_id(credentials) not in known):
        yield UnmanagedResource(f"key of {own.name}: it is not the one that was killed", own.application_id)
    for client_id in application.other_client_ids:
        yield UnmanagedResource(f"a second key of {own.name}, {client_id}", own.application_id)
