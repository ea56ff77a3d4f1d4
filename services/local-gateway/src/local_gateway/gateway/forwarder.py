"""Forwards admitted calls to the backend, with the gateway's assertion and without the client's token."""

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

# These headers of the client describe its message to the MCP server, not the request to the backend.
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
# Further headers that an argument must not set: they are set by the gateway or not at all.
_GATEWAY_HEADERS = NOT_FORWARDED | {"activityid", "authorization", "cookie", "forwarded", "x-forwarded-for"}


class Forwarder:
    """Selects the backend of a call and builds the headers that it gets."""

    def __init__(self, assertions: AssertionIssuer, backend_client: BackendClient) -> None:
        self._assertions = assertions
        self._backend_client = backend_client
        # Only the gateway issues assertions: a header that the client sends under that name is dropped.
        self._withheld = frozenset({assertions.header.lower()})

    @property
    def reserved_headers(self) -> frozenset[str]:
        """Names, in lower case, of the headers that an argument of a tool must not set."""
        return self._withheld | _MCP_HEADERS | _GATEWAY_HEADERS

    async def forward(
        self, call: Call, api: GatewayApi, principal: Principal, path: str, body: bytes | None
    ) -> web.StreamResponse | Rejection:
        """Forward a call of an API and relay the backend's answer.

        Args:
            call: The call.
            api: The called API.
            principal: The caller.
            path: Encoded path and query below the backend's URL.
            body: The request's body, None if it has none.
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
        """Call the API behind a tool and read the answer completely.

        Args:
            call: The subcall of that API.
            api: The API.
            principal: The caller of the tool; the assertion is issued for the API and this caller's application.
            request: Request built from the tool's arguments.
            withheld: Names, in lower case, of further client headers that are not forwarded.
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
        # The access token is addressed to the gateway; a backend must not be able to reuse it.
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
