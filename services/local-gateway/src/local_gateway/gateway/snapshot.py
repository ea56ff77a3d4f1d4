"""Prepares the state for the data path, so that a call costs a few look-ups.

Made anew after each change of the state. Pure.
"""

from ipaddress import ip_address

from local_gateway.gateway.limits import Limits, read_record
from local_gateway.gateway.mcp_arguments import arguments_of
from local_gateway.gateway.served import (
    AddressRange,
    Backend,
    Denied,
    Resource,
    ServedApi,
    ServedMcpServer,
    ServedTool,
    Snapshot,
    Subscriber,
)
from local_gateway.gateway.throttle import Level
from local_gateway.lifecycle import BLOCKED
from local_gateway.state import Api, DenyPolicy, GatewayState, McpServer, OAuthClient
from wso2_terms.api_project import Api as ApiData
from wso2_terms.api_project import Endpoint
from wso2_terms.mcp import MCP_RESOURCE, METADATA_RESOURCE
from wso2_terms.mcp_project import McpServer as McpServerData
from wso2_terms.mcp_project import ToolOperation
from wso2_terms.tools import to_listed_tool

DEFAULT_TIMEOUT_S = 120.0
"""Synapse's global endpoint timeout, where the endpoint sets none."""
DEFAULT_SUSPENSION_S = 30.0
"""How long WSO2 leaves a failed endpoint alone, where the endpoint does not say."""

_EMPTY_SCHEMA = "{}"


def take_snapshot(state: GatewayState) -> Snapshot:
    """Prepare the state for the data path."""
    limits = Limits(state)
    apis = tuple(_served_api(api, limits) for api in state.apis.values() if api.deployed is not None)
    servers = tuple(_served_server(one, limits) for one in state.mcp_servers.values() if one.deployed is not None)
    return Snapshot(
        apis=apis,
        mcp_servers=servers,
        contexts={api.api_id: api.context for api in apis},
        subscribers=_subscribers(state, limits),
        denied=_denied(state),
    )


def _served_api(api: Api, limits: Limits) -> ServedApi:
    assert api.deployed is not None
    data = read_record(ApiData, api.deployed.data)
    context = data.versioned_context
    for_all = limits.of_all(data.api_throttling_policy, context)
    resources = tuple(
        Resource(
            target=operation.target,
            verb=operation.verb,
            is_secured=operation.auth_type != "None",
            scopes=frozenset(operation.scopes),
            # A limit of the whole API takes the place of limits of its resources.
            levels=for_all
            or limits.of_resource(operation.throttling_policy, context, operation.target, operation.verb),
        )
        for operation in data.operations
    )
    endpoints = data.endpoint_config
    return ServedApi(
        api_id=api.api_id,
        name=data.name,
        version=data.version,
        context=context,
        provider=api.provider,
        is_blocked=api.lifecycle == BLOCKED,
        is_default_version=data.is_default_version,
        transports=frozenset(data.transport),
        authorization_header=data.authorization_header,
        resources=resources,
        production=_backend(f"{data.name}--v{data.version}_APIproductionEndpoint", endpoints.production_endpoints),
        sandbox=_backend(f"{data.name}--v{data.version}_APIsandboxEndpoint", endpoints.sandbox_endpoints)
        if endpoints.sandbox_endpoints
        else None,
    )


def _served_server(server: McpServer, limits: Limits) -> ServedMcpServer:
    assert server.deployed is not None
    data = read_record(McpServerData, server.deployed.data)
    context = data.versioned_context
    for_all = limits.of_all(data.throttling_policy, context)
    named = [operation for operation in data.operations if operation.target is not None]
    tools = [_served_tool(operation, limits, context, for_all) for operation in named]
    return ServedMcpServer(
        api_id=server.server_id,
        name=data.name,
        version=data.version,
        context=context,
        provider=server.provider,
        is_blocked=server.lifecycle == BLOCKED,
        is_default_version=data.is_default_version,
        transports=frozenset(data.transport),
        authorization_header=data.authorization_header,
        resources=tuple(
            Resource(target, verb, is_secured=False, scopes=frozenset(), levels=())
            for target, verb in ((MCP_RESOURCE, "POST"), (MCP_RESOURCE, "GET"), (METADATA_RESOURCE, "GET"))
        ),
        tools={tool.resource.target: tool for tool in tools},
        listed={"tools": [_listed(operation) for operation in named]},
        listing=Resource(MCP_RESOURCE, "POST", is_secured=True, scopes=frozenset(), levels=for_all),
        scopes=tuple(sorted({scope for tool in tools for scope in tool.resource.scopes})),
    )


def _served_tool(operation: ToolOperation, limits: Limits, context: str, for_all: tuple[Level, ...]) -> ServedTool:
    name, behind = operation.target or "", operation.api_operation_mapping
    return ServedTool(
        resource=Resource(
            target=name,
            verb=operation.feature,
            is_secured=operation.auth_type != "None",
            scopes=frozenset(operation.scopes),
            levels=for_all or limits.of_resource(operation.throttling_policy, context, name, operation.feature),
        ),
        api_id=behind.api_id or "",
        verb=behind.backend_operation.verb,
        target=behind.backend_operation.target,
        arguments=arguments_of(operation.schema_definition or _EMPTY_SCHEMA),
    )


def _listed(operation: ToolOperation) -> dict[str, object]:
    tool = to_listed_tool(operation.target or "", operation.description, operation.schema_definition or _EMPTY_SCHEMA)
    return {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}


def _backend(name: str, endpoint: Endpoint) -> Backend:
    config = endpoint.config
    duration_ms = config.action_duration if config else None
    suspension_ms = config.suspend_duration if config else None
    return Backend(
        name=name,
        url=endpoint.url.rstrip("/"),
        timeout_s=duration_ms / 1000 if duration_ms else DEFAULT_TIMEOUT_S,
        suspension_s=DEFAULT_SUSPENSION_S if suspension_ms is None else suspension_ms / 1000,
    )


def _subscribers(state: GatewayState, limits: Limits) -> dict[tuple[str, str], Subscriber]:
    clients: dict[str, list[OAuthClient]] = {}
    for client in state.clients.values():
        if client.application_id is not None:
            clients.setdefault(client.application_id, []).append(client)
    found: dict[tuple[str, str], Subscriber] = {}
    for subscription in state.subscriptions.values():
        application = state.applications[subscription.application_id]
        plan = limits.of_plan(subscription.throttling_policy, application.application_id, subscription.api_id)
        for client in clients.get(application.application_id, ()):
            found[client.client_id, subscription.api_id] = Subscriber(
                client_id=client.client_id,
                key_type=client.key_type,
                application=application.model_copy(),
                plan=subscription.throttling_policy,
                status=subscription.status,
                levels=(*plan, *limits.of_application(application)),
            )
    return found


def _denied(state: GatewayState) -> Denied:
    enabled = [policy for policy in state.deny_policies.values() if policy.is_enabled]

    def texts(kind: str) -> frozenset[str]:
        return frozenset(str(policy.condition_value) for policy in enabled if policy.condition_type == kind)

    addresses = tuple(_addresses(policy) for policy in enabled if policy.condition_type in ("IP", "IPRANGE"))
    return Denied(texts("API"), texts("APPLICATION"), texts("USER"), addresses)


def _addresses(policy: DenyPolicy) -> AddressRange:
    assert isinstance(policy.condition_value, dict)
    value = policy.condition_value
    first = value.get("fixedIp") or value["startingIp"]
    last = value.get("fixedIp") or value["endingIp"]
    return AddressRange(ip_address(first), ip_address(last), bool(value.get("invert", False)))
