"""ASGI middleware of every service: correlation id, log line and metrics, rules for browsers; and the error format.

Plain ASGI instead of Starlette's `BaseHTTPMiddleware`, because every response passes through it.

A service on loopback or on an inner network is reachable by every browser on that host or network, and so by every page
that such a browser shows. `BrowserRules` keeps other origins out: the Host header must be a name of the service (DNS
rebinding), a request that changes something must not come from another origin, and response headers forbid framing,
content sniffing and loading of resources.
"""

import logging
import re
import time
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit
from uuid import uuid4

from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Histogram
from pydantic import BaseModel, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ev_service.assertion import HEADER
from ev_service.logs import correlation_id

CORRELATION_HEADER = "activityid"
"""The header in which WSO2 carries its correlation id."""

_ACCEPTED_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_QUIET = frozenset({"/health", "/livez", "/metrics"})

_logger = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Default Content-Security-Policy; a page adds its own style."""

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SAME_SITE = frozenset({"same-origin", "none"})
_HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Problem(BaseModel):
    """An error as RFC 9457 problem+json."""

    type: str = Field(description="Kind of problem, a URN that ends with its code.")
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What went wrong here, in one sentence.")
    code: str = Field(description="Stable word for machines.", examples=["source_unavailable"])
    correlation_id: str | None = Field(default=None, description="The id of this call in every log.")


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Build a problem+json response."""
    content = Problem(
        type=f"urn:ev-charging:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        correlation_id=correlation_id.get(),
    )
    return JSONResponse(content.model_dump(), status, dict(headers or {}), "application/problem+json")


class HttpObservation:
    """Metrics of one application and the middleware that records them."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests", "Requests answered", ["service", "method", "route", "status"], registry=self.registry
        )
        self._durations = Histogram(
            "http_request_duration_seconds", "Time to answer [s]", ["service", "route"], registry=self.registry
        )
        self._service = service
        self.middleware = partial(_ObservationMiddleware, observation=self)

    def record(self, scope: Scope, status: int, duration_s: float) -> None:
        """Count and log one request."""
        route = getattr(scope.get("route"), "path", "unmatched")
        self._requests.labels(self._service, scope["method"], route, status).inc()
        self._durations.labels(self._service, route).observe(duration_s)
        level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
        if _logger.isEnabledFor(level):
            fields = {"method": scope["method"], "path": scope["path"], "status": status}
            _logger.log(level, "request answered", extra=fields | {"duration_ms": round(duration_s * 1000, 2)})


class _ObservationMiddleware:
    def __init__(self, app: ASGIApp, observation: HttpObservation) -> None:
        self._app = app
        self._observation = observation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get(CORRELATION_HEADER, "")
        current = offered if _ACCEPTED_ID.fullmatch(offered) else str(uuid4())
        token = correlation_id.set(current)
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[CORRELATION_HEADER] = current
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            if status:
                raise
            _logger.exception("request failed")
            response = problem(500, "internal_error", "the service failed; its log has the reason")
            await response(scope, receive, send_with_id)
        finally:
            self._observation.record(scope, status, time.perf_counter() - started)
            correlation_id.reset(token)


class BrowserRules:
    """ASGI middleware that refuses requests from pages of other origins.

    Args:
        app: the application behind.
        allowed_hosts: host names in lower case that are accepted in addition to `localhost` and IP addresses.
        demands_assertion: whether the gateway's assertion is required; a call that has one does not come from a page.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: frozenset[str], *, demands_assertion: bool) -> None:
        self._app = app
        self._allowed_hosts = allowed_hosts
        self._demands_assertion = demands_assertion

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and add the headers to its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS:
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        # A page of another origin cannot set this header; the route verifies its value.
        is_gateway = self._demands_assertion and HEADER in headers
        name = host_name(headers.get("host", ""))
        # A client without a Host header is not a browser. A page of another origin has a host name, never an address.
        is_own = name in ("", "localhost") or name in self._allowed_hosts or _is_address(name)
        if not is_gateway and not is_own:
            refusal = problem(421, "unknown_host", "not a name of this service; LISTENER_ALLOWED_HOSTS adds one")
            await refusal(scope, receive, send_completed)
        elif not is_gateway and scope["method"] not in _READING and _is_cross_site(headers):
            refusal = problem(403, "cross_site", "a page of another origin may not change anything here")
            await refusal(scope, receive, send_completed)
        else:
            await self._app(scope, receive, send_completed)


def host_name(host: str) -> str:
    """Return the name in a Host header, in lower case and without the port.

    >>> host_name("LocalHost:8004"), host_name("[::1]:8004")
    ('localhost', '::1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_cross_site(headers: Headers) -> bool:
    if headers.get("sec-fetch-site", "none") not in _SAME_SITE:
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
