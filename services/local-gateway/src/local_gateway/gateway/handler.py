"""What happens to one call: route, authorize, throttle, pass on, note.

The order is WSO2's. Everything that is decided is decided by pure functions beside; here they are put in sequence.
"""

import logging
import re
import time
import uuid
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from ev_service.clock import Clock
from local_gateway.gateway.assertion import Assertions
from local_gateway.gateway.authorize import Credentials, Grant, Refusal, authorize, denied
from local_gateway.gateway.backend import Backends, sent_headers
from local_gateway.gateway.faults import TOO_LARGE, fault_response
from local_gateway.gateway.metrics import Finished, MetricsLog
from local_gateway.gateway.routing import Match, Miss, Router
from local_gateway.gateway.snapshot import ServedApi, Snapshot, take_snapshot
from local_gateway.gateway.throttle import Throttle
from local_gateway.state import Store
from local_gateway.tokens import Tokens
from wso2_terms.codes import API_BLOCKED, INVALID_CREDENTIALS, TRANSPORT_NOT_ALLOWED, UNCLASSIFIED

_logger = logging.getLogger(__name__)
_ACTIVITY_ID = re.compile(r"[A-Za-z0-9-]{8,64}")


@dataclass(slots=True)
class _Call:
    """What is known so far of the call at hand."""

    at: datetime
    activity_id: str
    client_address: str
    api: ServedApi | None = None
    match: Match | None = None
    grant: Grant | None = None
    backend_s: float = 0.0


class Gateway:
    """Answers calls on the gateway's listeners."""

    def __init__(
        self,
        *,
        store: Store,
        tokens: Tokens,
        clock: Clock,
        assertions: Assertions,
        backends: Backends,
        metrics: MetricsLog,
        max_request_bytes: int,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock
        self._assertions = assertions
        self._backends = backends
        self._metrics = metrics
        self._max_request_bytes = max_request_bytes
        self._throttle = Throttle()
        self._generation = -1
        self._snapshot: Snapshot | None = None
        self._router = Router(())
        self._withheld = frozenset({assertions.header.lower()})

    async def on_call(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one call; never raises."""
        started_s = time.perf_counter()
        call = _Call(self._clock.now(), _activity_id(request), _client_address(request))
        try:
            answer = await self._pass(request, call)
        except Exception:
            _logger.exception("call failed in the gateway", extra={"correlation_id": call.activity_id})
            answer = Refusal(UNCLASSIFIED)
        refusal = answer if isinstance(answer, Refusal) else None
        response = fault_response(answer, call.activity_id) if isinstance(answer, Refusal) else answer
        if self._metrics.is_on:
            self._metrics.add(_finished(request, call, response, refusal, time.perf_counter() - started_s))
        return response

    async def _pass(self, request: web.BaseRequest, call: _Call) -> web.StreamResponse | Refusal:
        snapshot = self._current_snapshot()
        path, question, query = request.raw_path.partition("?")
        found = self._router.find(request.method, path)
        call.api = found.api
        if isinstance(found, Miss):
            return Refusal(found.fault)
        call.match = found
        granted = self._admit(request, call, found, snapshot)
        if isinstance(granted, Refusal):
            return granted
        backend = found.api.production
        if granted.subscriber is not None and granted.subscriber.key_type == "SANDBOX":
            if found.api.sandbox is None:
                return Refusal(INVALID_CREDENTIALS)
            backend = found.api.sandbox
        body = await self._body(request)
        if isinstance(body, Refusal):
            return body
        headers = sent_headers(request, self._withheld_at(found.api), self._added(call, granted))
        asked_s = time.perf_counter()
        answer = await self._backends.call(request, backend, found.path + question + query, headers, body)
        call.backend_s = time.perf_counter() - asked_s
        return answer

    def _admit(self, request: web.BaseRequest, call: _Call, match: Match, snapshot: Snapshot) -> Grant | Refusal:
        api = match.api
        if request.scheme not in api.transports:
            return Refusal(TRANSPORT_NOT_ALLOWED, {"transport": request.scheme})
        if api.is_blocked:
            return Refusal(API_BLOCKED)
        granted = authorize(match, self._credentials(request, api, call.at), snapshot)
        if isinstance(granted, Refusal):
            return granted
        call.grant = granted
        refused = denied(match, granted, call.client_address, snapshot)
        if refused is not None:
            return refused
        subscriber = granted.subscriber
        levels = match.resource.levels if subscriber is None else (*match.resource.levels, *subscriber.levels)
        exceeded = self._throttle.admit(levels, call.at.timestamp())
        return granted if exceeded is None else Refusal.of_limit(exceeded)

    def _credentials(self, request: web.BaseRequest, api: ServedApi, now: datetime) -> Credentials:
        scheme, _, text = request.headers.get(api.authorization_header, "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            return Credentials(is_present=False)
        token = self._tokens.verify(text.strip())
        if token is None:
            return Credentials(is_present=True)
        is_live = self._tokens.counts(token, now)
        return Credentials(True, token, is_live, not is_live and token.expires_at_s > now.timestamp())

    def _added(self, call: _Call, grant: Grant) -> dict[str, str]:
        added = {"activityid": call.activity_id}
        if grant.token is not None and grant.subscriber is not None and call.api is not None:
            assertion = self._assertions.assertion(call.api, grant.token, grant.subscriber, call.at)
            if assertion is not None:
                added[self._assertions.header] = assertion
        return added

    def _withheld_at(self, api: ServedApi) -> frozenset[str]:
        # The caller's token is for the gateway alone, and nobody but the gateway makes assertions.
        return self._withheld | {"authorization", api.authorization_header.lower()}

    async def _body(self, request: web.BaseRequest) -> bytes | Refusal | None:
        if not request.can_read_body:
            return None
        if (request.content_length or 0) > self._max_request_bytes:
            return Refusal(TOO_LARGE)
        taken = bytearray()
        async for chunk in request.content.iter_any():
            taken += chunk
            if len(taken) > self._max_request_bytes:
                return Refusal(TOO_LARGE)
        return bytes(taken)

    def _current_snapshot(self) -> Snapshot:
        if self._snapshot is None or self._generation != self._store.generation:
            self._snapshot = take_snapshot(self._store.state)
            self._router = Router(self._snapshot.apis)
            self._generation = self._store.generation
        return self._snapshot


def _activity_id(request: web.BaseRequest) -> str:
    given = request.headers.get("activityid")
    return given if given is not None and _ACTIVITY_ID.fullmatch(given) else str(uuid.uuid4())


def _client_address(request: web.BaseRequest) -> str:
    forwarded = request.headers.get("X-Forwarded-For")
    return forwarded.split(",")[0].strip() if forwarded else (request.remote or "")


def _finished(
    request: web.BaseRequest, call: _Call, response: web.StreamResponse, refusal: Refusal | None, latency_s: float
) -> Finished:
    grant = call.grant
    return Finished(
        at=call.at,
        activity_id=call.activity_id,
        method=request.method,
        api=call.api,
        template=call.match.resource.target if call.match else None,
        subscriber=grant.subscriber if grant else None,
        user=grant.token.user if grant and grant.token else None,
        status=response.status,
        refusal=refusal,
        latency_ms=round(latency_s * 1000),
        backend_ms=round(call.backend_s * 1000),
        client_address=call.client_address,
        user_agent=request.headers.get("User-Agent", "UNKNOWN"),
        response_bytes=response.content_length or 0,
    )
