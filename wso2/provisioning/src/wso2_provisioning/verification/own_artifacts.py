"""API and plan that the verification imports and removes."""

from wso2_provisioning.applications import SUBSCRIBER_ROLE
from wso2_provisioning.verification.context import PREFIX
from wso2_terms.api_project import (
    Api,
    ApiProject,
    ApiScope,
    Deployment,
    Endpoint,
    EndpointBehaviour,
    EndpointConfig,
    Scope,
)
from wso2_terms.policies import Policy, PolicyKind, RequestCount, SubscriptionPolicy, ThrottleLimit

API_NAME, CONTEXT, VERSION = f"{PREFIX}API", "/verify", "1.0.0"
VERSIONED_CONTEXT = f"{CONTEXT}/{VERSION}"
TARGET, SCOPE = "/reading", "verify:read"
PLAN = f"{PREFIX}30PerMin"
NOBODY = "http://127.0.0.1:9"
"""The discard port: no process listens there, neither on a laptop nor in WSO2's container."""


def build_plan() -> Policy:
    """Build a plan of 30 calls a minute."""
    limit = ThrottleLimit(
        type="REQUESTCOUNTLIMIT", request_count=RequestCount(time_unit="min", unit_time=1, request_count=30)
    )
    data = SubscriptionPolicy(
        policy_name=PLAN,
        display_name=PLAN,
        description="Created by verify-wso2, which removes it",
        default_limit=limit,
        billing_plan="FREE",
        stop_on_quota_reach=True,
    )
    return Policy(kind=PolicyKind.SUBSCRIPTION, data=data)


def build_project(like: Api, backend_url: str) -> ApiProject:
    """Build an API with one resource, and a scope that every owner of applications is granted.

    Args:
        like: API whose type, transports and security it copies.
        backend_url: of its backend.
    """
    behaviour = EndpointBehaviour(action_select="fault", action_duration=3000, suspend_duration=0)
    scope = Scope(name=SCOPE, display_name="Verify read", description="Look", bindings=(SUBSCRIBER_ROLE,))
    changed = {
        "name": API_NAME,
        "description": "Created by verify-wso2, which removes it",
        "context": CONTEXT,
        "version": VERSION,
        "policies": (PLAN,),
        "api_throttling_policy": "Unlimited",
        "endpoint_config": EndpointConfig(
            endpoint_type="http", production_endpoints=Endpoint(url=backend_url, config=behaviour)
        ),
        "scopes": (ApiScope(shared=False, scope=scope),),
        "operations": (like.operations[0].model_copy(update={"target": TARGET, "verb": "GET", "scopes": (SCOPE,)}),),
    }
    return ApiProject(
        like.model_copy(update=changed), (Deployment(deployment_environment="Default"),), _build_definition()
    )


def _build_definition() -> dict[str, object]:
    operation = {"operationId": "getReading", "summary": "Read", "responses": {"200": {"description": "Read"}}}
    return {
        "openapi": "3.0.3",
        "info": {"title": API_NAME, "version": VERSION},
        "paths": {TARGET: {"get": operation}},
    }
