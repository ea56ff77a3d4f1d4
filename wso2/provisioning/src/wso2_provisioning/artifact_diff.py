"""Differences between an artifact and its live counterpart in WSO2.

Only fields that WSO2 returns unchanged are compared; the rest is covered by a fingerprint, which is a property of each
API.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, cast

from wso2_terms.api_archive import write_api_archive
from wso2_terms.api_project import AdditionalProperty, Api, ApiProject
from wso2_terms.mcp_project import McpServer
from wso2_terms.policies import ApplicationPolicy, Policy, SubscriptionPolicy
from wso2_terms.tools import to_stored_tool

FINGERPRINT = "artifact_sha256"
GOVERNING = frozenset({"lifeCycleStatus", "scopes", "operations", "securityScheme", "policies", "apiThrottlingPolicy"})
"""Fields that decide who may call what, and how often: they must equal the artifact's."""


def add_fingerprint(project: ApiProject) -> ApiProject:
    """Return the project with a property that identifies the artifact."""
    digest = hashlib.sha256(write_api_archive(project)).hexdigest()
    properties = (*project.api.additional_properties, AdditionalProperty(name=FINGERPRINT, value=digest))
    api = project.api.model_copy(update={"additional_properties": properties})
    return ApiProject(api, project.deployments, project.definition, project.format_version)


def diff_api(project: ApiProject, live: Mapping[str, object]) -> list[str]:
    """Name the differences between a project, fingerprint included, and an API as the Publisher returns it.

    Governing fields are compared one by one, so that a manual change is detected as well.
    """
    wanted = project.api
    different = [
        name for name, (read, value) in _list_governing_fields(wanted).items() if read(live.get(name)) != value
    ]
    fingerprints = {p.name: p.value for p in wanted.additional_properties}
    properties = [_as_mapping(found) for found in _as_list(live.get("additionalProperties"))]
    stored = {str(found.get("name")): str(found.get("value")) for found in properties}
    if not different and stored.get(FINGERPRINT) != fingerprints.get(FINGERPRINT):
        different.append("artifact")
    return different


def diff_mcp_server(
    wanted: McpServer, definition: Mapping[str, Any], api_id: str, live: Mapping[str, object]
) -> list[str]:
    """Name the differences in governing fields between an MCP server and the one that the Publisher returns.

    Args:
        wanted: the described server.
        definition: of its backend API, which defines the tools' names.
        api_id: of that API.
        live: as the Publisher returns it.
    """
    pairs = {
        name: (read(live.get(name)), value) for name, (read, value) in _list_governing_server_fields(wanted).items()
    }
    different = [name for name, (found, value) in pairs.items() if found != value]
    tools = {
        format_tool_key(operation.model_dump(by_alias=True)): (
            stored.target if (stored := to_stored_tool(operation, definition)) else None,
            _normalize_auth_type(operation.auth_type),
            operation.throttling_policy,
            set(operation.scopes),
            api_id,
        )
        for operation in wanted.operations
    }
    return different + _diff_tools(tools, _parse_live_tools(live.get("operations")))


def find_identity_conflict(wanted: McpServer, live: Mapping[str, object]) -> str:
    """Return which unchangeable field shows that a server of this name is another one; empty if it is the same."""
    subtype = str(_as_mapping(live.get("subtypeConfiguration")).get("subtype") or wanted.subtype_configuration.subtype)
    if subtype != wanted.subtype_configuration.subtype:
        return f"of subtype {subtype}"
    # WSO2 may append the version.
    context = str(live.get("context")).removesuffix(f"/{wanted.version}")
    return "" if context == wanted.context else f"served under {context}"


def format_tool_key(tool: Mapping[str, object]) -> str:
    """Return the operation that a tool calls, e.g. `GET /solar-status`, from the Publisher's representation."""
    behind = _as_mapping(_as_mapping(tool.get("apiOperationMapping")).get("backendOperation"))
    return f"{behind.get('verb')} {behind.get('target')}"


def diff_policy(policy: Policy, live: Mapping[str, object]) -> list[str]:
    """Name the differences between a policy and the one that the Admin API returns."""
    wanted = policy.data
    limit = wanted.default_limit.request_count.model_dump(by_alias=True)
    pairs: dict[str, tuple[object, object]] = {
        "description": (wanted.description or "", live.get("description") or ""),
        "defaultLimit": (limit, _select_keys(_as_mapping(live.get("defaultLimit")).get("requestCount"), limit)),
    }
    if isinstance(wanted, SubscriptionPolicy):
        pairs |= {
            "stopOnQuotaReach": (wanted.stop_on_quota_reach, bool(live.get("stopOnQuotaReach"))),
            "billingPlan": (wanted.billing_plan, live.get("billingPlan") or "FREE"),
            "rateLimitCount": (wanted.rate_limit_count, live.get("rateLimitCount") or 0),
            "rateLimitTimeUnit": (wanted.rate_limit_time_unit, live.get("rateLimitTimeUnit") or ""),
        }
    if isinstance(wanted, ApplicationPolicy) and wanted.burst_limit is not None:
        burst = wanted.burst_limit.model_dump(by_alias=True)
        pairs["burstLimit"] = (burst, _select_keys(live.get("burstLimit"), burst))
    return [name for name, (one, other) in pairs.items() if one != other]


