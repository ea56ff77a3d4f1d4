"""Decides whether a call may pass: who calls, subscribed, in scope, not denied.

Pure: is given the facts of a call and a snapshot, and returns a grant or a refusal.
Source: WSO2 API Manager 4.6 (JWTValidator: token, subscription, scope; ThrottleHandler: deny policies first).
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_address

from local_gateway.gateway.served import Resource, Served, Snapshot, Subscriber
from local_gateway.gateway.throttle import Exceeded
from local_gateway.tokens import VerifiedToken
from wso2_terms.codes import (
    DENIED,
    INVALID_CREDENTIALS,
    MISSING_CREDENTIALS,
    NOT_SUBSCRIBED,
    SCOPE_MISSING,
    SUBSCRIPTION_BLOCKED,
    Fault,
)

REVOKED = replace(
    INVALID_CREDENTIALS,
    description="Invalid JWT token. Make sure you have provided the correct security credentials",
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call does not pass. details: for the fault's placeholders. until: end of a quota's window."""

    fault: Fault
    details: dict[str, str] = field(default_factory=dict[str, str])
    until: datetime | None = None

    @classmethod
    def of_limit(cls, exceeded: Exceeded) -> "Refusal":
        """The refusal of a limit that is used up."""
        return cls(exceeded.level.fault, until=datetime.fromtimestamp(exceeded.ends_s, UTC))


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may pass; both are None at a resource that needs no token."""

    token: VerifiedToken | None
    subscriber: Subscriber | None


OPEN = Grant(None, None)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What came in the authorization header, already looked at.

    is_present: there was a bearer token. token: None where it did not verify. is_live: neither expired nor revoked.
    is_revoked: which of the two, because WSO2 words it differently.
    """

    is_present: bool
    token: VerifiedToken | None = None
    is_live: bool = False
    is_revoked: bool = False


def authorize(served: Served, resource: Resource, credentials: Credentials, snapshot: Snapshot) -> Grant | Refusal:
    """Check token, subscription and scope, in WSO2's order.

    Args:
        served: the API or MCP server that is called.
        resource: what of it.
        credentials: of the caller.
        snapshot: holds the subscriptions.
    """
    if not resource.is_secured:
        return OPEN
    token = credentials.token
    if token is None or not credentials.is_live:
        return _refused_credentials(credentials)
    subscriber = snapshot.subscribers.get((token.client_id, served.api_id))
    if subscriber is None:
        return Refusal(NOT_SUBSCRIBED)
    if subscriber.status == "BLOCKED" or (
        subscriber.status == "PROD_ONLY_BLOCKED" and subscriber.key_type == "PRODUCTION"
    ):
        return Refusal(SUBSCRIPTION_BLOCKED)
    if resource.scopes and resource.scopes.isdisjoint(token.scopes):
        return Refusal(SCOPE_MISSING, {"resource": resource.target})
    return Grant(token, subscriber)


def denied(served: Served, grant: Grant, client_address: str, snapshot: Snapshot) -> Refusal | None:
    """Check the deny policies.

    Args:
        served: the API or MCP server that is called.
        grant: who calls.
        client_address: where from, as `X-Forwarded-For` or the connection says.
        snapshot: holds the policies.
    """
    rules = snapshot.denied
    if rules.is_empty:
        return None
    if served.context in rules.contexts or _is_address_denied(client_address, snapshot):
        return Refusal(DENIED)
    if grant.subscriber is not None and grant.token is not None:
        application = grant.subscriber.application
        if f"{application.owner}:{application.name}" in rules.applications:
            return Refusal(DENIED)
        if f"{grant.token.user}@carbon.super" in rules.users:
            return Refusal(DENIED)
    return None


def _refused_credentials(credentials: Credentials) -> Refusal:
    if not credentials.is_present:
        return Refusal(MISSING_CREDENTIALS)
    return Refusal(REVOKED if credentials.is_revoked else INVALID_CREDENTIALS)


def _is_address_denied(client_address: str, snapshot: Snapshot) -> bool:
    if not snapshot.denied.addresses:
        return False
    try:
        address = ip_address(client_address)
    except ValueError:
        return False
    return any(addresses.means(address) for addresses in snapshot.denied.addresses)
