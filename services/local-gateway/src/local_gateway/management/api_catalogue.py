"""Imports and deletes APIs, and validates the projects.

Source: WSO2 API Manager 4.6 (ImportUtils, ExceptionCodes).
"""

import uuid
from collections.abc import Iterator
from typing import Any, cast

from openapi_spec_validator import OpenAPIV30SpecValidator

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
from local_gateway.management.rest import ManagementContext, RestError
from local_gateway.state import ApiRecord, Revision
from wso2_terms.api_project import Api, ApiProject, is_endpoint_url, list_operations
from wso2_terms.codes import INVALID_ENDPOINT, INVALID_ENDPOINT_MESSAGE


def import_project(
    context: ManagementContext, project: ApiProject, provider: str, *, overwrite: bool, rotate_revision: bool
) -> tuple[ApiRecord, Revision | None]:
    """Create or update an API, set its life cycle state and deploy it to the environments of the project.

    Args:
        context: State and clock.
        project: The uploaded project.
        provider: Owner of the API.
        overwrite: Update an existing API, which keeps its id.
        rotate_revision: At the revision limit, delete the oldest revision instead of failing.

    Returns:
        The API, and its new revision if the project names an environment.

    Raises:
        RestError: The project is invalid; nothing was changed.
    """
    existing = _find_existing_api(context, project.api)
    if existing is not None and not overwrite:
        raise RestError.conflict("The API already exists.", 900300)
    _check_project(context, project, existing)
    if existing is not None and project.deployments and not rotate_revision:
        check_revision_limit(existing)
    api = _store_api(context, project, existing, provider)
    revision = None
    if project.deployments:
        revision = create_revision(
            context, api, "Revision created after importing the API", rotate_revision=rotate_revision
        )
        deploy(
            api,
            revision,
            [
                {
                    "name": deployment.deployment_environment,
                    "vhost": deployment.deployment_vhost or "localhost",
                    "displayOnDevportal": deployment.display_on_devportal,
                }
                for deployment in project.deployments
            ],
        )
    context.store.save()
    return api, revision


def delete_api(context: ManagementContext, api: ApiRecord) -> None:
    """Delete an API with its revisions.

    Raises:
        RestError: 409, the API has subscriptions or an MCP server uses it.
    """
    check_no_subscriptions(context, api, "API")
    if servers := list_servers_of_api(context.state, api):
        # WSO2 rejects this for API products (ApisApiServiceImpl); that it does for MCP servers is inferred.
        raise RestError.conflict(f"Cannot remove the API as its resources are used by MCP server {servers[0].name}")
    del context.state.apis[api.api_id]
    context.store.save()


def _find_existing_api(context: ManagementContext, api: Api) -> ApiRecord | None:
    found = find_existing(context, api.name, api.version, api.versioned_context)
    if found is not None and not isinstance(found, ApiRecord):
        raise RestError.conflict("The API already exists.", 900300)
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
    """Reject a URL that no gateway can call; the Publisher checks new APIs only, this gateway all imports."""
    config = data.endpoint_config
    for endpoint in (config.production_endpoints, config.sandbox_endpoints):
        if endpoint is not None and not is_endpoint_url(endpoint.url):
            description = f"Invalid/Malformed endpoint URL(s) detected: {endpoint.url[:200]}"
            raise RestError(400, description, code=INVALID_ENDPOINT, message=INVALID_ENDPOINT_MESSAGE)


def _check_tools(context: ManagementContext, project: ApiProject, existing: ApiRecord) -> None:
    """Reject the removal of operations that an MCP server uses; the status is inferred from API products."""
    removed = list_tool_operations(context.state, existing) - list_operations(project.definition)
    if removed:
        target, verb = min(removed)
        raise RestError.conflict(f"Cannot remove resource {verb} {target}, which is used by an MCP server")


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


_VERBS = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})
# Name of the security scheme in which WSO2 looks for scopes.
_SCHEME = "default"


def find_definition_error(definition: dict[str, Any]) -> str | None:
    """Return what is wrong with an OpenAPI definition, None if it is valid.

    Only 3.0 is accepted: WSO2 fails on 3.1, and an API accepted here has to be accepted there.
    """
    version = str(definition.get("openapi", ""))
    if not version.startswith("3.0."):
        return f"openapi is {version or 'absent'}; WSO2 takes 3.0.x"
    if any(not reference.startswith("#/") for reference in _iterate_references(definition)):
        # The validator would fetch it, so that an uploader could make this process send requests to any address.
        return "a $ref leads out of the document"
    fault = next(OpenAPIV30SpecValidator(cast("Any", definition)).iter_errors(), None)
    return None if fault is None else f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}"


def find_mismatch(api: Api, definition: dict[str, Any]) -> str | None:
    """Return how api.yaml and the definition differ in operations or scopes, None if they agree.

    WSO2's import takes operations and their scopes from the definition and silently ignores those of api.yaml, so that
    a project in which they differ would be governed differently there.
    """
    defined = _list_scopes(definition)
    listed = {(found.target, found.verb): frozenset(found.scopes) for found in api.operations}
    for target, verb in sorted(defined.keys() ^ listed.keys()):
        place = "api.yaml" if (target, verb) in listed else "the definition"
        return f"{verb} {target} stands in {place} alone"
    for target, verb in sorted(listed):
        if defined[target, verb] != listed[target, verb]:
            return f"{verb} {target} has other scopes in the definition than in api.yaml"
    return None


def _list_scopes(definition: dict[str, Any]) -> dict[tuple[str, str], frozenset[str]]:
    return {
        (target, verb.upper()): frozenset(
            scope for requirement in operation.get("security", []) for scope in requirement.get(_SCHEME, [])
        )
        for target, path in definition.get("paths", {}).items()
        for verb, operation in path.items()
        if verb in _VERBS
    }


def _iterate_references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, entry in cast("dict[object, object]", value).items():
            if key == "$ref":
                yield str(entry)
            else:
                yield from _iterate_references(entry)
    elif isinstance(value, list):
        for entry in cast("list[object]", value):
            yield from _iterate_references(entry)
