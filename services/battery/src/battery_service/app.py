"""BatteryAPI: the route that it publishes and the application that serves it."""

from fastapi import APIRouter, FastAPI

from battery_service.sources import BatterySourceSettings, create_source
from ev_service.clock import Clock
from ev_service.reading_service import create_reading_service
from ev_service.sources import ServiceSettings, Source
from ev_service.telemetry import BatteryStatus
from ev_service.web import through_gateway

APICONTEXT = "/battery/1.0.0"
DESCRIPTION = "How full the stationary battery of the site is, and whether it charges or discharges."


def create_battery_routes(source: Source[BatteryStatus], clock: Clock) -> APIRouter:
    """Create the routes over one source."""
    router = APIRouter(dependencies=[through_gateway(APICONTEXT)], tags=["battery"])

    @router.get(
        "/battery-status",
        operation_id="getBatteryStatus",
        summary="How full is the stationary battery?",
        response_model_exclude_none=True,
    )
    async def get_battery_status() -> BatteryStatus:
        """State of charge of the stationary battery [%], its capacity [kWh] and its power [kW].

        `active_power_kw` is positive while it charges and negative while it discharges. The value holds at
        `timestamp` (UTC). The battery charges from the sun and discharges in the evening by itself.
        """
        return await source.read(clock.now())

    return router


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Make the application; settings and clock come from the environment where they are absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    return create_reading_service(
        name="BatteryAPI",
        description=DESCRIPTION,
        apicontext=APICONTEXT,
        source_settings=BatterySourceSettings,
        create_source=create_source,
        routes=[create_battery_routes],
        settings=settings,
        clock=clock,
    )
