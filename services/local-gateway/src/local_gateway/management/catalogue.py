"""Imports APIs, makes revisions of them and deploys these.

Works on the state alone and knows no HTTP; refuses with the codes that WSO2's Publisher uses.
Source: WSO2 API Manager 4.6 (ImportUtils, ExceptionCodes).
"""

import uuid
from collections.abc import Iterable

from local_gateway.management.definitions import disagreement, fault_of
from local_gateway.management.policies import find_policy
from local_gateway.management.rest import Desk, RestError, conflict
from local_gateway.state import Api, Document, Revision
from wso2_terms.api_project import Api as ApiData
from wso2_terms.api_project import ApiProject, Deployment
from wso2_terms.policies import PolicyKind

ENVIRONMENT = "Default"
MAX_REVISIONS = 5
"""Cap of WSO2's tenant-conf.json, `ApiMaxRevisionCount`."""


def import_project(
    desk: Desk, project: ApiProject, provider: str, *, overwrite: bool, rotate_revision: bool
) -> tuple[Api, Revision | None]:
    """Create or update an API, bring it to its life cycle state and deploy it where the project says.

    Args:
        desk: state and clock.
        project: what was uploaded.
        provider: who will own the API.
        overwrite: update an API that is there already, under the id that it has.
        rotate_revision: at the cap, drop the oldest revision instead of failing.

    Returns:
        The API, and its new revision when the project names an environment.

    Raises:
        RestError: something in the project can not be; nothing was changed then.
    """
    existing = _existing(desk, project.api)
    if existing is not None and not overwrite:
        raise conflict("The API already exists.", 900300)
    _check(desk, project, existing)
    if existing is not None and project.deployments and not rotate_revision:
        _check_room(existing)
    api = _stored(desk, project, existing, provider)
    revision = None
    if project.deployments:
        revision = make_revision(desk, api, "Revision created after importing the API", rotate_revision=rotate_revision)
        deploy(api, revision, [_environment(deployment) for deployment in project.deployments])
    desk.store.changed()
    return api, revision


def make_revision(desk: Desk, api: Api, description: str, *, rotate_revision: bool = False) -> Revision:
    """Freeze the working copy.

    Raises:
        RestError: 400, the cap is reached and nothing may be dropped.
    """
    if len(api.revisions) >= MAX_REVISIONS:
        if not rotate_revision:
            _check_room(api)
        api.revisions.pop(0)
    api.revisions_made += 1
    revision = Revision(
        revision_id=str(uuid.uuid4()),
        number=api.revisions_made,
        description=description,
        created_at_ms=desk.now_ms(),
        data=api.data,
        definition=api.definition,
    )
    api.revisions.append(revision)
    return revision


def deploy(api: Api, revision: Revision, environments: Iterable[Document]) -> None:
    """Let the gateway serve a revision; it takes the place of the one that an environment served before.

    Raises:
        RestError: 404, no such environment.
    """
    for environment in environments:
        name = environment.get("name")
        if name != ENVIRONMENT:
            raise RestError(404, f"Gateway environment {name} was not found", code=900506)
        for other in api.revisions:
            other.environments = [served for served in other.environments if served["name"] != name]
        revision.environments.append(environment)


def undeploy(revision: Revision, names: Iterable[str]) -> None:
    """Take a revision from environments; no name stands for all of them."""
    gone = set(names) or {environment["name"] for environment in revision.environments}
    revision.environments = [served for served in revision.environments if served["name"] not in gone]


def remove(desk: Desk, api: Api) -> None:
    """Delete an API with its revisions.

    Raises:
        RestError: 409, somebody is subscribed to it.
    """
    if any(subscription.api_id == api.api_id for subscription in desk.state.subscriptions.values()):
        raise conflict("Cannot remove the API as active subscriptions exist.")
    del desk.state.apis[api.api_id]
    desk.store.changed()


def _existing(desk: Desk, wanted: ApiData) -> Api | None:
    for api in desk.state.apis.values():
        if api.name == wanted.name and api.version == wanted.version:
            return api
        if api.context == wanted.versioned_context:
            raise conflict(f"Context {wanted.context} is taken by {api.name}", 900251)
    return None


def _check(desk: Desk, project: ApiProject, existing: Api | None) -> None:
    data = project.api
    fault = fault_of(project.definition)
    if fault is not None:
        raise RestError(400, f"Error while parsing OpenAPI definition: {fault}", code=900754)
    difference = disagreement(data, project.definition)
    if difference is not None:
        raise RestError(400, f"api.yaml and definition disagree: {difference}")
    if unknown := [plan for plan in data.policies if find_policy(desk, PolicyKind.SUBSCRIPTION, plan) is None]:
        raise RestError(400, f"Specified policy {unknown[0]} is invalid", code=900305)
    advanced = {data.api_throttling_policy, *(operation.throttling_policy for operation in data.operations)} - {None}
    for name in sorted(filter(None, advanced)):
        if find_policy(desk, PolicyKind.ADVANCED, name) is None:
            raise RestError(400, f"Specified API level policy {name} is invalid", code=900305)
    if wrong := [d.deployment_environment for d in project.deployments if d.deployment_environment != ENVIRONMENT]:
        raise RestError(404, f"Gateway environment {wrong[0]} was not found", code=900506)
    _check_scopes(desk, data, existing)


def _check_scopes(desk: Desk, data: ApiData, existing: Api | None) -> None:
    taken = {
        listed["scope"]["name"]
        for api in desk.state.apis.values()
        if api is not existing
        for listed in api.data.get("scopes", [])
        if not listed.get("shared")
    }
    for listed in data.scopes:
        if not listed.shared and listed.scope.name in taken:
            raise RestError(400, f"Scope {listed.scope.name} is already assigned locally by another API")
        for role in listed.scope.bindings:
            if not desk.users.role_exists(role):
                raise RestError(400, f"Role '{role}' does not exist.")


def _check_room(api: Api) -> None:
    if len(api.revisions) >= MAX_REVISIONS:
        raise RestError(400, f"Maximum number of revisions per API has reached: {MAX_REVISIONS}", code=900351)


def _stored(desk: Desk, project: ApiProject, existing: Api | None, provider: str) -> Api:
    data = project.api.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"provider": provider}
    now_ms = desk.now_ms()
    if existing is not None:
        existing.data, existing.definition = data, project.definition
        existing.lifecycle, existing.updated_at_ms = project.api.life_cycle_status, now_ms
        return existing
    api = Api(
        api_id=str(uuid.uuid4()),
        provider=provider,
        lifecycle=project.api.life_cycle_status,
        data=data,
        definition=project.definition,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    desk.state.apis[api.api_id] = api
    return api


def _environment(deployment: Deployment) -> Document:
    return {
        "name": deployment.deployment_environment,
        "vhost": deployment.deployment_vhost or "localhost",
        "displayOnDevportal": deployment.display_on_devportal,
    }
