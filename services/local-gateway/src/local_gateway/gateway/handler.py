"""Request handler of the gateway's listeners: route, admit, forward, record, in WSO2's order."""

import logging
import time

from aiohttp import web

from ev_service.clock import Clock
from local_gateway.gateway.admission import AdmissionControl, check_availability
from local_gateway.gateway.assertion import AssertionIssuer
from local_gateway.gateway.backend import BackendClient
from local_gateway.gateway.call import Call, ClientGoneError, build_metrics_event, read_body
from local_gateway.gateway.faults import Rejection, build_fault_response
from local_gateway.gateway.forwarder import Forwarder
from local_gateway.gateway.mcp_handler import McpHandler
from local_gateway.gateway.metrics import MetricsLog
from local_gateway.gateway.routing import RouteMatch, RouteNotFound, Router
from local_gateway.gateway.routing_model import GatewayApi, GatewayMcpServer, Snapshot
from local_gateway.gateway.snapshot import take_snapshot
from local_gateway.state import Store
from local_gateway.tokens import TokenService
from wso2_terms.codes import UNCLASSIFIED
from wso2_terms.mcp import Wso2Version

_logger = logging.getLogger(__name__)


class Gateway:
    """Answers the calls on the gateway's listeners."""

    def __init__(
        self,
        *,
        store: Store,
        tokens: TokenService,
        clock: Clock,
        assertions: AssertionIssuer,
        backend_client: BackendClient,
        metrics: MetricsLog,
        max_request_bytes: int,
        hostname: str = "localhost",
        version: Wso2Version = Wso2Version.V4_6,
    ) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._max_request_bytes = max_request_bytes
        self._admission = AdmissionControl(tokens)
        self._forwarder = Forwarder(assertions, backend_client)
        self._mcp = McpHandler(
            self._admission,
            self._forwarder,
            metrics,
            store=store,
            hostname=hostname,
            max_request_bytes=max_request_bytes,
            version=version,
        )
        self._generation = -1
        self._snapshot: Snapshot | None = None
        self._router = Router(())

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one call; never raises."""
        started_s = time.perf_counter()
        call = Call.from_request(request, self._clock.now())
        try:
            answer = await self._answer(call)
        except ClientGoneError:
            response = web.Response(status=400, headers={"activityid": call.activity_id})
            response.force_close()
            return response
        except Exception:
            _logger.exception("call failed in the gateway", extra={"correlation_id": call.activity_id})
            answer = Rejection(UNCLASSIFIED)
        rejection = answer if isinstance(answer, Rejection) else None
        response = build_fault_response(answer, call.activity_id) if isinstance(answer, Rejection) else answer
        if self._metrics.is_on:
            latency_s = time.perf_counter() - started_s
            self._metrics.add(
                build_metrics_event(call, response.status, rejection, latency_s, response.content_length or 0)
            )
        return response

    async def _answer(self, call: Call) -> web.StreamResponse | Rejection:
        snapshot = self._refresh_snapshot()
        path, question, query = call.request.raw_path.partition("?")
        route = self._router.find(call.method, path)
        call.product = route.product
        if isinstance(route, RouteNotFound):
            return Rejection(route.fault)
        call.template = route.resource.target
        rejection = check_availability(route.product, call.request.scheme)
        if rejection is not None:
            return rejection
        if isinstance(route.product, GatewayMcpServer):
            answer = await self._mcp.answer(call, route.product, route.resource, self._router, snapshot)
            if not isinstance(answer, Rejection):
                answer.headers["activityid"] = call.activity_id
            return answer
        assert isinstance(route.product, GatewayApi)
        return await self._forward(call, route.product, route, question + query, snapshot)

    async def _forward(
        self, call: Call, api: GatewayApi, route: RouteMatch, query: str, snapshot: Snapshot
    ) -> web.StreamResponse | Rejection:
        principal = self._admission.admit(call, api, route.resource, snapshot)
        if isinstance(principal, Rejection):
            return principal
        body = await read_body(call.request, self._max_request_bytes)
        if isinstance(body, Rejection):
            return body
        return await self._forwarder.forward(call, api, principal, route.path + query, body)

    def _refresh_snapshot(self) -> Snapshot:
        if self._snapshot is None or self._generation != self._store.generation:
            self._snapshot = take_snapshot(self._store.state)
            self._router = Router((*self._snapshot.apis, *self._snapshot.mcp_servers))
            self._generation = self._store.generation
        return self._snapshot
