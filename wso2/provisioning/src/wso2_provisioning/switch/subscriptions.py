"""Deny policies and subscriptions of an application's owner: read, block and unblock, each as a step of an event."""

from collections.abc import Iterable
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
    StepResult,
    StepRunner,
    collect_changes,
)


def build_owner_target(spec: ApplicationSpec) -> DenyTarget:
    """Return the target for calls of any application of the owner, also of one that is created later."""
    return DenyTarget.for_owner(spec.owner)


def build_application_target(spec: ApplicationSpec) -> DenyTarget:
    """Return the target for calls of the application with its name."""
    return DenyTarget.for_application(spec.owner, spec.name)


def build_control_target(context: SwitchContext) -> DenyTarget:
    """Return the target for all calls of the API that sets limits; people stop cars through SiteAPI instead."""
    return DenyTarget.for_api(context.artifacts.find_api(CONTROL_API).api.versioned_context)


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """One subscription of the owner."""

    subscription_id: str
    name: str
    """Name of the API or MCP server."""
    application: str
    """Name of the subscribed application."""
    plan: str
    is_unblocked: bool
    is_own: bool
    """Whether the application of the artifacts holds it, for an API or MCP server that it needs."""

    def __str__(self) -> str:
        return f"{self.name} by {self.application}"


@dataclass(frozen=True, slots=True)
class SubscriptionStates:
    """All subscriptions of the owner."""

    states: tuple[SubscriptionState, ...]
    unreadable: tuple[tuple[str, str], ...]
    """Name of each API and MCP server whose subscriptions cannot be read, and the reason."""

    @property
    def own(self) -> tuple[SubscriptionState, ...]:
        """Subscriptions that the application must have."""
        return tuple(subscription for subscription in self.states if subscription.is_own)

    @property
    def others(self) -> tuple[SubscriptionState, ...]:
        """Further subscriptions of its owner, of any application."""
        return tuple(subscription for subscription in self.states if not subscription.is_own)

    @property
    def are_blocked(self) -> bool:
        """Whether no subscription lets a call through."""
        return (
            not self.unreadable
            and bool(self.states)
            and not any(subscription.is_unblocked for subscription in self.states)
        )

    def to_step_result(self) -> StepResult:
        """Return the result of reading them, as of a step."""
        unseen = "; ".join(f"{name}: {why}" for name, why in self.unreadable)
        others = f", and {len(self.others)} that no artifact describes" if self.others else ""
        return ("failed", unseen) if unseen else ("done", f"{len(self.own)} subscriptions{others}")


def find_active_deny_policy(context: SwitchContext, target: DenyTarget) -> DenyPolicy | None:
    """Return the deny policy that refuses these calls now, None without one."""
    return context.wso2.admin.find_active_deny_policy(target)


def list_subscription_states(context: SwitchContext, only: str | None = None) -> SubscriptionStates:
    """List the subscriptions of the owner; an API that cannot be read does not hide the others.

    Args:
        context: operated stack and application.
        only: name of one API or MCP server; None for all.
    """
    subscriptions: list[SubscriptionState] = []
    unseen: list[tuple[str, str]] = []
    try:
        products = _list_products(context)
    except ProvisioningError as error:
        return SubscriptionStates((), (("the Publisher", error.message),))
    for name in context.spec.products if only is None else (only,):
        if name not in products.values():
            unseen.append((name, "it is not found"))
    for product_id, name in products.items():
        if only not in (None, name):
            continue
        try:
            subscriptions += _list_product_states(context, product_id, name)
        except ProvisioningError as error:
            unseen.append((name, error.message))
    return SubscriptionStates(tuple(subscriptions), tuple(unseen))


def _list_product_states(context: SwitchContext, product_id: str, name: str) -> list[SubscriptionState]:
    spec = context.spec
    return [
        SubscriptionState(
            held.subscription_id,
            name,
            held.application,
            held.plan,
            is_unblocked=held.status == UNBLOCKED,
            is_own=held.application == spec.name and name in spec.products,
        )
        for held in context.wso2.publisher.list_subscriptions(product_id)
        if held.owner == spec.owner
    ]


def _list_products(context: SwitchContext) -> dict[str, str]:
    """Every API and MCP server by id, those that the application needs first."""
    found = context.wso2.publisher.list_names() | context.wso2.mcp_servers.list_names()
    needed = context.spec.products

    def place(product_id: str) -> tuple[int, str]:
        name = found[product_id]
        return (needed.index(name) if name in needed else len(needed), name)

    return {product_id: found[product_id] for product_id in sorted(found, key=place)}


@dataclass(frozen=True, slots=True)
class RevertFilter:
    """Selects the changes at the gateway that a revive may revert."""

    recorded: RecordedChanges
    everything: bool
    """Select everything, instead of what known kills changed."""

    def accepts(self, change_id: str) -> bool:
        """Return whether the resource with this id may be reverted."""
        return self.everything or change_id in self.recorded.unreverted


NOT_REVERTIBLE = "no kill that is known here did it: see ARGS=--all"


