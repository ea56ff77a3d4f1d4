"""What somebody made in the name of an application's owner and no artifact describes.

After a kill it is what the holder of a key tried meanwhile: a revive would let it through.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wso2_provisioning.admin import OwnerApplication
from wso2_provisioning.applications import SUBSCRIBER_ROLE
from wso2_provisioning.owner_applications import export_application
from wso2_provisioning.switch.context import SwitchContext
from wso2_provisioning.switch.kill_audit import KEY, RecordedChanges, compute_key_id
from wso2_provisioning.switch.step_runner import StepResult, StepRunner
from wso2_provisioning.switch.subscriptions import list_subscription_states

REMOVAL_HINT = "make revive ARGS=--remove removes it"


@dataclass(frozen=True, slots=True)
class UnmanagedResource:
    """One such thing. application_id: with which application it goes; None: it is the owner's role."""

    description: str
    application_id: str | None


def find_unmanaged_resources(
    site: SwitchContext, acts: RecordedChanges, *, is_shut: bool, everything: bool = False, only: str | None = None
) -> list[UnmanagedResource]:
    """Look for what the owner has beside what the artifacts say and the kill left.

    Args:
        site: what is operated.
        acts: what kills and revives did.
        is_shut: a kill blocked every subscription, so that one that is open is another one.
        everything: take the application's own subscriptions and keys as they are.
        only: name of the one API or MCP server whose subscriptions are looked at; None looks at all.

    Raises:
        ProvisioningError: WSO2 does not say.
    """
    spec, owned = site.spec, site.wso2.admin.list_applications(site.spec.owner)
    own = next((one for one in owned if one.name == spec.name), None)
    told = "application {}" if own else f"application {{}}, while {spec.name} is gone: it may be it, renamed"
    strays = [UnmanagedResource(told.format(one.name), one.application_id) for one in owned if one is not own]
    if own is not None:
        doors = [
            door
            for door in list_subscription_states(site, only).states
            if door.application == spec.name and door.is_unblocked
        ]
        strays += [
            UnmanagedResource(f"subscription of {own.name} to {door.name}, which it does not need", own.application_id)
            for door in doors
            if not door.is_own
        ]
        if not everything:
            strays += [
                UnmanagedResource(f"subscription of {own.name} to {door.name}, made since the kill", own.application_id)
                for door in doors
                if door.is_own and is_shut and door.subscription_id not in acts.known_ids
            ]
            strays += _find_foreign_keys(site, acts, own)
    if not spec.keeps_portal and SUBSCRIBER_ROLE in site.wso2.users.list_roles(spec.owner):
        strays.append(UnmanagedResource(f"{spec.owner} holds {SUBSCRIBER_ROLE}, as during a bootstrap", None))
    return strays


def clear_unmanaged_resources(
    site: SwitchContext, course: StepRunner, find: Callable[[], list[UnmanagedResource]], *, remove: bool
) -> bool:
    """Say what there is, as a step; remove it where that is wanted.

    An application that something was made for is removed as a whole: its key is in the hands of whoever did that.

    Returns:
        Whether nothing is left.
    """
    found: list[UnmanagedResource] = []

    def report() -> StepResult:
        found.extend(find())
        if not found:
            return "done", "nothing"
        what = "; ".join(stray.description for stray in found)
        return ("done", f"to be removed: {what}") if remove else ("failed", f"{what}. {REMOVAL_HINT}")

    is_clear = course.run_step("look for what was made since", report)
    if not (is_clear and found):
        return is_clear
    done = [course.run_step("remove applications", lambda: _remove_applications(site, found))]
    if any(stray.application_id is None for stray in found):
        done.append(course.run_step("take portal role", lambda: revoke_portal_role(site)))
    return all(done)


def revoke_portal_role(site: SwitchContext) -> StepResult:
    """Take from the owner the role by which a key of theirs could make and change applications."""
    spec, users = site.spec, site.wso2.users
    if spec.keeps_portal:
        return "skipped", f"{spec.owner} is a person who keeps it"
    if SUBSCRIBER_ROLE not in users.list_roles(spec.owner):
        return "already", f"{spec.owner} does not hold {SUBSCRIBER_ROLE}"
    users.revoke_role(spec.owner, SUBSCRIBER_ROLE)
    return "done", f"{SUBSCRIBER_ROLE} taken from {spec.owner}"


def _remove_applications(site: SwitchContext, strays: Iterable[UnmanagedResource]) -> StepResult:
    ids = {stray.application_id for stray in strays if stray.application_id is not None}
    for application_id in sorted(ids):
        site.wso2.admin.delete_application(application_id)
    return ("done", f"{len(ids)} with their keys and subscriptions") if ids else ("already", "there is none")


def _find_foreign_keys(
    site: SwitchContext, acts: RecordedChanges, own: OwnerApplication
) -> Iterable[UnmanagedResource]:
    application = export_application(site.wso2, site.spec)
    known = {one.id for one in acts.unreverted.values() if (one.kind, one.name) == (KEY, own.name)}
    credentials = None if application.keys is None else application.keys.credentials
    if known and (credentials is None or compute_key_id(credentials) not in known):
        yield UnmanagedResource(f"key of {own.name}: it is not the one that was cut off", own.application_id)
    for client_id in application.other_client_ids:
        yield UnmanagedResource(f"a second key of {own.name}, {client_id}", own.application_id)
