"""Imports APIs and deletes them.

Works on the state alone and knows no HTTP; refuses with the codes that WSO2's Publisher uses.
Source: WSO2 API Manager 4.6 (ImportUtils, ExceptionCodes).
"""

import uuid

from local_gateway.management.definitions import find_definition_error, find_mismatch
from local_gateway.management.mcp_catalogue import list_servers_of_api, list_tool_operations
from local_gateway.management.products import (
    check_environment,
    check_no_subscriptions,
    check_policies,
    check_revision_limit,
    check_scopes,
    create_revision,
    deploy,
    find_existing,
)
from local_gateway.management.rest import ManagementContext, RestError, conflict
from local_gateway.state import ApiRecord, Document, Revision
from wso2_terms.api_project import Api, ApiProject, Deployment, list_operations
from wso2_terms.codes import INVALID_ENDPOINT, INVALID_ENDPOINT_MESSAGE
from wso2_terms.endpoints import is_endpoint_url


def import_project(
    context: ManagementContext, project: ApiProject, provider: str, *, overwrite: bool, rotate_revision: bool
) -> tuple[ApiRecord, Revision | None]:
    """Create or update an API, bring it to its life cycle state and deploy it where the project says.

    Args:
        context: state and clock.
        project: what was uploaded.
        provider: who will own the API.
        overwrite: update an API that is there already, under the id that it has.
        rotate_revision: at the cap, drop the oldest revision instead of failing.

    Returns:
        The API, and its new revision when the project names an environment.

    Raises:
        RestError: something in the project can not be; nothing was changed then.
    """
    existing = _find_existing_api(context, project.api)
    if existing is not None and not overwrite:
        raise conflict("The API already exists.", 900300)
    _check_project(context, project, existing)
    if existing is not None and project.deployments and not rotate_revision:
        check_revision_limit(existing)
    api = _store_api(context, project, existing, provider)
    revision = None
    if project.deployments:
        revision = create_revision(
            context, api, "Revision created after importing the API", rotate_revision=rotate_revision
        )
        deploy(api, revision, [_build_environment(deployment) for deployment in project.deployments])
    context.store.save()
    return api, revision


def delete_api(context: ManagementContext, api: ApiRecord) -> None:
    """Delete an API with its revisions.

    Raises:
        RestError: 409, somebody is subscribed to it, or an MCP server is made from it.
    """
    check_no_subscriptions(context, api, "API")
    if servers := list_servers_of_api(context.state, api):
        # Refused as for API products (ApisApiServiceImpl); that MCP servers count alike is inferred.
        raise conflict(f"Cannot remove the API as its resources are used by MCP server {servers[0].name}")
    del context.state.apis[api.api_id]
    context.store.save()


def _find_existing_api(context: ManagementContext, wanted: Api) -> ApiRecord | None:
    found = find_existing(context, wanted.name, wanted.version, wanted.versioned_context)
    if found is not None and not isinstance(found, ApiRecord):
        raise conflict("The API already exists.", 900300)
    return found


def _check_project(context: ManagementContext, project: ApiProject, existing: ApiRecord | None) -> None:
    data = project.api
    fault = find_definition_error(project.definition)
    if fault is not None:
        raise RestError(400, f"Error while parsing OpenAPI definition: {fault}", code=900754)
    _check_endpoints(data)
    difference = find_mismatch(data, project.definition)
    if difference is not None:
        raise RestError(400, f"api.yaml and definition disagree: {difference}")
    advanced = (data.api_throttling_policy, *(operation.throttling_policy for operation in data.operations))
    check_policies(context, data.policies, advanced)
    for deployment in project.deployments:
        check_environment(deployment.deployment_environment)
    check_scopes(context, data.scopes, existing)
    if existing is not None:
        _check_tools(context, project, existing)


def _check_endpoints(data: Api) -> None:
    """Refuse an address that no gateway can call. The Publisher says this where an API is new, here always."""
    config = data.endpoint_config
    for endpoint in (config.production_endpoints, config.sandbox_endpoints):
        if endpoint is not None and not is_endpoint_url(endpoint.url):
            description = f"Invalid/Malformed endpoint URL(s) detected: {endpoint.url[:200]}"
            raise RestError(400, description, code=INVALID_ENDPOINT, message=INVALID_ENDPOINT_MESSAGE)


def _check_tools(context: ManagementContext, project: ApiProject, existing: ApiRecord) -> None:
    """Refuse to take away what an MCP server offers as a tool; the status is inferred from API products."""
    removed = list_tool_operations(context.state, existing) - list_operations(project.definition)
    if removed:
        target, verb = min(removed)
        raise conflict(f"Cannot remove resource {verb} {target}, which is used by an MCP server")


def _store_api(context: ManagementContext, project: ApiProject, existing: ApiRecord | None, provider: str) -> ApiRecord:
    data = project.api.model_dump(mode="json", by_alias=True, exclude_unset=True) | {"provider": provider}
    now_ms = context.now_ms()
    if existing is not None:
        existing.data, existing.definition = data, project.definition
        existing.lifecycle, existing.updated_at_ms = project.api.life_cycle_status, now_ms
        return existing
    api = ApiRecord(
        api_id=str(uuid.uuid4()),
        provider=provider,
        lifecycle=project.api.life_cycle_status,
        data=data,
        definition=project.definition,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    context.state.apis[api.api_id] = api
    return api


def _build_environment(deployment: Deployment) -> Document:
    return {
        "name": deployment.deployment_environment,
        "vhost": deployment.deployment_vhost or "localhost",
        "displayOnDevportal": deployment.display_on_devportal,
    }
