"""Throttling policies that WSO2 creates at the first start.

Source: WSO2 API Manager 4.6 (APIConstants, APIUtil: default policies).
"""

import uuid
from collections.abc import Iterator, Mapping

from local_gateway.state import Document, PolicyRecord
from wso2_terms.policies import PolicyKind

UNLIMITED = "Unlimited"

_SHIPPED: Mapping[PolicyKind, Mapping[str, int]] = {
    PolicyKind.SUBSCRIPTION: {"Gold": 5000, "Silver": 2000, "Bronze": 1000, "Unauthenticated": 500},
    PolicyKind.ADVANCED: {"10KPerMin": 10_000, "20KPerMin": 20_000, "50KPerMin": 50_000},
    PolicyKind.APPLICATION: {"10PerMin": 10, "20PerMin": 20, "50PerMin": 50},
}
# The policy models cannot express "no limit"; this count, which no caller reaches, stands for it.
NO_LIMIT = 2**31 - 1

TYPES = {
    PolicyKind.SUBSCRIPTION: "SubscriptionThrottlePolicy",
    PolicyKind.ADVANCED: "AdvancedThrottlePolicy",
    PolicyKind.APPLICATION: "ApplicationThrottlePolicy",
}
"""Value of `type` in the Admin REST API by kind of policy."""


def create_default_policies() -> Iterator[PolicyRecord]:
    """Create the policies that exist from the first start."""
    for kind, counts in _SHIPPED.items():
        for name, count in {UNLIMITED: NO_LIMIT, **counts}.items():
            yield PolicyRecord(
                policy_id=str(uuid.uuid4()), kind=kind.value, data=_build_policy(kind, name, count), is_shipped=True
            )


def _build_policy(kind: PolicyKind, name: str, count: int) -> Document:
    limit: Document = {"timeUnit": "min", "unitTime": 1, "requestCount": count}
    data: Document = {
        "policyName": name,
        "displayName": name,
        "description": f"Allows {count} requests per minute" if count != NO_LIMIT else "Allows unlimited requests",
        "defaultLimit": {"type": "REQUESTCOUNTLIMIT", "requestCount": limit},
    }
    return data | ({"stopOnQuotaReach": True} if kind is PolicyKind.SUBSCRIPTION else {})
