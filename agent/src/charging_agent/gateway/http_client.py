"""HTTP requests with a deadline, of which none is ever cancelled, over TLS that follows the authorities' file.

A request that is cancelled at the wrong moment, such as that at which its handshake ends, keeps its place in the HTTP
library's pool for ever (encode/httpcore issue 1093). So every network operation of a request ends by itself at the
request's deadline, in the library's own way, and whoever gives up waiting leaves the request alone.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, cast

import httpcore
import httpx

from ev_service.tasks import cancel_and_wait
from ev_service.trust import Authorities

_request_deadline_s: ContextVar[float | None] = ContextVar("_ends_at_s", default=None)
"""When the request of this task ends, by `time.monotonic` [s]."""

_SocketOptions = Iterable[Any]

# Longer than any request: connections opened with former authorities are closed once no request uses them.
_DRAINED_AFTER_S = 30.0
_KEPT_CONNECTIONS, _KEPT_FOR_S = 20, 5.0


@dataclass(frozen=True, slots=True)
class BoundedResponse:
    """HTTP response whose body is read up to a limit."""

    status: int
    headers: httpx.Headers
    body: bytes
    """Whole, or the first bytes of a longer one: one more than was asked for."""


class ResponseListener(Protocol):
    """Receives the status and the headers of a response before its body is read."""

    def record_headers(self, response: httpx.Response) -> None: ...


class RequestRunner:
    """Runs each request in a task of its own.

    A caller that is cancelled, or whose deadline has passed, leaves the request running until it ends by itself. At
    most `max_requests` run at a time; further ones are rejected.
    """

    def __init__(self, http: httpx.AsyncClient, max_requests: int = 20) -> None:
        self._http = http
        self._max_requests = max_requests
        self._running: set[asyncio.Task[BoundedResponse]] = set()

    async def run(
        self,
        request: httpx.Request,
        *,
        deadline_s: float,
        max_bytes: int,
        listener: ResponseListener | None = None,
    ) -> BoundedResponse:
        """Send a request and read its response.

        Args:
            request: made by the HTTP client's `build_request`.
            deadline_s: real time in which the whole of it ends [s].
            max_bytes: longest body that the caller accepts; nothing is read beyond.
            listener: receives the response before its body is read.

        Raises:
            httpx.TimeoutException: there was no whole answer in time, or too many requests are running.
            httpx.HTTPError, httpx.StreamError: as of the HTTP library.
        """
        if len(self._running) >= self._max_requests:
            raise httpx.PoolTimeout(f"{self._max_requests} requests are running", request=request)
        task = asyncio.create_task(self._run_request(request, deadline_s, max_bytes, listener))
        self._running.add(task)
        task.add_done_callback(self._forget)
        # Not `asyncio.timeout` and not `wait_for`: both would cancel the task.
        await asyncio.wait({task}, timeout=deadline_s)
        if not task.done():
            raise httpx.ReadTimeout(f"no whole answer within {deadline_s} s", request=request)
        return task.result()

    async def stop(self) -> None:
        """Cancel what still runs. Their places in the pool end with the HTTP client, which is closed next."""
        await cancel_and_wait(*self._running)

    async def _run_request(
        self,
        request: httpx.Request,
        deadline_s: float,
        max_bytes: int,
        listener: ResponseListener | None,
    ) -> BoundedResponse:
        _request_deadline_s.set(time.monotonic() + deadline_s)
        response = await self._http.send(request, stream=True)
        try:
            if listener is not None:
                listener.record_headers(response)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    break
            return BoundedResponse(response.status_code, response.headers, bytes(body[: max_bytes + 1]))
        finally:
            await response.aclose()

    def _forget(self, task: asyncio.Task[BoundedResponse]) -> None:
        self._running.discard(task)
        # asyncio logs an exception that is never retrieved, and the caller may have given up.
        _ = task.cancelled() or task.exception()


class GatewayTransport(httpx.AsyncBaseTransport):
    """Connections to the gateway, opened with the authorities as their file has them now.

    Requests that run while the authorities change end on the connections that they have.
    """

    def __init__(self, authorities: Authorities) -> None:
        self._authorities = authorities
        self._context = authorities.context()
        self._current = _DeadlineTransport(self._context)
        self._former: list[tuple[float, _DeadlineTransport]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        now_s, context = time.monotonic(), self._authorities.context()
        if context is not self._context:
            self._former.append((now_s + _DRAINED_AFTER_S, self._current))
            self._context, self._current = context, _DeadlineTransport(context)
        while self._former and self._former[0][0] <= now_s:
            await self._former.pop(0)[1].aclose()
        return await self._current.handle_async_request(request)

    async def aclose(self) -> None:
        """Close every connection."""
        for _, transport in self._former:
            await transport.aclose()
        await self._current.aclose()


class _DeadlineTransport(httpx.AsyncHTTPTransport):
    """The HTTP library's own transport over network operations that end at the deadline of their request."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        # The transport has no parameter for it. Nor for a pool in which no request ever waits for another, in which
        # one that gives up may be given a connection at the same moment; how many run is the runner's to bound.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=_KEPT_CONNECTIONS,
            keepalive_expiry=_KEPT_FOR_S,
            network_backend=_DeadlineBackend(),
        )


class _DeadlineBackend(httpcore.AsyncNetworkBackend):
    def __init__(self) -> None:
        # The library's types have it as it is where anyio is not installed; httpx needs it.
        self._backend = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        opened = await self._backend.connect_tcp(
            host, port, _operation_timeout_s(timeout), local_address, socket_options
        )
        return _DeadlineStream(opened)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: _SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _DeadlineStream(
            await self._backend.connect_unix_socket(path, _operation_timeout_s(timeout), socket_options)
        )

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _DeadlineStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, _operation_timeout_s(timeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, _operation_timeout_s(timeout))

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _DeadlineStream(
            await self._stream.start_tls(ssl_context, server_hostname, _operation_timeout_s(timeout))
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _operation_timeout_s(timeout_s: float | None) -> float | None:
    """The time that an operation may take [s]: the HTTP library's, and what is left of the request's."""
    ends_at_s = _request_deadline_s.get()
    if ends_at_s is None:
        return timeout_s
    left_s = max(0.0, ends_at_s - time.monotonic())
    return left_s if timeout_s is None else min(timeout_s, left_s)
