"""GridAPI: the routes that it publishes and the application that serves it."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from ev_service.clock import Clock
from ev_service.history.reading_history import ReadingHistory
from ev_service.reading_service import create_reading_service
from ev_service.settings import load
from ev_service.sources import ServiceExtension, ServiceSettings, Source
from ev_service.telemetry import GridLoad
from ev_service.web import through_gateway
from grid_service import APICONTEXT
from grid_service.forecast_settings import ForecastSettings
from grid_service.load_forecasts import LoadForecastService
from grid_service.prices.service import PriceService
from grid_service.prices.settings import PriceSettings
from grid_service.sources import GridSourceSettings, create_source

DESCRIPTION = (
    "How much of what the site's grid connection may carry is drawn at this moment, and what energy over it costs."
)


def create_grid_routes(source: Source[GridLoad], clock: Clock) -> APIRouter:
    """Create the routes over one source."""
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


def create_extensions(
    settings: ServiceSettings, clock: Clock, history: ReadingHistory | None
) -> Sequence[ServiceExtension]:
    """Create what the service offers in addition to its reading: prices and forecasts of the load.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    forecasts = LoadForecastService(load(ForecastSettings), settings.site, history, settings.source.source, clock)
    return (PriceService(load(PriceSettings), settings.site, clock), forecasts)


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Make the application; settings and clock come from the environment where they are absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    return create_reading_service(
        name="GridAPI",
        description=DESCRIPTION,
        apicontext=APICONTEXT,
        source_settings=GridSourceSettings,
        create_source=create_source,
        routes=[create_grid_routes],
        settings=settings,
        clock=clock,
        create_extensions=create_extensions,
    )
