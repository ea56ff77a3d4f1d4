"""Admission of calls: token, subscription, scope, deny policies and throttling, for resources of APIs and tools alike.

Source: WSO2 API Manager 4.6. Order of the checks: transport and life cycle, then token, subscription and scope
(JWTValidator), then deny policies and limits (ThrottleHandler).
"""

from dataclasses import dataclass, replace
from ipaddress import ip_address

from local_gateway.gateway.call import Call
from local_gateway.gateway.faults import Rejection
from local_gateway.gateway.routing_model import ANONYMOUS, GatewayProduct, Principal, Resource, Snapshot
from local_gateway.gateway.throttling import Throttle
from local_gateway.serving import prove_connection
from local_gateway.tokens import AccessToken, TokenService
from wso2_terms.codes import (
    API_BLOCKED,
    DENIED,
    INVALID_CREDENTIALS,
    MISSING_CREDENTIALS,
    NOT_SUBSCRIBED,
    SCOPE_MISSING,
    SUBSCRIPTION_BLOCKED,
    TRANSPORT_NOT_ALLOWED,
)

REVOKED_TOKEN = replace(
    INVALID_CREDENTIALS,
    description="Invalid JWT token. Make sure you have provided the correct security credentials",
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Result of reading and verifying the authorization header."""

    is_present: bool
    """The header contains a bearer token."""

    token: AccessToken | None = None
    """The token, None if it did not verify."""

    is_live: bool = False
    """The token is neither expired nor revoked."""

    is_revoked: bool = False
    """The token is revoked and not yet expired; WSO2 words the error of revoked tokens differently."""


def authorize(
    product: GatewayProduct, resource: Resource, credentials: Credentials, snapshot: Snapshot
) -> Principal | Rejection:
    """Check token, subscription and scope, in WSO2's order.

    Args:
        product: The called API or MCP server.
        resource: The called resource or tool.
        credentials: Credentials of the caller.
        snapshot: Snapshot with the subscriptions.
    """
    if not resource.is_secured:
        return ANONYMOUS
    token = credentials.token
    if token is None or not credentials.is_live:
        if not credentials.is_present:
            return Rejection(MISSING_CREDENTIALS)
        return Rejection(REVOKED_TOKEN if credentials.is_revoked else INVALID_CREDENTIALS)
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
    """Return a rejection if a deny policy applies to the call, else None.

    Args:
        product: The called API or MCP server.
        principal: The caller.
        client_address: Address of the client, from `X-Forwarded-For` or the connection.
        snapshot: Snapshot with the deny policies.
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


def _matches_denied_address(client_address: str, snapshot: Snapshot) -> bool:
    if not snapshot.deny_policies.addresses:
        return False
    try:
        address = ip_address(client_address)
    except ValueError:
        return False
    return any(addresses.matches(address) for addresses in snapshot.deny_policies.addresses)


def check_availability(product: GatewayProduct, scheme: str) -> Rejection | None:
    """Return a rejection if the product cannot be called by anybody, else None.

    Args:
        product: The called API or MCP server.
        scheme: `http` or `https`.
    """
    if scheme not in product.transports:
        return Rejection(TRANSPORT_NOT_ALLOWED, {"transport": scheme})
    return Rejection(API_BLOCKED) if product.is_blocked else None


class AdmissionControl:
    """Decides which calls are admitted and counts them against their limits."""

    def __init__(self, tokens: TokenService) -> None:
        self._tokens = tokens
        self._throttle = Throttle()

    def admit(
        self, call: Call, product: GatewayProduct, resource: Resource, snapshot: Snapshot
    ) -> Principal | Rejection:
        """Check a call of an available product; an admitted call is counted and gets its principal.

        Args:
            call: The call.
            product: The called API or MCP server.
            resource: The called resource or tool.
            snapshot: The snapshot that the call started with.
        """
        principal = authorize(product, resource, self._read_credentials(call, product), snapshot)
        if isinstance(principal, Rejection):
            return principal
        call.principal = principal
        if principal.token is not None:
            prove_connection(call.request)
        rejection = check_deny_policies(product, principal, call.client_address, snapshot)
        if rejection is not None:
            return rejection
        subscriber = principal.subscriber
        levels = resource.levels if subscriber is None else (*resource.levels, *subscriber.levels)
        exceeded = self._throttle.admit(levels, call.at.timestamp())
        return principal if exceeded is None else Rejection.from_limit(exceeded)

    def _read_credentials(self, call: Call, product: GatewayProduct) -> Credentials:
        scheme, _, text = call.request.headers.get(product.authorization_header, "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            return Credentials(is_present=False)
        token = self._tokens.verify(text.strip())
        if token is None:
            return Credentials(is_present=True)
        is_live = self._tokens.is_valid(token, call.at)
        return Credentials(True, token, is_live, not is_live and token.expires_at_s > call.at.timestamp())
