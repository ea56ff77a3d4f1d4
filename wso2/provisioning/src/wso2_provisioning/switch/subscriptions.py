"""Deny policies and subscriptions of an application's owner: read, block and unblock, each as a step of an event."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wso2_provisioning.admin import DenyPolicy, DenyTarget
from wso2_provisioning.applications import CONTROL_API, ApplicationSpec
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.publisher import UNBLOCKED
from wso2_provisioning.switch.context import SwitchContext
from wso2_provisioning.switch.kill_audit import (
    DENY_POLICY,
    SUBSCRIPTION,
    GatewayChange,
    RecordedChanges,
    collect_changes,
)
from wso2_provisioning.switch.step_runner import StepResult, StepRunner


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
