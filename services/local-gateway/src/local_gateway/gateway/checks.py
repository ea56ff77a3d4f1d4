"""The order in which calls are checked, the same for a resource of an API and a tool of an MCP server.

Source: WSO2 API Manager 4.6: transport and life cycle, then token, subscription and scope, then deny policies, then
limits.
"""

from local_gateway.gateway.authorize import Credentials, Grant, Refusal, authorize, denied
from local_gateway.gateway.call import Call
from local_gateway.gateway.served import Resource, Served, Snapshot
from local_gateway.gateway.throttle import Throttle
from local_gateway.serving import prove_connection
from local_gateway.tokens import Tokens
from wso2_terms.codes import API_BLOCKED, TRANSPORT_NOT_ALLOWED


def shut(served: Served, scheme: str) -> Refusal | None:
    """Why nobody at all may call this now, None when it is open.

    Args:
        served: the API or MCP server.
        scheme: `http` or `https`.
    """
    if scheme not in served.transports:
        return Refusal(TRANSPORT_NOT_ALLOWED, {"transport": scheme})
    return Refusal(API_BLOCKED) if served.is_blocked else None


class Checks:
    """Decides who passes, and counts."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._throttle = Throttle()

    def admit(self, call: Call, served: Served, resource: Resource, snapshot: Snapshot) -> Grant | Refusal:
        """Check a call of something that is open; one that passes is counted, and knows its grant.

        Args:
            call: the call.
            served: the API or MCP server that it is for.
            resource: what of it.
            snapshot: the state that it began with.
        """
        granted = authorize(served, resource, self._credentials(call, served), snapshot)
        if isinstance(granted, Refusal):
            return granted
        call.grant = granted
        if granted.token is not None:
            prove_connection(call.request)
        refused = denied(served, granted, call.client_address, snapshot)
        if refused is not None:
            return refused
        subscriber = granted.subscriber
        levels = resource.levels if subscriber is None else (*resource.levels, *subscriber.levels)
        exceeded = self._throttle.admit(levels, call.at.timestamp())
        return granted if exceeded is None else Refusal.of_limit(exceeded)

    def _credentials(self, call: Call, served: Served) -> Credentials:
        scheme, _, text = call.request.headers.get(served.authorization_header, "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            return Credentials(is_present=False)
        token = self._tokens.verify(text.strip())
        if token is None:
            return Credentials(is_present=True)
        is_live = self._tokens.counts(token, call.at)
        return Credentials(True, token, is_live, not is_live and token.expires_at_s > call.at.timestamp())
