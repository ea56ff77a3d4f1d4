"""Throttling policies: found, kept and written out.

Works on the state alone. Knows which policies there are, not who counts what.
Source: WSO2 API Manager 4.6, admin REST API v4.
"""

import uuid

from local_gateway.management.rest import ManagementContext
from local_gateway.shipped_policies import TYPES
from local_gateway.state import Document, PolicyRecord
from wso2_terms.policies import PolicyKind, ThrottlePolicy


def find_policy(context: ManagementContext, kind: PolicyKind, name: str) -> PolicyRecord | None:
    """The policy of this kind and name."""
    return next((p for p in list_policies(context, kind) if p.name == name), None)


def list_policies(context: ManagementContext, kind: PolicyKind) -> list[PolicyRecord]:
    """All policies of a kind."""
    return [policy for policy in context.state.policies.values() if policy.kind == kind.value]


def save_policy(context: ManagementContext, kind: PolicyKind, policy: ThrottlePolicy) -> PolicyRecord:
    """Add a policy, or replace the one of its kind and name."""
    data = policy.model_dump(mode="json", by_alias=True, exclude_unset=True)
    record = find_policy(context, kind, policy.policy_name)
    if record is None:
        record = PolicyRecord(policy_id=str(uuid.uuid4()), kind=kind.value, data=data)
        context.state.policies[record.policy_id] = record
    record.data = data
    context.store.save()
    return record


def build_policy_info(policy: PolicyRecord) -> Document:
    """A policy as lists show it: an advanced one without its conditions."""
    return {name: value for name, value in build_policy_body(policy).items() if name != "conditionalGroups"}


def build_policy_body(policy: PolicyRecord) -> Document:
    """A policy as the REST API writes it."""
    kind = PolicyKind(policy.kind)
    data: Document = {"policyId": policy.policy_id, **policy.data, "isDeployed": True, "type": TYPES[kind]}
    if kind is PolicyKind.SUBSCRIPTION:
        data = {"stopOnQuotaReach": False, "billingPlan": "FREE", "rateLimitCount": 0, "rateLimitTimeUnit": ""} | data
    return data
