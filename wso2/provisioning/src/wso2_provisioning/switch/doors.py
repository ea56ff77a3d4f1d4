"""The ways by which EVApp gets through the gateway: whether it is denied, and how each of its subscriptions is."""

from collections.abc import Callable
from dataclasses import dataclass

from wso2_provisioning.admin import DenyPolicy, denied_application
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.errors import ProvisioningError, Refused
from wso2_provisioning.publisher import UNBLOCKED
from wso2_provisioning.switch.course import Done
from wso2_provisioning.wso2 import Wso2
from wso2_terms.artifacts import Artifacts

DENIED_VALUE = denied_application(EVAPP.owner, EVAPP.name)


@dataclass(frozen=True, slots=True)
class Door:
    """One subscription of EVApp. name: of the API or MCP server."""

    subscription_id: str
    name: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class Doors:
    """All that is known. unseen: APIs and MCP servers that could not be looked at, with the reason."""

    doors: tuple[Door, ...]
    unseen: tuple[tuple[str, str], ...]

    @property
    def are_shut(self) -> bool:
        """Whether EVApp can call nothing."""
        return not self.unseen and bool(self.doors) and not any(door.is_open for door in self.doors)

    def told(self) -> Done:
        """What came of looking."""
        unseen = "; ".join(f"{name}: {why}" for name, why in self.unseen)
        return ("failed", unseen) if unseen else ("done", f"{len(self.doors)} subscriptions")


def denial(wso2: Wso2) -> DenyPolicy | None:
    """The deny policy that stops EVApp now, None without one."""
    return next(
        (
            policy
            for policy in wso2.admin.deny_policies()
            if policy.is_enabled and (policy.condition_type, policy.value) == ("APPLICATION", DENIED_VALUE)
        ),
        None,
    )


def doors_of(wso2: Wso2, artifacts: Artifacts, only: str | None = None) -> Doors:
    """Look at each subscription of EVApp; what can not be looked at does not hide the others.

    Args:
        wso2: where.
        artifacts: say to what EVApp subscribes.
        only: name of the one API or MCP server that is looked at; None looks at all.
    """
    doors: dict[str, Door] = {}
    unseen: list[tuple[str, str]] = []
    for name, find in _products(wso2, artifacts):
        if only not in (None, name):
            continue
        try:
            for subscriber in wso2.publisher.subscriptions(find()):
                if (subscriber.application, subscriber.owner) == (EVAPP.name, EVAPP.owner):
                    is_open = subscriber.status == UNBLOCKED
                    doors[subscriber.subscription_id] = Door(subscriber.subscription_id, name, is_open)
        except ProvisioningError as error:
            unseen.append((name, error.message))
    others = _others(wso2, set(doors)) if only is None else ()
    return Doors(tuple(doors.values()) + others, tuple(unseen))


def _products(wso2: Wso2, artifacts: Artifacts) -> list[tuple[str, Callable[[], str]]]:
    def of_api(name: str, version: str) -> str:
        live = wso2.publisher.find(name, version)
        return _needed(name, None if live is None else live.api_id)

    def of_server(name: str, version: str) -> str:
        live = wso2.mcp_servers.find(name, version)
        return _needed(name, None if live is None else live.server_id)

    apis = [project.api for project in EVAPP.projects(artifacts)]
    servers = [project.server for project in EVAPP.mcp_projects(artifacts)]
    return [
        *((api.name, lambda api=api: of_api(api.name, api.version)) for api in apis),
        *((server.name, lambda server=server: of_server(server.name, server.version)) for server in servers),
    ]


def _needed(name: str, product_id: str | None) -> str:
    if product_id is None:
        raise Refused(f"{name} is not found", status=404)
    return product_id


def _others(wso2: Wso2, known: set[str]) -> tuple[Door, ...]:
    """Subscriptions to what the artifacts do not know; seen by the owner alone."""
    password = wso2.settings.password_of(EVAPP)
    if password is None:
        return ()
    try:
        portal = wso2.portal_of(EVAPP.owner, password)
        application_id = portal.find_application(EVAPP.name)
        held = [] if application_id is None else portal.subscriptions(application_id)
    except ProvisioningError:
        return ()
    return tuple(
        Door(one.subscription_id, one.api_id, one.status == UNBLOCKED)
        for one in held
        if one.subscription_id not in known
    )
