"""API and MCP server whose tools take arguments and have limits; the verification creates and removes them.

The API and one of its two tools allow all callers together a few calls a minute; the other tool and the plans allow
more.
"""

from wso2_provisioning.applications import SUBSCRIBER_ROLE
from wso2_provisioning.verification import own_artifacts
from wso2_provisioning.verification.context import PREFIX
from wso2_terms.api_project import Api, ApiProject, ApiScope, Deployment, Scope
from wso2_terms.mcp_project import (
    ApiOperationMapping,
    BackendOperation,
    McpServer,
    McpServerProject,
    ToolOperation,
)
from wso2_terms.policies import AdvancedPolicy, Policy, PolicyKind, RequestCount, ThrottleLimit

API_NAME, CONTEXT, VERSION = f"{PREFIX}ToolsAPI", "/verify-tools", "1.0.0"
SERVER_NAME, SERVER_CONTEXT = f"{PREFIX}ToolsMCP", "/verify-tools-mcp"
SCOPE = "verify:tools"
LIMIT, LIMITED_CALLS = f"{PREFIX}5PerMin", 5
"""Limit of the API and of one tool, per minute."""
UNLIMITED = "Unlimited"
NOTE_TOOL, NOTE_TARGET = "getNote", "/notes/{name}"
"""Takes `name` in the path and `text` in the query."""
LIMITED_TOOL, LIMITED_TARGET = "getLimited", "/limited"


def build_limit() -> Policy:
    """Build a policy of a few calls a minute, for an API or a tool."""
    count = RequestCount(time_unit="min", unit_time=1, request_count=LIMITED_CALLS)
    limit = ThrottleLimit(type="REQUESTCOUNTLIMIT", request_count=count)
    data = AdvancedPolicy(
        policy_name=LIMIT,
        display_name=LIMIT,
        description="Created by verify-wso2, which removes it",
        default_limit=limit,
    )
    return Policy(kind=PolicyKind.ADVANCED, data=data)


def build_api(like: Api, backend_url: str) -> ApiProject:
    """Build an API with two operations and a limit on the whole API.

    Args:
        like: API whose type, transports and security it copies.
        backend_url: of its backend.
    """
    project = own_artifacts.build_project(like, backend_url)
    (operation,) = project.api.operations
    changed = {
        "name": API_NAME,
        "context": CONTEXT,
        "policies": (UNLIMITED,),
        "api_throttling_policy": LIMIT,
        "scopes": _build_scopes("verify:notes"),
        "operations": tuple(
            operation.model_copy(update={"target": target, "scopes": ("verify:notes",)})
            for target in (NOTE_TARGET, LIMITED_TARGET)
        ),
    }
    return ApiProject(project.api.model_copy(update=changed), project.deployments, _build_definition())


def build_server(like: McpServer, plans: tuple[str, ...]) -> McpServerProject:
    """Build the MCP server whose tools are these operations; only its tools have limits.

    Args:
        like: server whose transports and security it copies.
        plans: available to subscriptions.
    """
    changed = {
        "name": SERVER_NAME,
        "display_name": SERVER_NAME,
        "description": "Created by verify-wso2, which removes it",
        "context": SERVER_CONTEXT,
        "version": VERSION,
        "policies": plans,
        "scopes": _build_scopes(SCOPE),
        "operations": (_build_tool(NOTE_TARGET, UNLIMITED), _build_tool(LIMITED_TARGET, LIMIT)),
    }
    return McpServerProject(like.model_copy(update=changed), (Deployment(deployment_environment="Default"),))


def _build_scopes(name: str) -> tuple[ApiScope, ...]:
    scope = Scope(name=name, display_name="Verify tools", description="Look", bindings=(SUBSCRIBER_ROLE,))
    return (ApiScope(shared=False, scope=scope),)


def _build_tool(target: str, limit: str) -> ToolOperation:
    mapping = ApiOperationMapping(
        api_name=API_NAME, api_version=VERSION, backend_operation=BackendOperation(target=target, verb="GET")
    )
    return ToolOperation(
        auth_type="Application & Application User",
        throttling_policy=limit,
        scopes=(SCOPE,),
        api_operation_mapping=mapping,
    )


def _build_definition() -> dict[str, object]:
    answers = {"200": {"description": "Read"}}
    name, text = (
        {"name": name, "in": place, "required": True, "description": "Any text", "schema": {"type": "string"}}
        for name, place in (("name", "path"), ("text", "query"))
    )
    note = {
        "operationId": NOTE_TOOL,
        "summary": "Read a note",
        "description": "Created by verify-wso2",
        "parameters": [name, text],
        "responses": answers,
    }
    limited = {
        "operationId": LIMITED_TOOL,
        "summary": "Read a little",
        "description": "Created by verify-wso2",
        "responses": answers,
    }
    return {
        "openapi": "3.0.3",
        "info": {"title": API_NAME, "version": VERSION},
        "paths": {NOTE_TARGET: {"get": note}, LIMITED_TARGET: {"get": limited}},
    }
