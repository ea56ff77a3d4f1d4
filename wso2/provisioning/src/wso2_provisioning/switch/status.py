"""Says whether EVApp is stopped, since when, by whom and why; changes nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from wso2_provisioning.applications import CONTROL_API, EVAPP
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.switch.doors import denial, doors_of
from wso2_provisioning.switch.site import Site


def status(site: Site) -> Iterable[str]:
    """Say it in lines.

    Raises:
        ProvisioningError: the gateway does not say.
    """
    is_denied = denial(site.wso2) is not None
    doors = doors_of(site.wso2, site.artifacts)
    shut = [door.name for door in doors.doors if not door.is_open]
    if is_denied or doors.are_shut:
        yield f"{EVAPP.name} is stopped: " + ("every call is denied" if is_denied else "no subscription is open")
    elif CONTROL_API in shut:
        yield f"{EVAPP.name} is not stopped, but may set no limits on chargers"
    else:
        yield f"{EVAPP.name} is not stopped"
    if shut:
        yield f"blocked subscriptions: {', '.join(shut)}"
    for name, why in doors.unseen:
        yield f"not known: {name} ({why})"
    try:
        acts = [*site.journal.left(), *site.record.newest()]
    except ProvisioningError as error:
        yield f"the record can not be read: {error.message}"
        return
    yield from _told(acts)


def _told(acts: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    act = next(iter(acts), None)
    if act is None:
        yield "no kill is recorded"
        return
    proved: Mapping[str, Any] = act.get("proved") or {}
    by = f"{act.get('operator')} ({proved.get('user') or 'not recorded yet'})"
    scope = "" if act.get("scope") in (None, "all") else f" of {act.get('scope')}"
    yield f"last: {act.get('kind')}{scope} at {act.get('started_at')} by {by}: {act.get('reason')}"
