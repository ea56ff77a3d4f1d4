"""What the throttling policies count, for those whom they are put upon.

Pure.
"""

import json
from typing import TypeVar

from pydantic import BaseModel

from local_gateway.gateway.throttle import ThrottleLevel
from local_gateway.shipped_policies import NO_LIMIT
from local_gateway.state import Application, Document, GatewayState
from wso2_terms.codes import (
    API_THROTTLED,
    APPLICATION_THROTTLED,
    BURST_THROTTLED,
    RESOURCE_THROTTLED,
    SUBSCRIPTION_THROTTLED,
    Fault,
)
from wso2_terms.policies import ApplicationPolicy, PolicyKind, RequestCount, SubscriptionPolicy

M = TypeVar("M", bound=BaseModel)


class PolicyLevels:
    """Looks up policies by name and says what they count."""

    def __init__(self, state: GatewayState) -> None:
        self._data = {(policy.kind, policy.name): policy.data for policy in state.policies.values()}

    def find_product_levels(self, policy: str | None, context: str) -> tuple[ThrottleLevel, ...]:
        """What limits all callers of an API or MCP server together."""
        return self._find_advanced_levels(policy, API_THROTTLED, context) if policy else ()

    def find_resource_levels(self, policy: str, context: str, target: str, verb: str) -> tuple[ThrottleLevel, ...]:
        """What limits all callers of a resource or tool together."""
        return self._find_advanced_levels(policy, RESOURCE_THROTTLED, context, target, verb)

    def find_plan_levels(self, name: str, *key: str) -> tuple[ThrottleLevel, ...]:
        """What a business plan grants one application at one API or MCP server."""
        data = self._data.get((PolicyKind.SUBSCRIPTION.value, name))
        if data is None:
            return ()
        policy = parse_document(SubscriptionPolicy, data)
        # Without stopOnQuotaReach WSO2 counts and lets pass.
        quota = policy.default_limit.request_count if policy.stop_on_quota_reach else None
        burst = _build_levels(BURST_THROTTLED, policy.burst, name, *key, is_aligned=False)
        return (*_build_levels(SUBSCRIPTION_THROTTLED, quota, name, *key), *burst)

    def find_application_levels(self, application: Application) -> tuple[ThrottleLevel, ...]:
        """What limits an application at everything together."""
        data = self._data.get((PolicyKind.APPLICATION.value, application.throttling_policy))
        count = parse_document(ApplicationPolicy, data).default_limit.request_count if data else None
        return _build_levels(APPLICATION_THROTTLED, count, application.throttling_policy, application.application_id)

    def _find_advanced_levels(self, name: str, fault: Fault, *key: str) -> tuple[ThrottleLevel, ...]:
        data = self._data.get((PolicyKind.ADVANCED.value, name))
        count = parse_document(RequestCount, data["defaultLimit"]["requestCount"]) if data else None
        return _build_levels(fault, count, name, *key)


def parse_document(model: type[M], data: Document) -> M:
    """Read what the state holds in WSO2's own form."""
    # By way of JSON, which is what the state holds: a strict model takes a list for a tuple from JSON alone.
    return model.model_validate_json(json.dumps(data))


def _build_levels(
    fault: Fault, count: RequestCount | None, *key: str, is_aligned: bool = True
) -> tuple[ThrottleLevel, ...]:
    if count is None or count.request_count >= NO_LIMIT:
        return ()
    # The limit is part of the key: a changed policy starts counting anew.
    whole_key = (fault.code, *key, str(count.request_count), str(count.window_s))
    return (ThrottleLevel(whole_key, count.request_count, count.window_s, fault, is_aligned),)
