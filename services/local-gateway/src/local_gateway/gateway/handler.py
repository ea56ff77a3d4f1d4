"""What happens to one call: route, authorize, throttle, pass on, note.

The order is WSO2's. Everything that is decided is decided by pure functions beside; here they are put in sequence.
"""

import logging
import time

from aiohttp import web

from ev_service.clock import Clock
from local_gateway.gateway.assertion import Assertions
from local_gateway.gateway.authorize import Refusal
from local_gateway.gateway.backend import Backends
from local_gateway.gateway.call import Call, ClientGoneError, finished, read_body
from local_gateway.gateway.checks import Checks, shut
from local_gateway.gateway.faults import fault_response
from local_gateway.gateway.mcp_server import McpFront
from local_gateway.gateway.metrics import MetricsLog
from local_gateway.gateway.passage import Passage
from local_gateway.gateway.routing import Match, Miss, Router
from local_gateway.gateway.served import ServedApi, ServedMcpServer, Snapshot
from local_gateway.gateway.snapshot import take_snapshot
from local_gateway.state import Store
from local_gateway.tokens import Tokens
from wso2_terms.codes import UNCLASSIFIED
from wso2_terms.mcp import Wso2Version

_logger = logging.getLogger(__name__)


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
        hostname: str = "localhost",
        version: Wso2Version = Wso2Version.V4_6,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._max_request_bytes = max_request_bytes
        self._checks = Checks(tokens)
        self._passage = Passage(assertions, backends)
        self._mcp = McpFront(
            self._checks,
            self._passage,
            metrics,
            issuer=lambda: store.state.issuer,
            hostname=hostname,
            max_request_bytes=max_request_bytes,
            version=version,
        )
        self._generation = -1
        self._snapshot: Snapshot | None = None
        self._router = Router(())

    async def on_call(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one call; never raises."""
        started_s = time.perf_counter()
        call = Call.of(request, self._clock.now())
        try:
            answer = await self._answer(call)
        except ClientGoneError:
            response = web.Response(status=400, headers={"activityid": call.activity_id})
            response.force_close()
            return response
        except Exception:
            _logger.exception("call failed in the gateway", extra={"correlation_id": call.activity_id})
            answer = Refusal(UNCLASSIFIED)
        refusal = answer if isinstance(answer, Refusal) else None
        response = fault_response(answer, call.activity_id) if isinstance(answer, Refusal) else answer
        if self._metrics.is_on:
            latency_s = time.perf_counter() - started_s
            self._metrics.add(finished(call, response.status, refusal, latency_s, response.content_length or 0))
        return response

    async def _answer(self, call: Call) -> web.StreamResponse | Refusal:
        snapshot = self._current_snapshot()
        path, question, query = call.request.raw_path.partition("?")
        found = self._router.find(call.method, path)
        call.served = found.api
        if isinstance(found, Miss):
            return Refusal(found.fault)
        call.template = found.resource.target
        refused = shut(found.api, call.request.scheme)
        if refused is not None:
            return refused
        if isinstance(found.api, ServedMcpServer):
            answer = await self._mcp.answer(call, found.api, found.resource, self._router, snapshot)
            if not isinstance(answer, Refusal):
                answer.headers["activityid"] = call.activity_id
            return answer
        assert isinstance(found.api, ServedApi)
        return await self._pass(call, found.api, found, question + query, snapshot)

    async def _pass(
        self, call: Call, api: ServedApi, match: Match, query: str, snapshot: Snapshot
    ) -> web.StreamResponse | Refusal:
        granted = self._checks.admit(call, api, match.resource, snapshot)
        if isinstance(granted, Refusal):
            return granted
        body = await read_body(call.request, self._max_request_bytes)
        if isinstance(body, Refusal):
            return body
        return await self._passage.pass_on(call, api, granted, match.path + query, body)

    def _current_snapshot(self) -> Snapshot:
        if self._snapshot is None or self._generation != self._store.generation:
            self._snapshot = take_snapshot(self._store.state)
            self._router = Router((*self._snapshot.apis, *self._snapshot.mcp_servers))
            self._generation = self._store.generation
        return self._snapshot
