"""The ways by which an owner's applications get through the gateway: who is denied, and how each subscription is."""

from dataclasses import dataclass

from wso2_provisioning.admin import Denied, DenyPolicy
from wso2_provisioning.applications import CONTROL_API, ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.publisher import UNBLOCKED
from wso2_provisioning.switch.course import Done
from wso2_provisioning.switch.site import Site


def denied_owner(spec: ApplicationSpec) -> Denied:
    """Whatever calls with a token of any application of the owner: this alone holds against whatever they make."""
    return Denied.owner(spec.owner)


def denied_application(spec: ApplicationSpec) -> Denied:
    """The application under its name."""
    return Denied.application(spec.owner, spec.name)


def denied_control(site: Site) -> Denied:
    """The API by which limits are set, whoever calls: people stop cars at SiteAPI, not there."""
    return Denied.api(site.artifacts.find_api(CONTROL_API).api.versioned_context)


@dataclass(frozen=True, slots=True)
class Door:
    """One subscription. name: of the API or MCP server. is_own: it is the application's own, to what it needs."""

    subscription_id: str
    name: str
    application: str
    plan: str
    is_open: bool
    is_own: bool

    def __str__(self) -> str:
        return f"{self.name} by {self.application}"


@dataclass(frozen=True, slots=True)
class Doors:
    """All that is known. unseen: APIs and MCP servers that could not be looked at, with the reason."""

    doors: tuple[Door, ...]
    unseen: tuple[tuple[str, str], ...]

    @property
    def own(self) -> tuple[Door, ...]:
        """The subscriptions that the application is to have."""
        return tuple(door for door in self.doors if door.is_own)

    @property
    def others(self) -> tuple[Door, ...]:
        """All else that its owner subscribed to, and with which application."""
        return tuple(door for door in self.doors if not door.is_own)

    @property
    def are_shut(self) -> bool:
        """Whether no subscription lets a call through."""
        return not self.unseen and bool(self.doors) and not any(door.is_open for door in self.doors)

    def told(self) -> Done:
        """What came of looking."""
        unseen = "; ".join(f"{name}: {why}" for name, why in self.unseen)
        others = f", and {len(self.others)} that no artifact describes" if self.others else ""
        return ("failed", unseen) if unseen else ("done", f"{len(self.own)} subscriptions{others}")


def denial(site: Site, denied: Denied) -> DenyPolicy | None:
    """The deny policy that refuses these calls now, None without one."""
    return site.wso2.admin.denial(denied)


def doors_of(site: Site, only: str | None = None) -> Doors:
    """Look at each subscription of the owner; what can not be looked at does not hide the others.

    Args:
        site: what is operated.
        only: name of the one API or MCP server that is looked at; None looks at all.
    """
    doors: list[Door] = []
    unseen: list[tuple[str, str]] = []
    try:
        products = _products(site)
    except ProvisioningError as error:
        return Doors((), (("the Publisher", error.message),))
    for name in site.spec.products if only is None else (only,):
        if name not in products.values():
            unseen.append((name, "it is not found"))
    for product_id, name in products.items():
        if only not in (None, name):
            continue
        try:
            doors += _doors_at(site, product_id, name)
        except ProvisioningError as error:
            unseen.append((name, error.message))
    return Doors(tuple(doors), tuple(unseen))


def _doors_at(site: Site, product_id: str, name: str) -> list[Door]:
    spec = site.spec
    return [
        Door(
            held.subscription_id,
            name,
            held.application,
            held.plan,
            is_open=held.status == UNBLOCKED,
            is_own=held.application == spec.name and name in spec.products,
        )
        for held in site.wso2.publisher.subscriptions(product_id)
        if held.owner == spec.owner
    ]


def _products(site: Site) -> dict[str, str]:
    """Every API and MCP server by id, those that the application needs first."""
    found = site.wso2.publisher.names() | site.wso2.mcp_servers.names()
    needed = site.spec.products

    def place(product_id: str) -> tuple[int, str]:
        name = found[product_id]
        return (needed.index(name) if name in needed else len(needed), name)

    return {product_id: found[product_id] for product_id in sorted(found, key=place)}
