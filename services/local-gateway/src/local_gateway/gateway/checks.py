"""The order in which calls are checked, the same for a resource of an API and a tool of an MCP server.

Source: WSO2 API Manager 4.6: transport and life cycle, then token, subscription and scope, then deny policies, then
limits.
"""

from local_gateway.gateway.authorize import Credentials, Principal, Rejection, authorize, check_deny_policies
from local_gateway.gateway.call import Call
from local_gateway.gateway.served import GatewayProduct, Resource, Snapshot
from local_gateway.gateway.throttle import Throttle
from local_gateway.serving import prove_connection
from local_gateway.tokens import TokenService
from wso2_terms.codes import API_BLOCKED, TRANSPORT_NOT_ALLOWED


def check_availability(product: GatewayProduct, scheme: str) -> Rejection | None:
    """Why nobody at all may call this now, None when it is open.

    Args:
        product: the API or MCP server.
        scheme: `http` or `https`.
    """
    if scheme not in product.transports:
        return Rejection(TRANSPORT_NOT_ALLOWED, {"transport": scheme})
    return Rejection(API_BLOCKED) if product.is_blocked else None


class AdmissionControl:
    """Decides who passes, and counts."""

    def __init__(self, tokens: TokenService) -> None:
        self._tokens = tokens
        self._throttle = Throttle()

    def admit(
        self, call: Call, product: GatewayProduct, resource: Resource, snapshot: Snapshot
    ) -> Principal | Rejection:
        """Check a call of something that is open; one that passes is counted, and knows its grant.

        Args:
            call: the call.
            product: the API or MCP server that it is for.
            resource: what of it.
            snapshot: the state that it began with.
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
