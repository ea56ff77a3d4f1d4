"""Says whether an application is stopped, since when, by whom and why; changes nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from wso2_provisioning.applications import CONTROL_API, EVAPP
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.acts import remembered
from wso2_provisioning.switch.doors import (
    Doors,
    denial,
    denied_application,
    denied_control,
    denied_owner,
    doors_of,
)
from wso2_provisioning.switch.site import Site
from wso2_provisioning.switch.strays import HOW, strays_of


def status(site: Site) -> Iterable[str]:
    """Say it in lines.

    Raises:
        ProvisioningError: the gateway does not say.
    """
    spec, doors = site.spec, doors_of(site)
    is_owner_denied = denial(site, denied_owner(spec)) is not None
    yield _standing(site, doors, is_owner_denied=is_owner_denied)
    if shut := [door.name for door in doors.own if not door.is_open]:
        yield f"blocked subscriptions: {', '.join(shut)}"
    for name, why in doors.unseen:
        yield f"not known: {name} ({why})"
    try:
        acts = [*site.journal.left(), *site.record.newest()]
    except ProvisioningError as error:
        yield f"the record can not be read: {error.message}"
        return
    for stray in strays_of(site, remembered(acts), is_shut=is_owner_denied):
        yield f"no artifact describes: {stray.what}. {HOW}"
    yield from _told(act for act in acts if act.get("application") in (None, spec.name))


def _standing(site: Site, doors: Doors, *, is_owner_denied: bool) -> str:
    spec = site.spec
    if is_owner_denied:
        return f"{spec.name} is stopped: every call is denied"
    if denial(site, denied_application(spec)) is not None:
        return f"{spec.name} is stopped, but not what else {spec.owner} owns: make kill denies both"
    if doors.are_shut:
        return f"{spec.name} is stopped: no subscription is open"
    is_control_shut = any(door.name == CONTROL_API and not door.is_open for door in doors.own)
    if spec is EVAPP and (is_control_shut or denial(site, denied_control(site)) is not None):
        return f"{spec.name} is not stopped, but may set no limits on chargers"
    return f"{spec.name} is not stopped"


def _told(acts: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    act = next(iter(acts), None)
    if act is None:
        yield "no kill is recorded"
        return
    proved: Mapping[str, Any] = act.get("proved") or {}
    by = f"{act.get('operator')} ({proved.get('user') or 'not recorded yet'})"
    scope = "" if act.get("scope") in (None, "all") else f" of {act.get('scope')}"
    yield f"last: {act.get('kind')}{scope} at {act.get('started_at')} by {by}: {act.get('reason')}"
