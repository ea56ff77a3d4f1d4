"""The attacker's own API: what is stopped, undeployed and spent here takes nothing from the agent.

It leads to the solar service, and so shows, too, that an assertion made for one API opens no other.
"""

from dataclasses import replace

from wso2_provisioning.applications import SUBSCRIBER_ROLE
from wso2_provisioning.errors import ProvisioningError
from wso2_terms.api_project import Api, ApiProject, ApiScope, Deployment, Endpoint, EndpointConfig, Operation, Scope
from wso2_terms.mcp_project import McpServerProject

OWNER, PREFIX = "attacker", "Attack"
LIKES = {"EVApp": f"{OWNER}_evapp", "Assistant": f"{OWNER}_assistant"}
"""Owners of applications that are like published ones, by the name of those."""
OWNERS = (OWNER, *LIKES.values())
NAME, CONTEXT, VERSION = f"{PREFIX}API", "/attack", "1.0.0"
VERSIONED_CONTEXT = f"{CONTEXT}/{VERSION}"
SCOPE, PLAN = "attack:use", "Unlimited"
OPEN_PATH = f"{VERSIONED_CONTEXT}/livez"
"""A resource that the service answers without an assertion."""
GUARDED_PATH = f"{VERSIONED_CONTEXT}/solar-status"
"""A resource that the service answers only to its own API."""
SERVER_NAME, SERVER_CONTEXT = f"{PREFIX}MCP", "/attack-mcp"
SERVER_VERSIONED_CONTEXT = f"{SERVER_CONTEXT}/{VERSION}"
TOOL, TOOL_SCOPE = "getLivez", "attack:tools"
DENIED_ADDRESS = "203.0.113.77"
"""An address for documentation (RFC 5737): nobody calls from there, so that denying it harms nobody."""


def project(like: Api, backend_url: str) -> ApiProject:
    """Describe the API.

    Args:
        like: the API whose kind, limits and security it shares.
        backend_url: of the solar service, as the gateway reaches it.
    """
    scope = Scope(name=SCOPE, display_name="Attack", description="Made to attack", bindings=(SUBSCRIBER_ROLE,))
    operations = tuple(
        like.operations[0].model_copy(update={"target": target, "verb": verb, "scopes": (SCOPE,)})
        for target, verb in (("/livez", "GET"), ("/livez", "POST"), ("/solar-status", "GET"))
    )
    behaviour = like.endpoint_config.production_endpoints.config
    changed = {
        "name": NAME,
        "description": "Made to attack and removed",
        "context": CONTEXT,
        "version": VERSION,
        "policies": (PLAN,),
        "endpoint_config": EndpointConfig(
            endpoint_type="http", production_endpoints=Endpoint(url=backend_url, config=behaviour)
        ),
        "scopes": (ApiScope(shared=False, scope=scope),),
        "operations": operations,
    }
    deployments = (Deployment(deployment_environment="Default"),)
    return ApiProject(like.model_copy(update=changed), deployments, _definition(operations))


def _definition(operations: tuple[Operation, ...]) -> dict[str, object]:
    paths: dict[str, dict[str, object]] = {}
    for operation in operations:
        verb = operation.verb.lower()
        described = {
            "operationId": operation_id(operation.target, verb),
            "summary": "Answered by the service",
            "description": "Made to attack",
            "responses": {"200": {"description": "Answered"}},
        }
        paths.setdefault(operation.target, {})[verb] = described
    return {"openapi": "3.0.3", "info": {"title": NAME, "version": VERSION}, "paths": paths}


def operation_id(target: str, verb: str) -> str:
    """Name of an operation, and of the tool that is made of it.

    >>> operation_id("/livez", "GET")
    'getLivez'
    """
    return verb.lower() + target.strip("/").replace("-", " ").title().replace(" ", "")


def server(like: McpServerProject) -> McpServerProject:
    """Describe the MCP server of one tool that is made of this API."""
    tool = like.server.operations[0]
    behind = tool.api_operation_mapping.model_copy(
        update={
            "api_name": NAME,
            "api_version": VERSION,
            "backend_operation": tool.api_operation_mapping.backend_operation.model_copy(
                update={"target": "/livez", "verb": "GET"}
            ),
        }
    )
    scope = Scope(name=TOOL_SCOPE, display_name="Attack", description="Made to attack", bindings=(SUBSCRIBER_ROLE,))
    changed = {
        "name": SERVER_NAME,
        "display_name": SERVER_NAME,
        "description": "Made to attack and removed",
        "context": SERVER_CONTEXT,
        "version": VERSION,
        "policies": (PLAN,),
        "scopes": (ApiScope(shared=False, scope=scope),),
        "operations": (tool.model_copy(update={"scopes": (TOOL_SCOPE,), "api_operation_mapping": behind}),),
    }
    return replace(like, server=like.server.model_copy(update=changed))


def backend_of(body: dict[str, object]) -> str:
    """Return where an API of WSO2 leads.

    Raises:
        ProvisioningError: it does not say.
    """
    match body:
        case {"endpointConfig": {"production_endpoints": {"url": str(url)}}}:
            return url
        case _:
            raise ProvisioningError("SolarAPI does not say where its service is")


def is_own_denial(value: object) -> bool:
    """Tell whether a deny policy's value names something of ours."""
    if value == {"fixedIp": DENIED_ADDRESS, "invert": False}:
        return True
    text = value if isinstance(value, str) else ""
    return text in (VERSIONED_CONTEXT, SERVER_VERSIONED_CONTEXT) or text.split("@")[0].split(":")[0] in OWNERS
