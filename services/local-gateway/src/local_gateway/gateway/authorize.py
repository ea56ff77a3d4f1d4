"""Decides whether a call may pass: who calls, subscribed, in scope, not denied.

Pure: is given the facts of a call and a snapshot, and returns a grant or a refusal.
Source: WSO2 API Manager 4.6 (JWTValidator: token, subscription, scope; ThrottleHandler: deny policies first).
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_address

from local_gateway.gateway.served import GatewayProduct, Resource, Snapshot, Subscriber
from local_gateway.gateway.throttle import LimitExceeded
from local_gateway.tokens import AccessToken
from wso2_terms.codes import (
    DENIED,
    INVALID_CREDENTIALS,
    MISSING_CREDENTIALS,
    NOT_SUBSCRIBED,
    SCOPE_MISSING,
    SUBSCRIPTION_BLOCKED,
    Fault,
)

REVOKED_TOKEN = replace(
    INVALID_CREDENTIALS,
    description="Invalid JWT token. Make sure you have provided the correct security credentials",
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a call does not pass. details: for the fault's placeholders. until: end of a quota's window."""

    fault: Fault
    details: dict[str, str] = field(default_factory=dict[str, str])
    retry_at: datetime | None = None

    @classmethod
    def from_limit(cls, exceeded: LimitExceeded) -> "Rejection":
        """The refusal of a limit that is used up."""
        return cls(exceeded.level.fault, retry_at=datetime.fromtimestamp(exceeded.ends_s, UTC))


@dataclass(frozen=True, slots=True)
class Principal:
    """Who may pass; both are None at a resource that needs no token."""

    token: AccessToken | None
    subscriber: Subscriber | None


ANONYMOUS = Principal(None, None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What came in the authorization header, already looked at.

    is_present: there was a bearer token. token: None where it did not verify. is_live: neither expired nor revoked.
    is_revoked: which of the two, because WSO2 words it differently.
    """

    is_present: bool
    token: AccessToken | None = None
    is_live: bool = False
    is_revoked: bool = False


def authorize(
    product: GatewayProduct, resource: Resource, credentials: Credentials, snapshot: Snapshot
) -> Principal | Rejection:
    """Check token, subscription and scope, in WSO2's order.

    Args:
        product: the API or MCP server that is called.
        resource: what of it.
        credentials: of the caller.
        snapshot: holds the subscriptions.
    """
    if not resource.is_secured:
        return ANONYMOUS
    token = credentials.token
    if token is None or not credentials.is_live:
        return _reject_credentials(credentials)
    subscriber = snapshot.subscribers.get((token.client_id, product.api_id))
    if subscriber is None:
        return Rejection(NOT_SUBSCRIBED)
    if subscriber.status == "BLOCKED" or (
        subscriber.status == "PROD_ONLY_BLOCKED" and subscriber.key_type == "PRODUCTION"
    ):
        return Rejection(SUBSCRIPTION_BLOCKED)
    if resource.scopes and resource.scopes.isdisjoint(token.scopes):
        return Rejection(SCOPE_MISSING, {"resource": resource.target})
    return Principal(token, subscriber)


def check_deny_policies(
    product: GatewayProduct, principal: Principal, client_address: str, snapshot: Snapshot
) -> Rejection | None:
    """Check the deny policies.

    Args:
        product: the API or MCP server that is called.
        principal: who calls.
        client_address: where from, as `X-Forwarded-For` or the connection says.
        snapshot: holds the policies.
    """
    policies = snapshot.deny_policies
    if policies.is_empty:
        return None
    if product.context in policies.contexts or _matches_denied_address(client_address, snapshot):
        return Rejection(DENIED)
    if principal.subscriber is not None and principal.token is not None:
        application = principal.subscriber.application
        if f"{application.owner}:{application.name}" in policies.applications:
            return Rejection(DENIED)
        if f"{principal.token.user}@carbon.super" in policies.users:
            return Rejection(DENIED)
    return None


def _reject_credentials(credentials: Credentials) -> Rejection:
    if not credentials.is_present:
        return Rejection(MISSING_CREDENTIALS)
    return Rejection(REVOKED_TOKEN if credentials.is_revoked else INVALID_CREDENTIALS)


def _matches_denied_address(client_address: str, snapshot: Snapshot) -> bool:
    if not snapshot.deny_policies.addresses:
        return False
    try:
        address = ip_address(client_address)
    except ValueError:
        return False
    return any(addresses.matches(address) for addresses in snapshot.deny_policies.addresses)
