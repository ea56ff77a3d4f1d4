"""The way from a call that may pass to the backend: which one, and what it is told.

Knows nothing of who may pass.
"""

import time
from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict

from local_gateway.gateway.assertion import Assertions
from local_gateway.gateway.authorize import Grant, Refusal
from local_gateway.gateway.backend import NOT_SENT_ON, Backends, Fetched, sent_headers
from local_gateway.gateway.call import Call
from local_gateway.gateway.mcp_arguments import Outgoing
from local_gateway.gateway.served import Backend, ServedApi
from wso2_terms.codes import INVALID_CREDENTIALS

# What a client says about its messages is about those to the MCP server, not about the request made of them.
_OF_MCP = frozenset(
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
_OF_GATEWAY = NOT_SENT_ON | {"activityid", "authorization", "cookie", "forwarded", "x-forwarded-for"}


class Passage:
    """Passes calls on, with the gateway's assertion and without the caller's token."""

    def __init__(self, assertions: Assertions, backends: Backends) -> None:
        self._assertions = assertions
        self._backends = backends
        # Nobody but the gateway makes assertions.
        self._withheld = frozenset({assertions.header.lower()})

    @property
    def own_headers(self) -> frozenset[str]:
        """Names, in lower case, of the headers that no argument of a tool may set."""
        return self._withheld | _OF_MCP | _OF_GATEWAY

    async def pass_on(
        self, call: Call, api: ServedApi, grant: Grant, path: str, body: bytes | None
    ) -> web.StreamResponse | Refusal:
        """Send a call of an API on and give the backend's answer back.

        Args:
            call: the call.
            api: the API.
            grant: who passes.
            path: path and query below the backend's address, encoded.
            body: what came with it, None for nothing.
        """
        backend = _backend_of(api, grant)
        if isinstance(backend, Refusal):
            return backend
        headers = self._headers(call, api, grant, self._withheld)
        asked_s = time.perf_counter()
        answer = await self._backends.call(call.request, backend, path, headers, body)
        call.backend_s = time.perf_counter() - asked_s
        return answer

    async def fetch(
        self, call: Call, api: ServedApi, grant: Grant, asked: Outgoing, withheld: frozenset[str]
    ) -> Fetched | Refusal:
        """Ask the API behind a tool and take the answer.

        Args:
            call: the pass to that API.
            api: the API.
            grant: who passes; the assertion is made for this API and for the application that called the tool.
            asked: what the tool's arguments became.
            withheld: names, in lower case, of the caller's headers that stay here.
        """
        backend = _backend_of(api, grant)
        if isinstance(backend, Refusal):
            return backend
        headers = self._headers(call, api, grant, self._withheld | _OF_MCP | withheld)
        headers.update(asked.headers)
        headers["Accept"] = "application/json"
        if asked.body is not None:
            headers["Content-Type"] = "application/json"
        asked_s = time.perf_counter()
        answer = await self._backends.fetch(call.method, backend, asked.path + asked.query, headers, asked.body)
        call.backend_s = time.perf_counter() - asked_s
        return answer

    def _headers(self, call: Call, api: ServedApi, grant: Grant, withheld: frozenset[str]) -> CIMultiDict[str]:
        # The caller's token is for the gateway alone.
        kept = withheld | {"authorization", api.authorization_header.lower()}
        return sent_headers(call.request, kept, self._added(call, api, grant))

    def _added(self, call: Call, api: ServedApi, grant: Grant) -> Mapping[str, str]:
        added = {"activityid": call.activity_id}
        if grant.token is not None and grant.subscriber is not None:
            assertion = self._assertions.assertion(api, grant.token, grant.subscriber, call.at)
            if assertion is not None:
                added[self._assertions.header] = assertion
        return added


def _backend_of(api: ServedApi, grant: Grant) -> Backend | Refusal:
    if grant.subscriber is None or grant.subscriber.key_type == "PRODUCTION":
        return api.production
    return Refusal(INVALID_CREDENTIALS) if api.sandbox is None else api.sandbox
