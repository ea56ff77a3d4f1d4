"""The service factory: what all HTTP services have in common.

Health, liveness, metrics, problem+json for every error, and the check of the gateway's assertion.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import Lifespan

from ev_service.assertion import HEADER, Caller, GatewayAssertion
from ev_service.clock import Clock
from ev_service.connections import ListenerSettings
from ev_service.errors import AssertionRefusedError, EvError
from ev_service.http_protocol import UnprovenQueue, prove_connection
from ev_service.middleware import BrowserRules, HttpObservation, Problem, problem
from ev_service.openapi import OPERATIONS_TAG, as_openapi_3_0, with_problems
from ev_service.settings import load
from ev_service.units import utc_text

T = TypeVar("T")

Warnings = Callable[[], Mapping[str, str | None]]
"""Returns the warning of each part, None without one; the service works in spite of them."""

HealthCheck = Callable[[], Awaitable[Mapping[str, str | None]]]
"""Returns the error of each part in one sentence, None if it has none."""


def create_service(
    *,
    name: str,
    description: str,
    clock: Clock,
    health: HealthCheck,
    assertion: GatewayAssertion | None,
    version: str = "1.0.0",
    lifespan: Lifespan[FastAPI] | None = None,
    warnings: Warnings | None = None,
) -> FastAPI:
    """Create the FastAPI application of a service; the caller adds its routes.

    Args:
        name: name of the service in logs, metrics and its OpenAPI title.
        description: what it is for, for people and agents that read its OpenAPI.
        clock: the run's clock.
        health: asked by `GET /health`; every part None means 200, else 503 with the failing parts.
        assertion: verifies the gateway's assertion; None answers anyone.
        version: version of the API.
        lifespan: start-up and shutdown of the service.
        warnings: reported by `GET /health` in addition to those of the assertion; they do not change its status.
    """
    app = FastAPI(title=name, description=description, version=version, lifespan=lifespan, openapi_url=None)
    observed = HttpObservation(name)
    app.state.assertion, app.state.registry = assertion, observed.registry
    app.add_middleware(UnprovenQueue)
    app.add_middleware(
        BrowserRules, allowed_hosts=load(ListenerSettings).host_names, demands_assertion=assertion is not None
    )
    app.add_middleware(observed.middleware)
    every_warning = [source for source in (assertion and assertion.warnings, warnings) if source is not None]
    app.include_router(_operations(name, clock, health, observed, every_warning))
    app.add_exception_handler(EvError, _on_ev_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_error)
    write_3_1 = app.openapi
    written: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not written:
            written.update(as_openapi_3_0(with_problems(write_3_1(), Problem.model_json_schema())))
        return written

    app.openapi = openapi
    app.include_router(_definition(app))
    return app


def through_gateway(apicontext: str) -> Any:
    """Route dependency: the call must have the gateway's assertion for this API, if the service requires one.

    As a parameter of a route it is the `Caller` that the gateway names; None if the service requires no assertion.

    Args:
        apicontext: context with version that the route belongs to, e.g. `/solar/1.0.0`.
    """

    # Not async for waiting: FastAPI would send a plain function to a thread, which costs more than the check.
    async def demand(request: Request) -> Caller | None:
        assertion: GatewayAssertion | None = request.app.state.assertion
        if assertion is None:
            return None
        caller = assertion.verify(request.headers.get(HEADER), apicontext)
        prove_connection(request)
        return caller

    return Depends(demand)


def _definition(app: FastAPI) -> APIRouter:
    # FastAPI's own route writes the text anew for every caller, and its /docs loads scripts from a third party.
    router = APIRouter(include_in_schema=False)
    text: list[str] = []

    @router.get("/openapi.json")
    async def get_definition() -> Response:
        if not text:
            text.append(json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")))
        return Response(text[0], media_type="application/json")

    return router


def _operations(
    name: str, clock: Clock, health: HealthCheck, observed: HttpObservation, warnings: Sequence[Warnings]
) -> APIRouter:
    router = APIRouter(tags=[OPERATIONS_TAG])

    @router.get("/health", operation_id="getHealth", summary="Can this service answer with fresh data?")
    async def get_health() -> JSONResponse:
        """200 while every part is well, else 503 with the failing parts and their reasons; warnings in either case."""
        failing = _present(await health())
        warned = _present({part: reason for source in warnings for part, reason in source().items()})
        state = {"status": "unavailable" if failing else "ok", "service": name, "timestamp": utc_text(clock.now())}
        problems = _present({"failing": failing or None, "warnings": warned or None})
        return JSONResponse(state | problems, 503 if failing else 200)

    @router.get("/livez", operation_id="getLiveness", summary="Does this process serve?")
    async def get_liveness() -> dict[str, str]:
        """200 while the process serves, whatever its data."""
        return {"status": "ok"}

    @router.get("/metrics", operation_id="getMetrics", summary="Metrics for Prometheus", response_class=Response)
    async def get_metrics() -> Response:
        """Counters and durations in Prometheus' text format."""
        return Response(generate_latest(observed.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _present(parts: Mapping[str, T | None]) -> dict[str, T]:
    return {part: value for part, value in parts.items() if value is not None}


async def _on_ev_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, EvError)
    headers = {"WWW-Authenticate": HEADER} if isinstance(error, AssertionRefusedError) else {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return problem(error.http_status, error.code, error.message, headers)


async def _on_invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return problem(422, "invalid_request", wrong)


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, code, str(error.detail), error.headers)
