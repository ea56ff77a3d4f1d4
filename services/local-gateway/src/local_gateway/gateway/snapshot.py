"""Builds the routing model from the state after each change, so that a call needs only a few look-ups."""

from ipaddress import ip_address

from local_gateway.gateway.mcp_arguments import parse_arguments
from local_gateway.gateway.routing_model import (
    AddressRange,
    Backend,
    DenyPolicySet,
    GatewayApi,
    GatewayMcpServer,
    GatewayTool,
    Resource,
    Snapshot,
    Subscriber,
)
from local_gateway.gateway.throttling import PolicyLevels, ThrottleLevel, parse_document
from local_gateway.state import BLOCKED, ApiRecord, DenyPolicy, GatewayState, McpServerRecord, OAuthClient
from wso2_terms.api_project import Api, Endpoint
from wso2_terms.mcp import MCP_RESOURCE, METADATA_RESOURCE
from wso2_terms.mcp_project import McpServer, ToolOperation
from wso2_terms.tools import to_listed_tool

DEFAULT_TIMEOUT_S = 120.0
"""Synapse's global endpoint timeout [s], used if the endpoint sets none."""
DEFAULT_SUSPENSION_S = 30.0
"""How long WSO2 suspends a failed endpoint [s], used if the endpoint sets nothing."""

_EMPTY_SCHEMA = "{}"


def take_snapshot(state: GatewayState) -> Snapshot:
    """Build the routing model of the current state."""
    levels = PolicyLevels(state)
    apis = tuple(_build_api(api, levels) for api in state.apis.values() if api.deployed_revision is not None)
    servers = tuple(
        _build_server(one, levels) for one in state.mcp_servers.values() if one.deployed_revision is not None
    )
    return Snapshot(
        apis=apis,
        mcp_servers=servers,
        contexts={api.api_id: api.context for api in apis},
        subscribers=_build_subscribers(state, levels),
        deny_policies=_build_deny_policies(state),
    )


def _build_api(api: ApiRecord, levels: PolicyLevels) -> GatewayApi:
    assert api.deployed_revision is not None
    data = parse_document(Api, api.deployed_revision.data)
    context = data.versioned_context
    product_levels = levels.find_product_levels(data.api_throttling_policy, context)
    resources = tuple(
        Resource(
            target=operation.target,
            verb=operation.verb,
            is_secured=operation.auth_type != "None",
            scopes=frozenset(operation.scopes),
            # A limit of the whole API replaces the limits of its resources.
            levels=product_levels
            or levels.find_resource_levels(operation.throttling_policy, context, operation.target, operation.verb),
        )
        for operation in data.operations
    )
    endpoints = data.endpoint_config
    return GatewayApi(
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
        production=_build_backend(
            f"{data.name}--v{data.version}_APIproductionEndpoint", endpoints.production_endpoints
        ),
        sandbox=_build_backend(f"{data.name}--v{data.version}_APIsandboxEndpoint", endpoints.sandbox_endpoints)
        if endpoints.sandbox_endpoints
        else None,
    )


def _build_server(server: McpServerRecord, levels: PolicyLevels) -> GatewayMcpServer:
    assert server.deployed_revision is not None
    data = parse_document(McpServer, server.deployed_revision.data)
    context = data.versioned_context
    product_levels = levels.find_product_levels(data.throttling_policy, context)
    operations = [operation for operation in data.operations if operation.target is not None]
    listed = [
        to_listed_tool(operation.target or "", operation.description, operation.schema_definition or _EMPTY_SCHEMA)
        for operation in operations
    ]
    tools = [_build_tool(operation, levels, context, product_levels) for operation in operations]
    return GatewayMcpServer(
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
        tool_list={
            "tools": [
                {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}
                for tool in listed
            ]
        },
        list_resource=Resource(MCP_RESOURCE, "POST", is_secured=True, scopes=frozenset(), levels=product_levels),
        scopes=tuple(sorted({scope for tool in tools for scope in tool.resource.scopes})),
    )


def _build_tool(
    operation: ToolOperation, levels: PolicyLevels, context: str, product_levels: tuple[ThrottleLevel, ...]
) -> GatewayTool:
    name, behind = operation.target or "", operation.api_operation_mapping
    return GatewayTool(
        resource=Resource(
            target=name,
            verb=operation.feature,
            is_secured=operation.auth_type != "None",
            scopes=frozenset(operation.scopes),
            levels=product_levels
            or levels.find_resource_levels(operation.throttling_policy, context, name, operation.feature),
        ),
        api_id=behind.api_id or "",
        verb=behind.backend_operation.verb,
        target=behind.backend_operation.target,
        arguments=parse_arguments(operation.schema_definition or _EMPTY_SCHEMA),
    )


def _build_backend(name: str, endpoint: Endpoint) -> Backend:
    config = endpoint.config
    duration_ms = config.action_duration if config else None
    suspension_ms = config.suspend_duration if config else None
    return Backend(
        name=name,
        url=endpoint.url.rstrip("/"),
        timeout_s=duration_ms / 1000 if duration_ms else DEFAULT_TIMEOUT_S,
        suspension_s=DEFAULT_SUSPENSION_S if suspension_ms is None else suspension_ms / 1000,
    )


def _build_subscribers(state: GatewayState, levels: PolicyLevels) -> dict[tuple[str, str], Subscriber]:
    clients: dict[str, list[OAuthClient]] = {}
    for client in state.clients.values():
        if client.application_id is not None:
            clients.setdefault(client.application_id, []).append(client)
    subscribers: dict[tuple[str, str], Subscriber] = {}
    for subscription in state.subscriptions.values():
        application = state.applications[subscription.application_id]
        plan = levels.find_plan_levels(subscription.throttling_policy, application.application_id, subscription.api_id)
        for client in clients.get(application.application_id, ()):
            subscribers[client.client_id, subscription.api_id] = Subscriber(
                client_id=client.client_id,
                key_type=client.key_type,
                application=application.model_copy(),
                plan=subscription.throttling_policy,
                status=subscription.status,
                levels=(*plan, *levels.find_application_levels(application)),
            )
    return subscribers


def _build_deny_policies(state: GatewayState) -> DenyPolicySet:
    enabled = [policy for policy in state.deny_policies.values() if policy.is_enabled]

    def texts(kind: str) -> frozenset[str]:
        return frozenset(str(policy.condition_value) for policy in enabled if policy.condition_type == kind)

    addresses = tuple(_build_address_range(policy) for policy in enabled if policy.condition_type in ("IP", "IPRANGE"))
    return DenyPolicySet(texts("API"), texts("APPLICATION"), texts("USER"), addresses)


def _build_address_range(policy: DenyPolicy) -> AddressRange:
    assert isinstance(policy.condition_value, dict)
    value = policy.condition_value
    first = value.get("fixedIp") or value["startingIp"]
    last = value.get("fixedIp") or value["endingIp"]
    return AddressRange(ip_address(first), ip_address(last), bool(value.get("invert", False)))
