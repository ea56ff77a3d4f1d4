"""HTTP client for backends; returns their answers unchanged and suspends endpoints that failed."""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
    web,
)
from multidict import CIMultiDict
from yarl import URL

from local_gateway.gateway.faults import Rejection
from local_gateway.gateway.routing_model import Backend
from wso2_terms.codes import BACKEND_TIMEOUT, CONNECTION_CLOSED, CONNECTION_FAILED, ENDPOINT_SUSPENDED

BUFFERED_BYTES = 1 << 18
"""Answers up to this size [byte] are read completely before the client gets any of it, so that a failure half-way still
yields a proper error response; larger answers are streamed.
"""

T = TypeVar("T")

_CHUNK_BYTES = 1 << 16
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
NOT_FORWARDED = _HOP_BY_HOP | {"host", "content-length", "expect"}
"""Names of the headers that the HTTP client sets itself for the connection to the backend."""
_NOT_RELAYED = _HOP_BY_HOP | {"content-length", "activityid"}


@dataclass(frozen=True, slots=True)
class BackendResponse:
    """A backend's answer, read completely."""

    status: int
    """HTTP status."""

    content_type: str
    """Value of `Content-Type`, empty if absent."""

    body: bytes | None
    """The body, None if it is larger than BUFFERED_BYTES."""


class BackendClient:
    """One connection pool for all backends."""

    def __init__(self, connect_timeout_s: float) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._session: ClientSession | None = None
        self._suspended_until: dict[str, float] = {}
        self._timeouts: dict[float, ClientTimeout] = {}

    async def open(self) -> None:
        """Create the pool; must be called in the event loop that uses it."""
        self._session = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=30),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            # aiohttp must not add headers that the client did not send.
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def forward(
        self, request: web.BaseRequest, backend: Backend, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> web.StreamResponse | Rejection:
        """Forward a client's request and relay the backend's answer.

        Args:
            request: The client's request; a streamed answer is written to it.
            backend: The backend.
            path: Encoded path and query below the backend's URL.
            headers: Headers to send.
            body: Body to send, None for no body.
        """
        relay = partial(_relay_response, request, activity_id=headers["activityid"])
        return await self._request(request.method, backend, path, headers, body, relay)

    async def fetch(
        self, verb: str, backend: Backend, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> BackendResponse | Rejection:
        """Send a request and read the answer completely.

        Args:
            verb: HTTP method.
            backend: The backend.
            path: Encoded path and query below the backend's URL.
            headers: Headers to send.
            body: Body to send, None for no body.
        """
        return await self._request(verb, backend, path, headers, body, _read_response)

    async def _request(
        self,
        verb: str,
        backend: Backend,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        take: Callable[[ClientResponse], Awaitable[T]],
    ) -> T | Rejection:
        if self._suspended_until.get(backend.name, 0.0) > time.monotonic():
            return Rejection(ENDPOINT_SUSPENDED, {"endpoint": backend.name})
        assert self._session is not None
        try:
            async with self._session.request(
                verb,
                URL(backend.url + path, encoded=True),
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=self._timeout(backend.timeout_s),
            ) as answer:
                return await take(answer)
        except (ClientConnectorError, ConnectionTimeoutError):
            return self._suspend(backend, Rejection(CONNECTION_FAILED))
        except TimeoutError:
            return self._suspend(backend, Rejection(BACKEND_TIMEOUT))
        except (ClientError, OSError):
            return self._suspend(backend, Rejection(CONNECTION_CLOSED))

    def _suspend(self, backend: Backend, rejection: Rejection) -> Rejection:
        if backend.suspension_s > 0:
            self._suspended_until[backend.name] = time.monotonic() + backend.suspension_s
        return rejection

    def _timeout(self, total_s: float) -> ClientTimeout:
        timeout = self._timeouts.get(total_s)
        if timeout is None:
            connect_s = min(self._connect_timeout_s, total_s)
            timeout = self._timeouts[total_s] = ClientTimeout(total=total_s, sock_connect=connect_s)
        return timeout


def filter_request_headers(
    request: web.BaseRequest, withheld: frozenset[str], added: Mapping[str, str]
) -> CIMultiDict[str]:
    """Return the headers of a client's request that go to the backend.

    Args:
        request: The client's request.
        withheld: Further names, in lower case, that are not forwarded.
        added: Headers of the gateway; they replace the client's headers of the same name.
    """
    dropped = NOT_FORWARDED | withheld
    connection = request.headers.get("Connection")
    if connection is not None:
        # Headers that Connection names apply to this hop only (RFC 9110, 7.6.1).
        dropped = dropped | {name.strip().lower() for name in connection.split(",")}
    headers = CIMultiDict((name, value) for name, value in request.headers.items() if name.lower() not in dropped)
    headers.update(added)
    return headers


async def _read_response(answer: ClientResponse) -> BackendResponse:
    body = await _read_first_bytes(answer)
    is_whole = len(body) <= BUFFERED_BYTES and answer.content.at_eof()
    return BackendResponse(answer.status, answer.headers.get("Content-Type", ""), body if is_whole else None)


async def _relay_response(request: web.BaseRequest, answer: ClientResponse, *, activity_id: str) -> web.StreamResponse:
    headers = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _NOT_RELAYED)
    headers["activityid"] = activity_id
    length = answer.content_length
    if length is not None and length <= BUFFERED_BYTES:
        return web.Response(body=await answer.read(), status=answer.status, reason=answer.reason, headers=headers)
    first = await _read_first_bytes(answer)
    if answer.content.at_eof():
        return web.Response(body=first, status=answer.status, reason=answer.reason, headers=headers)
    return await _stream_response(request, answer, headers, first)


async def _read_first_bytes(answer: ClientResponse) -> bytes:
    body = bytearray()
    while len(body) <= BUFFERED_BYTES and not answer.content.at_eof():
        body += await answer.content.readany()
    return bytes(body)


async def _stream_response(
    request: web.BaseRequest, answer: ClientResponse, headers: CIMultiDict[str], first: bytes
) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    await response.prepare(request)
    await response.write(first)
    try:
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            await response.write(chunk)
        await response.write_eof()
    except (ClientError, OSError, TimeoutError):
        # The status line is already sent: only closing the connection tells the client that the body is incomplete.
        if request.transport is not None:
            request.transport.abort()
    return response
