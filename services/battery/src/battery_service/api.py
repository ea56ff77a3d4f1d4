"""The route that BatteryAPI publishes."""

from fastapi import APIRouter

from ev_service.clock import Clock
from ev_service.sources import Source
from ev_service.telemetry import BatteryStatus
from ev_service.web import through_gateway

APICONTEXT = "/battery/1.0.0"


def battery_routes(source: Source[BatteryStatus], clock: Clock) -> APIRouter:
    """Make the route over one source."""
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
