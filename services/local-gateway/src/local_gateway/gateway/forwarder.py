"""The way from a call that may pass to the backend: which one, and what it is told.

Knows nothing of who may pass.
"""

import time
from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict

from local_gateway.gateway.assertion import AssertionIssuer
from local_gateway.gateway.backend import NOT_FORWARDED, BackendClient, BackendResponse, filter_request_headers
from local_gateway.gateway.call import Call
from local_gateway.gateway.faults import Rejection
from local_gateway.gateway.mcp_arguments import BackendRequest
from local_gateway.gateway.routing_model import Backend, GatewayApi, Principal
from wso2_terms.codes import INVALID_CREDENTIALS

# What a client says about its messages is about those to the MCP server, not about the request made of them.
_MCP_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-encoding",
        "content-type",
        "last-event-id",
        "mcp-protocol-version",
        "mcp-session-id",
        "origin",
    }
)
# What no argument of a tool may say, beside those: it is the gateway's to say, or nobody's.
_GATEWAY_HEADERS = NOT_FORWARDED | {"activityid", "authorization", "cookie", "forwarded", "x-forwarded-for"}


class Forwarder:
    """Passes calls on, with the gateway's assertion and without the caller's token."""

    def __init__(self, assertions: AssertionIssuer, backend_client: BackendClient) -> None:
        self._assertions = assertions
        self._backend_client = backend_client
        # Nobody but the gateway makes assertions.
        self._withheld = frozenset({assertions.header.lower()})

    @property
    def reserved_headers(self) -> frozenset[str]:
        """Names, in lower case, of the headers that no argument of a tool may set."""
        return self._withheld | _MCP_HEADERS | _GATEWAY_HEADERS

    async def forward(
        self, call: Call, api: GatewayApi, principal: Principal, path: str, body: bytes | None
    ) -> web.StreamResponse | Rejection:
        """Send a call of an API on and give the backend's answer back.

        Args:
            call: the call.
            api: the API.
            principal: who passes.
            path: path and query below the backend's address, encoded.
            body: what came with it, None for nothing.
        """
        backend = _select_backend(api, principal)
        if isinstance(backend, Rejection):
            return backend
        headers = self._build_headers(call, api, principal, self._withheld)
        started_s = time.perf_counter()
        answer = await self._backend_client.forward(call.request, backend, path, headers, body)
        call.backend_s = time.perf_counter() - started_s
        return answer

    async def fetch(
        self, call: Call, api: GatewayApi, principal: Principal, request: BackendRequest, withheld: frozenset[str]
    ) -> BackendResponse | Rejection:
        """Ask the API behind a tool and take the answer.

        Args:
            call: the pass to that API.
            api: the API.
            principal: who passes; the assertion is made for this API and for the application that called the tool.
            request: what the tool's arguments became.
            withheld: names, in lower case, of the caller's headers that stay here.
        """
        backend = _select_backend(api, principal)
        if isinstance(backend, Rejection):
            return backend
        headers = self._build_headers(call, api, principal, self._withheld | _MCP_HEADERS | withheld)
        headers.update(request.headers)
        headers["Accept"] = "application/json"
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        started_s = time.perf_counter()
        answer = await self._backend_client.fetch(
            call.method, backend, request.path + request.query, headers, request.body
        )
        call.backend_s = time.perf_counter() - started_s
        return answer

    def _build_headers(
        self, call: Call, api: GatewayApi, principal: Principal, withheld: frozenset[str]
    ) -> CIMultiDict[str]:
        # The caller's token is for the gateway alone.
        dropped = withheld | {"authorization", api.authorization_header.lower()}
        return filter_request_headers(call.request, dropped, self._build_gateway_headers(call, api, principal))

    def _build_gateway_headers(self, call: Call, api: GatewayApi, principal: Principal) -> Mapping[str, str]:
        headers = {"activityid": call.activity_id}
        if principal.token is not None and principal.subscriber is not None:
            assertion = self._assertions.get_assertion(api, principal.token, principal.subscriber, call.at)
            if assertion is not None:
                headers[self._assertions.header] = assertion
        return headers


def _select_backend(api: GatewayApi, principal: Principal) -> Backend | Rejection:
    if principal.subscriber is None or principal.subscriber.key_type == "PRODUCTION":
        return api.production
    return Rejection(INVALID_CREDENTIALS) if api.sandbox is None else api.sandbox
