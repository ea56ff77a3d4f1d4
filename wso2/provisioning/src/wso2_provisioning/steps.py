"""The steps that bring WSO2 to the state which the artifacts describe. Each looks first and changes only what differs.

What an operator stopped (a blocked API or subscription) is left stopped: running this again must never undo a
kill switch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from wso2_provisioning.admin import Admin
from wso2_provisioning.changes import Changes
from wso2_provisioning.credentials import Limit
from wso2_provisioning.devportal import ApplicationKeys, DevPortal, Subscription
from wso2_provisioning.drift import GOVERNING, api_differences, policy_differences, with_fingerprint
from wso2_provisioning.errors import ProvisioningError
from wso2_provisioning.publisher import LiveApi, Publisher
from wso2_provisioning.users import Users
from wso2_terms.api_project import ApiProject
from wso2_terms.artifacts import Artifacts
from wso2_terms.policies import PolicyKind
from wso2_terms.windows import window_s

_BLOCKED, _UNBLOCKED = "BLOCKED", "UNBLOCKED"


@dataclass(frozen=True, slots=True)
class PublishedApi:
    """An API of the artifacts as it is now in WSO2; `api_id` is None where a dry run found none."""

    project: ApiProject
    api_id: str | None
    is_blocked: bool = False

    @property
    def plan(self) -> str:
        """The plan that applications subscribe with: the first one offered."""
        return self.project.api.policies[0]


def ensure_policies(admin: Admin, artifacts: Artifacts, changes: Changes) -> None:
    """Import the throttling policies that are missing or differ."""
    live = {kind: admin.policies(kind) for kind in {policy.kind for policy in artifacts.policies}}
    for policy in artifacts.policies:
        found = live[policy.kind].get(policy.name)
        differences = ["new"] if found is None else policy_differences(policy, found)
        if differences:
            what = f"import {policy.kind.value} {policy.name} ({', '.join(differences)})"
            changes.make(what, lambda policy=policy: admin.import_policy(policy))


def ensure_roles(users: Users, roles: Iterable[str], changes: Changes) -> None:
    """Add the roles that are missing: WSO2 refuses an API whose scopes name a role that it does not know."""
    for role in sorted(roles):
        if not users.role_exists(role):
            changes.make(f"add role {role}", lambda role=role: users.add_role(role))


def ensure_owner(users: Users, name: str, password: SecretStr, roles: frozenset[str], changes: Changes) -> bool:
    """Make an application's owner, or give them the roles that they lack.

    Returns:
        Whether they can act now; False only in a dry run.
    """
    if not users.user_exists(name):
        changes.make(f"add user {name}", lambda: users.add_user(name, password, sorted(roles)))
    elif missing := roles - users.roles_of(name):
        changes.make(f"give {name} {', '.join(sorted(missing))}", lambda: users.give_roles(name, missing))
    else:
        return True
    return not changes.is_dry_run


def ensure_apis(publisher: Publisher, artifacts: Artifacts, changes: Changes) -> dict[str, PublishedApi]:
    """Import the APIs that are missing or differ, and return all of them by name."""
    return {project.api.name: _ensure_api(publisher, project, changes) for project in artifacts.apis}


def _ensure_api(publisher: Publisher, artifact: ApiProject, changes: Changes) -> PublishedApi:
    project = with_fingerprint(artifact)
    live = publisher.find(project.api.name, project.api.version)
    if live is not None and live.life_cycle_status == _BLOCKED != project.api.life_cycle_status:
        changes.warn(f"{project.api.name} is blocked in the Publisher and stays so; nothing was imported")
        return PublishedApi(artifact, live.api_id, is_blocked=True)
    differences = ["new"] if live is None else _differences(project, live)
    if not differences:
        return PublishedApi(artifact, live.api_id if live else None)
    what = f"import {project.root} ({', '.join(differences)})"
    api_id = changes.make(what, lambda: _import_and_look(publisher, project, changes))
    return PublishedApi(artifact, api_id or (live.api_id if live else None))


def _differences(project: ApiProject, live: LiveApi) -> list[str]:
    wanted = {deployment.deployment_environment for deployment in project.deployments}
    missing = [f"not deployed to {name}" for name in sorted(wanted - live.environments)]
    return api_differences(project, live.body) + missing


def _import_and_look(publisher: Publisher, project: ApiProject, changes: Changes) -> str:
    api_id = publisher.import_project(project)
    live = publisher.get(api_id)
    left = ["gone"] if live is None else _differences(project, live)
    told = f"{project.root} was imported, but WSO2 still differs in {', '.join(left)}"
    if any(difference in GOVERNING or "deployed" in difference for difference in left) or live is None:
        raise ProvisioningError(f"{told}: see repository/logs/wso2carbon.log")
    if left:
        # It may only write the same in another way; nothing that governs calls is among it.
        changes.warn(told)
    return api_id


def ensure_application(portal: DevPortal, name: str, description: str, changes: Changes) -> str | None:
    """Make an application of the portal's user, and return its id, None where a dry run found none."""
    known = portal.find_application(name)
    return known or changes.make(f"make application {name}", lambda: portal.create_application(name, description))


