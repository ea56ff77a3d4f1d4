"""The route that SolarAPI publishes."""

from fastapi import APIRouter

from ev_service.clock import Clock
from ev_service.sources import Source
from ev_service.telemetry import SolarStatus
from ev_service.web import through_gateway

APICONTEXT = "/solar/1.0.0"


def solar_routes(source: Source[SolarStatus], clock: Clock) -> APIRouter:
    """Make the route over one source."""
    router = APIRouter(dependencies=[through_gateway(APICONTEXT)], tags=["solar"])

    @router.get(
        "/solar-status",
        operation_id="getSolarStatus",
        summary="What do the solar panels give now?",
        response_model_exclude_none=True,
    )
    async def get_solar_status() -> SolarStatus:
        """AC power of the panels now [kW] beside their rated power [kWp].

        `generation_kw` over `capacity_kwp` says how strong the sun is: 0 at night, about 0.8 at best. The value holds
        at `timestamp` (UTC). Asking more often than every few seconds tells nothing new.
        """
        return await source.read(clock.now())

    return router
