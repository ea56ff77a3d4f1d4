"""Bootstrap steps: each reads the live state and changes only what differs.

What an operator stopped (a blocked API or subscription) stays stopped: a repeated bootstrap must never revert a kill.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from wso2_provisioning.admin import Admin
from wso2_provisioning.applications import SUBSCRIBER_ROLE, ApplicationSpec
from wso2_provisioning.artifact_diff import GOVERNING, add_fingerprint, diff_api, diff_policy
from wso2_provisioning.change_log import ChangeLog
from wso2_provisioning.credentials import SHARED, RequestLimit
from wso2_provisioning.devportal import UNLIMITED, ApplicationKeys, Subscription
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.owner_applications import ApplicationPortal
from wso2_provisioning.publisher import BLOCKED, UNBLOCKED, LiveApi, Publisher
from wso2_provisioning.users import Users
from wso2_terms.api_project import Api, ApiProject
from wso2_terms.artifacts import Artifacts
from wso2_terms.mcp_project import McpServer, McpServerProject
from wso2_terms.policies import PolicyKind
from wso2_terms.windows import compute_window_s


@dataclass(frozen=True, slots=True)
class LiveProduct:
    """An API or MCP server of the artifacts as it is now in WSO2."""

    project: ApiProject | McpServerProject
    product_id: str | None
    """None if a dry run found none."""
    is_blocked: bool = False
    vhosts: Mapping[str, str] = field(default_factory=dict[str, str])
    """Virtual hosts of an API, by environment."""

    @property
    def descriptor(self) -> Api | McpServer:
        """Its description in the project."""
        return self.project.api if isinstance(self.project, ApiProject) else self.project.server

    @property
    def name(self) -> str:
        """Name in the Publisher."""
        return self.descriptor.name

    @property
    def plan(self) -> str:
        """Plan of subscriptions: the first one offered."""
        return self.descriptor.policies[0]

    @property
    def advanced_policies(self) -> tuple[str, ...]:
        """Policies that limit all applications together: that of the whole product, else those of its operations."""
        offered = self.descriptor
        of_all = offered.api_throttling_policy if isinstance(offered, Api) else offered.throttling_policy
        return (of_all,) if of_all else tuple(operation.throttling_policy for operation in offered.operations)


def ensure_policies(admin: Admin, artifacts: Artifacts, changes: ChangeLog) -> None:
    """Import the throttling policies that are missing or differ."""
    live = {kind: admin.list_policies(kind) for kind in {policy.kind for policy in artifacts.policies}}
    for policy in artifacts.policies:
        found = live[policy.kind].get(policy.name)
        differences = ["new"] if found is None else diff_policy(policy, found)
        if differences:
            what = f"import {policy.kind.value} {policy.name} ({', '.join(differences)})"
            changes.apply(what, lambda policy=policy: admin.import_policy(policy))


def ensure_roles(users: Users, roles: Iterable[str], changes: ChangeLog) -> None:
    """Add missing roles: WSO2 rejects an API whose scopes name an unknown role."""
    for role in sorted(roles):
        if not users.role_exists(role):
            changes.apply(f"add role {role}", lambda role=role: users.add_role(role))


def revoke_lent_roles(users: Users, specs: Iterable[ApplicationSpec], changes: ChangeLog) -> None:
    """Revoke the portal role from every owner who must not keep it: an interrupted run may have left it."""
    for spec in specs:
        if spec.keeps_portal or not users.user_exists(spec.owner):
            continue
        if SUBSCRIBER_ROLE in users.list_roles(spec.owner):
            what = f"take {SUBSCRIBER_ROLE} from {spec.owner}, by which a key of theirs could undo a kill"
            changes.apply(what, lambda owner=spec.owner: users.revoke_role(owner, SUBSCRIBER_ROLE))


def ensure_owner(users: Users, name: str, password: SecretStr, roles: frozenset[str], changes: ChangeLog) -> bool:
    """Create an application's owner, or grant missing roles.

    Returns:
        Whether the owner is complete now; False only in a dry run.
    """
    if not users.user_exists(name):
        changes.apply(f"add user {name}", lambda: users.add_user(name, password, sorted(roles)))
    elif missing := roles - users.list_roles(name):
        changes.apply(f"give {name} {', '.join(sorted(missing))}", lambda: users.grant_roles(name, missing))
    else:
        return True
    return not changes.is_dry_run


def ensure_apis(publisher: Publisher, artifacts: Artifacts, changes: ChangeLog) -> dict[str, LiveProduct]:
    """Import the APIs that are missing or differ, and return all of them by name."""
    return {project.api.name: _ensure_api(publisher, project, changes) for project in artifacts.apis}


def _ensure_api(publisher: Publisher, artifact: ApiProject, changes: ChangeLog) -> LiveProduct:
    project = add_fingerprint(artifact)
    live = publisher.find(project.api.name, project.api.version)
    if live is not None and live.life_cycle_status == BLOCKED != project.api.life_cycle_status:
        changes.warn(f"{project.api.name} is blocked in the Publisher and stays so; nothing was imported")
        return LiveProduct(artifact, live.api_id, is_blocked=True, vhosts=live.vhosts)
    differences = ["new"] if live is None else _diff_live_api(project, live)
    if not differences:
        return _to_live_product(artifact, live)
    what = f"import {project.root} ({', '.join(differences)})"
    return _to_live_product(
        artifact, changes.apply(what, lambda: _import_and_verify(publisher, project, changes)) or live
    )


def _to_live_product(artifact: ApiProject, live: LiveApi | None) -> LiveProduct:
    return LiveProduct(artifact, None) if live is None else LiveProduct(artifact, live.api_id, vhosts=live.vhosts)


def _diff_live_api(project: ApiProject, live: LiveApi) -> list[str]:
    wanted = {deployment.deployment_environment for deployment in project.deployments}
    missing = [f"not deployed to {name}" for name in sorted(wanted - live.vhosts.keys())]
    return diff_api(project, live.body) + missing


def _import_and_verify(publisher: Publisher, project: ApiProject, changes: ChangeLog) -> LiveApi:
    live = publisher.get(publisher.import_project(project))
    left = ["gone"] if live is None else _diff_live_api(project, live)
    message = f"{project.root} was imported, but WSO2 still differs in {', '.join(left)}"
    if any(difference in GOVERNING or "deployed" in difference for difference in left) or live is None:
        raise ProvisioningError(f"{message}: see repository/logs/wso2carbon.log")
    if left:
        # It may represent the same value differently; no governing field is among them.
        changes.warn(message)
    return live


def ensure_application(portal: ApplicationPortal, name: str, description: str, changes: ChangeLog) -> str | None:
    """Create an application if it is missing, and return its id; None if a dry run found none."""
    known = portal.find_application(name)
    return known or changes.apply(f"make application {name}", lambda: portal.create_application(name, description))


def ensure_subscriptions(
    portal: ApplicationPortal,
    application_id: str | None,
    name: str,
    products: Iterable[LiveProduct],
    changes: ChangeLog,
) -> dict[str, Subscription]:
    """Subscribe an application to APIs and MCP servers, each with its first plan.

    Returns:
        The resulting subscriptions by name.
    """
    wanted = list(products)
    found = {} if application_id is None else _index_by_product(portal, application_id)
    for one in wanted:
        live = found.get(one.product_id or "")
        target = (application_id or "", one.product_id or "")
        if one.is_blocked or (live is not None and live.status != UNBLOCKED):
            continue
        if live is None:
            what = f"subscribe {name} to {one.name} ({one.plan})"
            changes.apply(what, lambda target=target, one=one: portal.subscribe(*target, one.plan))
        elif live.plan != one.plan:
            what = f"change the plan of {name} at {one.name} from {live.plan} to {one.plan}"
            changes.apply(what, lambda target=target, live=live, one=one: portal.change_plan(target[0], live, one.plan))
    if application_id is not None and not changes.is_dry_run:
        found = _index_by_product(portal, application_id)
    held = {one.name: found[one.product_id] for one in wanted if one.product_id in found}
    for product_name, subscription in held.items():
        if subscription.status != UNBLOCKED:
            changes.warn(f"the subscription of {name} to {product_name} is {subscription.status} and stays so")
    if excess := found.keys() - {one.product_id for one in wanted}:
        changes.warn(f"{name} is subscribed to {len(excess)} more than it needs; see the Developer Portal")
    return held


def _index_by_product(portal: ApplicationPortal, application_id: str) -> dict[str, Subscription]:
    return {subscription.api_id: subscription for subscription in portal.list_subscriptions(application_id)}


def ensure_keys(
    portal: ApplicationPortal, application_id: str | None, name: str, changes: ChangeLog, *, rotate: bool = False
) -> ApplicationKeys | None:
    """Return an application's keys, which are generated if missing; None if a dry run found none.

    Args:
        portal: of the application's owner.
        application_id: None if a dry run found no application.
        name: of the application.
        changes: carries changes out.
        rotate: replace an existing secret.
    """
    known = None if application_id is None else portal.find_keys(application_id)
    if known is None:
        return changes.apply(f"generate keys of {name}", lambda: portal.generate_keys(application_id or ""))
    if rotate:
        rotated = changes.apply(
            f"rotate the secret of {name}", lambda: portal.rotate_secret(application_id or "", known)
        )
        return rotated or known
    return known


def compute_limits(
    admin: Admin, products: Iterable[LiveProduct], held: Mapping[str, Subscription], application_policy: str | None
) -> dict[str, RequestLimit]:
    """Return the request limits of an application by API and MCP server, from the live policies.

    Of the plan and the policies for all applications the stricter one counts.

    Args:
        admin: reads the policies.
        products: APIs and MCP servers.
        held: the application's subscriptions, by name.
        application_policy: limits the application at all of them together; returned as `SHARED`.
    """
    plans = admin.list_policies(PolicyKind.SUBSCRIPTION)
    advanced = admin.list_policies(PolicyKind.ADVANCED)
    limits: dict[str, RequestLimit] = {}
    for one in products:
        if one.name not in held:
            continue
        bounds = [plans.get(held[one.name].plan), *(advanced.get(name) for name in one.advanced_policies)]
        found = [limit for limit in map(_parse_limit, bounds) if limit is not None]
        if found:
            limits[one.name] = min(found, key=lambda limit: limit.requests / limit.per_s)
    if application_policy not in (None, UNLIMITED):
        shared = _parse_limit(admin.list_policies(PolicyKind.APPLICATION).get(application_policy))
        limits |= {} if shared is None else {SHARED: shared}
    return limits


def _parse_limit(policy: Mapping[str, object] | None) -> RequestLimit | None:
    match policy:
        case {
            "defaultLimit": {"requestCount": {"requestCount": int(count), "unitTime": int(time), "timeUnit": str(unit)}}
        }:
            return RequestLimit(count, compute_window_s(time, unit))
        case _:
            return None
