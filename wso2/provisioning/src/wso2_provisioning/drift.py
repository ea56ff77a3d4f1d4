"""What differs between an artifact and what WSO2 has.

Pure. Only things are compared that WSO2 gives back as it got them; all else is covered by a fingerprint that
travels with each API as one of its properties.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, cast

from wso2_terms.api_archive import write_api_archive
from wso2_terms.api_project import AdditionalProperty, Api, ApiProject
from wso2_terms.policies import ApplicationPolicy, Policy, SubscriptionPolicy

FINGERPRINT = "artifact_sha256"
GOVERNING = frozenset({"lifeCycleStatus", "scopes", "operations", "securityScheme", "policies", "apiThrottlingPolicy"})
"""Fields that decide who may call what, and how often: WSO2 must have them as the artifact says."""


def with_fingerprint(project: ApiProject) -> ApiProject:
    """Return the project with a property that says from which artifact it was imported."""
    digest = hashlib.sha256(write_api_archive(project)).hexdigest()
    properties = (*project.api.additional_properties, AdditionalProperty(name=FINGERPRINT, value=digest))
    api = project.api.model_copy(update={"additional_properties": properties})
    return ApiProject(api, project.deployments, project.definition, project.format_version)


def api_differences(project: ApiProject, live: Mapping[str, object]) -> list[str]:
    """Name what differs between a project, fingerprint included, and an API as the Publisher gives it.

    What governs calls is compared field by field, so that a change made by hand is seen, too.
    """
    wanted = project.api
    different = [name for name, (read, value) in _governed(wanted).items() if read(live.get(name)) != value]
    fingerprints = {p.name: p.value for p in wanted.additional_properties}
    if not different and _properties(live).get(FINGERPRINT) != fingerprints.get(FINGERPRINT):
        different.append("artifact")
    return different


def policy_differences(policy: Policy, live: Mapping[str, object]) -> list[str]:
    """Name what differs between a policy and what the Admin API gives."""
    wanted = policy.data
    limit = wanted.default_limit.request_count.model_dump(by_alias=True)
    pairs: dict[str, tuple[object, object]] = {
        "description": (wanted.description or "", live.get("description") or ""),
        "defaultLimit": (limit, _part(_mapping(live.get("defaultLimit")).get("requestCount"), limit)),
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
        pairs["burstLimit"] = (burst, _part(live.get("burstLimit"), burst))
    return [name for name, (one, other) in pairs.items() if one != other]


def _governed(api: Api) -> dict[str, tuple[Callable[[object], object], object]]:
    """How to read each governed field of a live API, and what must be found there."""
    endpoint = api.endpoint_config.production_endpoints.url
    return {
        "context": (str, api.context),
        "transport": (_set, set(api.transport)),
        "policies": (_set, set(api.policies)),
        "apiThrottlingPolicy": (lambda value: value or None, api.api_throttling_policy),
        "authorizationHeader": (lambda value: value or "Authorization", api.authorization_header),
        "securityScheme": (_set, set(api.security_scheme)),
        "visibility": (lambda value: value or "PUBLIC", api.visibility),
        "enableSchemaValidation": (bool, api.enable_schema_validation),
        "lifeCycleStatus": (lambda value: str(value).upper(), api.life_cycle_status),
        "endpointConfig": (_endpoint_url, endpoint),
        "scopes": (_scopes, {listed.scope.name: set(listed.scope.bindings) for listed in api.scopes}),
        "operations": (
            _operations,
            {(found.target, found.verb): (_auth(found.auth_type), set(found.scopes)) for found in api.operations},
        ),
    }


def _endpoint_url(value: object) -> object:
    return _mapping(_mapping(value).get("production_endpoints")).get("url")


def _scopes(value: object) -> dict[str, set[str]]:
    scopes = [_mapping(_mapping(listed).get("scope")) for listed in _list(value)]
    return {str(scope.get("name")): _set(scope.get("bindings")) for scope in scopes}


def _operations(value: object) -> dict[tuple[str, str], tuple[str, set[str]]]:
    operations = [_mapping(found) for found in _list(value)]
    return {
        (str(found.get("target")), str(found.get("verb"))): (
            _auth(str(found.get("authType") or "Any")),
            _set(found.get("scopes")),
        )
        for found in operations
    }


def _auth(auth_type: str) -> str:
    # Two names for the same; WSO2 writes the long one whichever it was given.
    return "Application & Application User" if auth_type == "Any" else auth_type


def _properties(live: Mapping[str, object]) -> dict[str, str]:
    properties = [_mapping(found) for found in _list(live.get("additionalProperties"))]
    return {str(found.get("name")): str(found.get("value")) for found in properties}


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _set(value: object) -> set[str]:
    return {str(entry) for entry in _list(value)}


def _part(value: object, like: Mapping[str, object]) -> dict[str, object]:
    """Return of a live object the entries that are compared: WSO2 adds others."""
    return {key: entry for key, entry in _mapping(value).items() if key in like}