def deny_calls(context: SwitchContext, runner: StepRunner, target: DenyTarget, name: str) -> StepResult:
    """Deny these calls from now on.

    Args:
        context: operated stack and application.
        runner: of the event that records the change.
        target: calls to deny.
        name: name in the audit log.
    """
    if find_active_deny_policy(context, target) is not None:
        return "already", f"{target.value} was denied before"
    policy = context.wso2.admin.deny(target)
    runner.event.changes.append(GatewayChange(DENY_POLICY, policy.condition_id, name))
    return "done", f"{target.condition_type} {target.value} is denied"


def allow_calls(
    context: SwitchContext, runner: StepRunner, target: DenyTarget, name: str, revert_filter: RevertFilter
) -> StepResult:
    """Allow these calls again, if a kill denied them."""
    known = find_active_deny_policy(context, target)
    if known is None:
        return "already", f"{target.value} is not denied"
    if not revert_filter.accepts(known.condition_id):
        return "skipped", NOT_REVERTIBLE
    context.wso2.admin.remove_deny_policy(known.condition_id)
    runner.event.changes.append(GatewayChange(DENY_POLICY, known.condition_id, name))
    return "done", f"{target.condition_type} {target.value} is no longer denied"


def block_subscriptions(context: SwitchContext, runner: StepRunner, only: str | None = None) -> bool:
    """Block the subscriptions of the owner, whichever application holds them.

    Args:
        context: operated stack and application.
        runner: runs and records each step.
        only: name of one API or MCP server; None for all.

    Returns:
        Whether all of them are known and blocked.
    """
    subscriptions = _find_subscriptions(context, runner, only)
    done = [
        runner.run_step(
            f"block {subscription.name}", lambda subscription=subscription: _block(context, runner, subscription)
        )
        for subscription in subscriptions.own
    ]
    if subscriptions.others:
        # One step for all: an event has a limited number of steps, and these are never unblocked again.
        done.append(runner.run_step("block all others", lambda: _block_others(context, subscriptions.others)))
    return not subscriptions.unreadable and bool(done) and all(done)


def unblock_subscriptions(
    context: SwitchContext, runner: StepRunner, revert_filter: RevertFilter, only: str | None = None
) -> bool:
    """Unblock the application's own subscriptions.

    Args:
        context: operated stack and application.
        runner: runs and records each step.
        revert_filter: selects the subscriptions to unblock, by id.
        only: name of one API or MCP server; None for all.

    Returns:
        Whether all of them are known and unblocked.
    """
    subscriptions = _find_subscriptions(context, runner, only)
    done = [
        runner.run_step(
            f"unblock {one.name}",
            lambda one=one: _unblock(context, runner, one, revert_filter),
        )
        for one in subscriptions.own
    ]
    return not subscriptions.unreadable and bool(done) and all(done)


def read_recorded_changes(context: SwitchContext, runner: StepRunner) -> RecordedChanges:
    """Read from the audit log what kills and revives changed at the gateway."""
    found: list[RecordedChanges] = []

    def read() -> StepResult:
        found.append(_collect_known_changes(context))
        return "done", f"{len(found[0].unreverted)} changes of kills"

    runner.run_step("read the record", read)
    return found[0] if found else collect_changes(())


def _find_subscriptions(context: SwitchContext, runner: StepRunner, only: str | None) -> SubscriptionStates:
    found: list[SubscriptionStates] = []

    def find() -> StepResult:
        found.append(list_subscription_states(context, only))
        return found[0].to_step_result()

    runner.run_step("look for subscriptions", find)
    return found[0] if found else SubscriptionStates((), ((only or "all", "not looked at"),))


def _block(context: SwitchContext, runner: StepRunner, subscription: SubscriptionState) -> StepResult:
    if not subscription.is_unblocked:
        return "already", "was not open before"
    context.wso2.publisher.block_subscription(subscription.subscription_id)
    runner.event.changes.append(GatewayChange(SUBSCRIPTION, subscription.subscription_id, subscription.name))
    return "done", "subscription blocked"


def _block_others(context: SwitchContext, subscriptions: Iterable[SubscriptionState]) -> StepResult:
    blocked: list[str] = []
    failed: list[str] = []
    for subscription in subscriptions:
        if not subscription.is_unblocked:
            continue
        try:
            context.wso2.publisher.block_subscription(subscription.subscription_id)
            blocked.append(str(subscription))
        except ProvisioningError as error:
            failed.append(f"{subscription}: {error.message}")
    if failed:
        return "failed", "; ".join(failed)
    return ("done" if blocked else "already"), f"blocked: {', '.join(blocked) or 'none was open'}"


def _unblock(
    context: SwitchContext, runner: StepRunner, subscription: SubscriptionState, revert_filter: RevertFilter
) -> StepResult:
    if subscription.is_unblocked:
        return "already", "is open"
    if not revert_filter.accepts(subscription.subscription_id):
        return "skipped", NOT_REVERTIBLE
    context.wso2.publisher.unblock_subscription(subscription.subscription_id)
    runner.event.changes.append(GatewayChange(SUBSCRIPTION, subscription.subscription_id, subscription.name))
    return "done", "subscription unblocked"


def _collect_known_changes(context: SwitchContext) -> RecordedChanges:
    left = context.journal.list_unrecorded()
    try:
        return collect_changes([*left, *context.audit_log.list_newest()])
    except ProvisioningError as error:
        context.report(f"the record cannot be read, so only events kept on this machine are known: {error.message}")
        return collect_changes(left)