def _list_governing_fields(api: Api) -> dict[str, tuple[Callable[[object], object], object]]:
    """Return for each governing field of a live API how to read it, and the required value."""
    endpoint = api.endpoint_config.production_endpoints.url
    return {
        "context": (str, api.context),
        "transport": (_as_set, set(api.transport)),
        "policies": (_as_set, set(api.policies)),
        "apiThrottlingPolicy": (lambda value: value or None, api.api_throttling_policy),
        "authorizationHeader": (lambda value: value or "Authorization", api.authorization_header),
        "securityScheme": (_as_set, set(api.security_scheme)),
        "visibility": (lambda value: value or "PUBLIC", api.visibility),
        "enableSchemaValidation": (bool, api.enable_schema_validation),
        "lifeCycleStatus": (lambda value: str(value).upper(), api.life_cycle_status),
        "endpointConfig": (_parse_endpoint_url, endpoint),
        "scopes": (_parse_scopes, {listed.scope.name: set(listed.scope.bindings) for listed in api.scopes}),
        "operations": (
            _parse_operations,
            {
                (found.target, found.verb): (
                    _normalize_auth_type(found.auth_type),
                    found.throttling_policy,
                    set(found.scopes),
                )
                for found in api.operations
            },
        ),
    }


def _list_governing_server_fields(server: McpServer) -> dict[str, tuple[Callable[[object], object], object]]:
    """Return the same for an MCP server, without its tools."""
    return {
        "transport": (_as_set, set(server.transport)),
        "policies": (_as_set, set(server.policies)),
        # `Unlimited` differs from no policy: it would disable the tools' own limits.
        "throttlingPolicy": (lambda value: value or None, server.throttling_policy),
        "authorizationHeader": (lambda value: value or "Authorization", server.authorization_header),
        "securityScheme": (_as_set, set(server.security_scheme)),
        "visibility": (lambda value: value or "PUBLIC", server.visibility),
        "lifeCycleStatus": (lambda value: str(value).upper(), server.life_cycle_status),
        "scopes": (_parse_scopes, {listed.scope.name: set(listed.scope.bindings) for listed in server.scopes}),
    }


def _parse_live_tools(value: object) -> dict[str, tuple[object, ...]]:
    tools: dict[str, tuple[object, ...]] = {}
    for found in map(_as_mapping, _as_list(value)):
        mapping = _as_mapping(found.get("apiOperationMapping"))
        auth = _normalize_auth_type(str(found.get("authType") or "Any"))
        limit = found.get("throttlingPolicy") or "Unlimited"
        tools[format_tool_key(found)] = (
            found.get("target"),
            auth,
            limit,
            _as_set(found.get("scopes")),
            mapping.get("apiId"),
        )
    return tools


def _diff_tools(wanted: Mapping[str, tuple[object, ...]], live: Mapping[str, tuple[object, ...]]) -> list[str]:
    parts = ("name", "authType", "throttlingPolicy", "scopes", "API")
    different = [f"tool {key} missing" for key in wanted.keys() - live.keys()]
    different += [f"tool {key} added" for key in live.keys() - wanted.keys()]
    for key in wanted.keys() & live.keys():
        changed = [part for part, one, other in zip(parts, wanted[key], live[key], strict=True) if one != other]
        different += [f"tool {key}: {', '.join(changed)}"] if changed else []
    return sorted(different)


def _parse_endpoint_url(value: object) -> object:
    return _as_mapping(_as_mapping(value).get("production_endpoints")).get("url")


def _parse_scopes(value: object) -> dict[str, set[str]]:
    scopes = [_as_mapping(_as_mapping(listed).get("scope")) for listed in _as_list(value)]
    return {str(scope.get("name")): _as_set(scope.get("bindings")) for scope in scopes}


def _parse_operations(value: object) -> dict[tuple[str, str], tuple[str, str, set[str]]]:
    operations = [_as_mapping(found) for found in _as_list(value)]
    return {
        (str(found.get("target")), str(found.get("verb"))): (
            _normalize_auth_type(str(found.get("authType") or "Any")),
            str(found.get("throttlingPolicy") or "Unlimited"),
            _as_set(found.get("scopes")),
        )
        for found in operations
    }


def _normalize_auth_type(auth_type: str) -> str:
    # Two names of one value; WSO2 always returns the long one.
    return "Application & Application User" if auth_type == "Any" else auth_type


def _as_mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _as_list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _as_set(value: object) -> set[str]:
    return {str(entry) for entry in _as_list(value)}


def _select_keys(value: object, like: Mapping[str, object]) -> dict[str, object]:
    """Return the compared entries of a live object: WSO2 adds others."""
    return {key: entry for key, entry in _as_mapping(value).items() if key in like}
