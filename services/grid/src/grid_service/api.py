"""The route that GridAPI publishes."""

from fastapi import APIRouter

from ev_service.clock import Clock
from ev_service.sources import Source
from ev_service.telemetry import GridLoad
from ev_service.web import through_gateway

APICONTEXT = "/grid/1.0.0"


def grid_routes(source: Source[GridLoad], clock: Clock) -> APIRouter:
    """Make the route over one source."""
    router = APIRouter(dependencies=[through_gateway(APICONTEXT)], tags=["grid"])

    @router.get(
        "/grid-load",
        operation_id="getGridLoad",
        summary="How loaded is the grid connection?",
        response_model_exclude_none=True,
    )
    async def get_grid_load() -> GridLoad:
        """Power drawn from the grid [kW] beside what the connection may carry [kW], and the one over the other [%].

        `load_percent` may pass 100. While the site gives power to the grid `load_kw` is 0 and `export_kw` is not.
        `includes_charging` says whether the load holds what the cars draw; with `false` their charging comes on top.
        """
        return await source.read(clock.now())

    return router
