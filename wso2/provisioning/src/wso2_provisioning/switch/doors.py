"""The ways by which an owner's applications get through the gateway: who is denied, and how each subscription is."""

from dataclasses import dataclass

from wso2_provisioning.admin import DenyPolicy, DenyTarget
from wso2_provisioning.applications import CONTROL_API, ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.publisher import UNBLOCKED
from wso2_provisioning.switch.course import StepResult
from wso2_provisioning.switch.site import SwitchContext


def build_owner_target(spec: ApplicationSpec) -> DenyTarget:
    """Whatever calls with a token of any application of the owner: this alone holds against whatever they make."""
    return DenyTarget.for_owner(spec.owner)


def build_application_target(spec: ApplicationSpec) -> DenyTarget:
    """The application under its name."""
    return DenyTarget.for_application(spec.owner, spec.name)


def build_control_target(site: SwitchContext) -> DenyTarget:
    """The API by which limits are set, whoever calls: people stop cars at SiteAPI, not there."""
    return DenyTarget.for_api(site.artifacts.find_api(CONTROL_API).api.versioned_context)


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """One subscription. name: of the API or MCP server. is_own: it is the application's own, to what it needs."""

    subscription_id: str
    name: str
    application: str
    plan: str
    is_unblocked: bool
    is_own: bool

    def __str__(self) -> str:
        return f"{self.name} by {self.application}"


@dataclass(frozen=True, slots=True)
class SubscriptionStates:
    """All that is known. unseen: APIs and MCP servers that could not be looked at, with the reason."""

    states: tuple[SubscriptionState, ...]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def own(self) -> tuple[SubscriptionState, ...]:
        """The subscriptions that the application is to have."""
        return tuple(door for door in self.states if door.is_own)

    @property
    def others(self) -> tuple[SubscriptionState, ...]:
        """All else that its owner subscribed to, and with which application."""
        return tuple(door for door in self.states if not door.is_own)

    @property
    def are_blocked(self) -> bool:
        """Whether no subscription lets a call through."""
        return not self.unreadable and bool(self.states) and not any(door.is_unblocked for door in self.states)

    def to_step_result(self) -> StepResult:
        """What came of looking."""
        unseen = "; ".join(f"{name}: {why}" for name, why in self.unreadable)
        others = f", and {len(self.others)} that no artifact describes" if self.others else ""
        return ("failed", unseen) if unseen else ("done", f"{len(self.own)} subscriptions{others}")


def find_active_deny_policy(site: SwitchContext, denied: DenyTarget) -> DenyPolicy | None:
    """The deny policy that refuses these calls now, None without one."""
    return site.wso2.admin.find_active_deny_policy(denied)


def list_subscription_states(site: SwitchContext, only: str | None = None) -> SubscriptionStates:
    """Look at each subscription of the owner; what can not be looked at does not hide the others.

    Args:
        site: what is operated.
        only: name of the one API or MCP server that is looked at; None looks at all.
    """
    doors: list[SubscriptionState] = []
    unseen: list[tuple[str, str]] = []
    try:
        products = _list_products(site)
    except ProvisioningError as error:
        return SubscriptionStates((), (("the Publisher", error.message),))
    for name in site.spec.products if only is None else (only,):
        if name not in products.values():
            unseen.append((name, "it is not found"))
    for product_id, name in products.items():
        if only not in (None, name):
            continue
        try:
            doors += _list_product_states(site, product_id, name)
        except ProvisioningError as error:
            unseen.append((name, error.message))
    return SubscriptionStates(tuple(doors), tuple(unseen))


def _list_product_states(site: SwitchContext, product_id: str, name: str) -> list[SubscriptionState]:
    spec = site.spec
    return [
        SubscriptionState(
            held.subscription_id,
            name,
            held.application,
            held.plan,
            is_unblocked=held.status == UNBLOCKED,
            is_own=held.application == spec.name and name in spec.products,
        )
        for held in site.wso2.publisher.list_subscriptions(product_id)
        if held.owner == spec.owner
    ]


def _list_products(site: SwitchContext) -> dict[str, str]:
    """Every API and MCP server by id, those that the application needs first."""
    found = site.wso2.publisher.list_names() | site.wso2.mcp_servers.list_names()
    needed = site.spec.products

    def place(product_id: str) -> tuple[int, str]:
        name = found[product_id]
        return (needed.index(name) if name in needed else len(needed), name)

    return {product_id: found[product_id] for product_id in sorted(found, key=place)}