def ensure_subscriptions(
    portal: DevPortal, application_id: str | None, name: str, apis: Iterable[PublishedApi], changes: Changes
) -> dict[str, Subscription]:
    """Subscribe an application to APIs, each with the plan that the API offers first.

    Returns:
        What it is subscribed to, by API name, as WSO2 has it afterwards.
    """
    wanted = list(apis)
    found = {} if application_id is None else _by_api(portal, application_id)
    for api in wanted:
        live = found.get(api.api_id or "")
        target = (application_id or "", api.api_id or "")
        if api.is_blocked or (live is not None and live.status != _UNBLOCKED):
            continue
        if live is None:
            what = f"subscribe {name} to {api.project.api.name} ({api.plan})"
            changes.make(what, lambda target=target, api=api: portal.subscribe(*target, api.plan))
        elif live.plan != api.plan:
            what = f"change the plan of {name} at {api.project.api.name} from {live.plan} to {api.plan}"
            changes.make(what, lambda target=target, live=live, api=api: portal.change_plan(target[0], live, api.plan))
    if application_id is not None and not changes.is_dry_run:
        found = _by_api(portal, application_id)
    held = {api.project.api.name: found[api.api_id] for api in wanted if api.api_id in found}
    for api_name, subscription in held.items():
        if subscription.status != _UNBLOCKED:
            changes.warn(f"the subscription of {name} to {api_name} is {subscription.status} and stays so")
    return held


def _by_api(portal: DevPortal, application_id: str) -> dict[str, Subscription]:
    return {subscription.api_id: subscription for subscription in portal.subscriptions(application_id)}


def ensure_keys(
    portal: DevPortal, application_id: str | None, name: str, changes: Changes, *, rotate: bool = False
) -> ApplicationKeys | None:
    """Return an application's keys, generated where there are none; None where a dry run found none.

    Args:
        portal: as the application's owner sees it.
        application_id: None where a dry run found no application.
        name: the application's name.
        changes: carries changes out.
        rotate: replace a secret that is there already.
    """
    known = None if application_id is None else portal.keys(application_id)
    if known is None:
        return changes.make(f"generate keys of {name}", lambda: portal.generate_keys(application_id or ""))
    if rotate:
        rotated = changes.make(
            f"rotate the secret of {name}", lambda: portal.rotate_secret(application_id or "", known)
        )
        return rotated or known
    return known


def live_limits(admin: Admin, apis: Iterable[PublishedApi], held: Mapping[str, Subscription]) -> dict[str, Limit]:
    """Return what an application may ask of each API, from the policies as WSO2 has them now.

    Both the plan and the API's own policy limit; the one that allows fewer requests in the same time is given.
    """
    plans = admin.policies(PolicyKind.SUBSCRIPTION)
    advanced = admin.policies(PolicyKind.ADVANCED)
    limits: dict[str, Limit] = {}
    for api in apis:
        name = api.project.api.name
        if name not in held:
            continue
        bounds = (plans.get(held[name].plan), advanced.get(api.project.api.api_throttling_policy or ""))
        found = [limit for limit in map(_limit, bounds) if limit is not None]
        if found:
            limits[name] = min(found, key=lambda limit: limit.requests / limit.per_s)
    return limits


def _limit(policy: Mapping[str, object] | None) -> Limit | None:
    match policy:
        case {
            "defaultLimit": {"requestCount": {"requestCount": int(count), "unitTime": int(time), "timeUnit": str(unit)}}
        }:
            return Limit(count, window_s(time, unit))
        case _:
            return None
