"""One log line and one measurement for every request, and its correlation id.

A plain ASGI middleware: it must cost next to nothing, because every answer passes through it.
"""

import logging
import re
import time
from functools import partial
from uuid import uuid4

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ev_service.logs import correlation_id
from ev_service.problems import problem

CORRELATION_HEADER = "activityid"
"""The header in which WSO2 carries its correlation id."""

_ACCEPTED_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_QUIET = frozenset({"/health", "/livez", "/metrics"})

_logger = logging.getLogger(__name__)


class HttpObservation:
    """The measurements of one application and the middleware that takes them."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests", "Requests answered", ["service", "method", "route", "status"], registry=self.registry
        )
        self._durations = Histogram(
            "http_request_duration_seconds", "Time to answer [s]", ["service", "route"], registry=self.registry
        )
        self._service = service
        self.middleware = partial(_Middleware, observed=self)

    def record(self, scope: Scope, status: int, duration_s: float) -> None:
        """Count and log one answered request."""
        route = getattr(scope.get("route"), "path", "unmatched")
        self._requests.labels(self._service, scope["method"], route, status).inc()
        self._durations.labels(self._service, route).observe(duration_s)
        level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
        if _logger.isEnabledFor(level):
            fields = {"method": scope["method"], "path": scope["path"], "status": status}
            _logger.log(level, "request answered", extra=fields | {"duration_ms": round(duration_s * 1000, 2)})


class _Middleware:
    def __init__(self, app: ASGIApp, observed: HttpObservation) -> None:
        self._app = app
        self._observed = observed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = Headers(scope=scope).get(CORRELATION_HEADER, "")
        current = offered if _ACCEPTED_ID.fullmatch(offered) else str(uuid4())
        token = correlation_id.set(current)
        started, status = time.perf_counter(), 0

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[CORRELATION_HEADER] = current
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except Exception:
            if status:
                raise
            _logger.exception("request failed")
            answer = problem(500, "internal_error", "the service failed; its log has the reason")
            await answer(scope, receive, send_observed)
        finally:
            self._observed.record(scope, status, time.perf_counter() - started)
            correlation_id.reset(token)
