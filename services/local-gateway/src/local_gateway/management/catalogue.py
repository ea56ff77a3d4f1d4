"""Imports APIs and deletes them.

Works on the state alone and knows no HTTP; refuses with the codes that WSO2's Publisher uses.
Source: WSO2 API Manager 4.6 (ImportUtils, ExceptionCodes).
"""

import uuid

from local_gateway.management.definitions import disagreement, fault_of
from local_gateway.management.mcp_catalogue import operations_of_tools, servers_made_from
from local_gateway.management.products import (
    check_environment,
    check_policies,
    check_room,
    check_scopes,
    check_unsubscribed,
    deploy,
    make_revision,
    namesake,
)
from local_gateway.management.rest import Desk, RestError, conflict
from local_gateway.state import Api, Document, Revision
from wso2_terms.api_project import Api as ApiData
from wso2_terms.api_project import ApiProject, Deployment, list_operations
from wso2_terms.codes import INVALID_ENDPOINT, INVALID_ENDPOINT_MESSAGE
from wso2_terms.endpoints import is_endpoint_url


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
        check_room(existing)
    api = _stored(desk, project, existing, provider)
    revision = None
    if project.deployments:
        revision = make_revision(desk, api, "Revision created after importing the API", rotate_revision=rotate_revision)
        deploy(api, revision, [_environment(deployment) for deployment in project.deployments])
    desk.store.changed()
    return api, revision


def remove(desk: Desk, api: Api) -> None:
    """Delete an API with its revisions.

    Raises:
        RestError: 409, somebody is subscribed to it, or an MCP server is made from it.
    """
    check_unsubscribed(desk, api, "API")
    if servers := servers_made_from(desk.state, api):
        # Refused as for API products (ApisApiServiceImpl); that MCP servers count alike is inferred.
        raise conflict(f"Cannot remove the API as its resources are used by MCP server {servers[0].name}")
    del desk.state.apis[api.api_id]
    desk.store.changed()


def _existing(desk: Desk, wanted: ApiData) -> Api | None:
    found = namesake(desk, wanted.name, wanted.version, wanted.versioned_context)
    if found is not None and not isinstance(found, Api):
        raise conflict("The API already exists.", 900300)
    return found


def _check(desk: Desk, project: ApiProject, existing: Api | None) -> None:
    data = project.api
    fault = fault_of(project.definition)
    if fault is not None:
        raise RestError(400, f"Error while parsing OpenAPI definition: {fault}", code=900754)
    _check_endpoints(data)
    difference = disagreement(data, project.definition)
    if difference is not None:
        raise RestError(400, f"api.yaml and definition disagree: {difference}")
    advanced = (data.api_throttling_policy, *(operation.throttling_policy for operation in data.operations))
    check_policies(desk, data.policies, advanced)
    for deployment in project.deployments:
        check_environment(deployment.deployment_environment)
    check_scopes(desk, data.scopes, existing)
    if existing is not None:
        _check_tools(desk, project, existing)


def _check_endpoints(data: ApiData) -> None:
    """Refuse an address that no gateway can call. The Publisher says this where an API is new, here always."""
    config = data.endpoint_config
    for endpoint in (config.production_endpoints, config.sandbox_endpoints):
        if endpoint is not None and not is_endpoint_url(endpoint.url):
            description = f"Invalid/Malformed endpoint URL(s) detected: {endpoint.url[:200]}"
            raise RestError(400, description, code=INVALID_ENDPOINT, message=INVALID_ENDPOINT_MESSAGE)


def _check_tools(desk: Desk, project: ApiProject, existing: Api) -> None:
    """Refuse to take away what an MCP server offers as a tool; the status is inferred from API products."""
    gone = operations_of_tools(desk.state, existing) - list_operations(project.definition)
    if gone:
        target, verb = min(gone)
        raise conflict(f"Cannot remove resource {verb} {target}, which is used by an MCP server")


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
