"""SolarAPI: the route that it publishes and the application that serves it."""

from fastapi import APIRouter, FastAPI

from ev_service.clock import Clock
from ev_service.reading_service import create_reading_service
from ev_service.sources import ServiceSettings, Source
from ev_service.telemetry import SolarStatus
from ev_service.web import through_gateway
from solar_service.sources import SolarSourceSettings, create_source

APICONTEXT = "/solar/1.0.0"
DESCRIPTION = "What the solar panels of the site give at this moment, beside what they could give at most."


def create_solar_routes(source: Source[SolarStatus], clock: Clock) -> APIRouter:
    """Create the routes over one source."""
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


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Make the application; settings and clock come from the environment where they are absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    return create_reading_service(
        name="SolarAPI",
        description=DESCRIPTION,
        apicontext=APICONTEXT,
        source_settings=SolarSourceSettings,
        create_source=create_source,
        routes=[create_solar_routes],
        settings=settings,
        clock=clock,
    )
