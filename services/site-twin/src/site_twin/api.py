"""The routes of the site twin."""

from fastapi import APIRouter

from ev_service.settings import SiteSettings
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus
from site_twin.readings import Readings
from site_twin.site import TwinSite
from site_twin.views import FaultOrder, Faults, FaultView, SiteView, fault_view, site_view


def reading_routes(site: TwinSite, readings: Readings) -> APIRouter:
    """Make the routes that the simulated sources of the services ask."""
    router = APIRouter(tags=["readings"])

    @router.get("/solar-status", operation_id="getTwinSolarStatus", response_model_exclude_none=True)
    async def get_solar_status() -> SolarStatus:
        """What the panels give now."""
        return readings.solar_status(site.powers())

    @router.get("/battery-status", operation_id="getTwinBatteryStatus")
    async def get_battery_status() -> BatteryStatus:
        """How full the battery is now, and what it does."""
        return readings.battery_status(site.powers())

    @router.get("/grid-load", operation_id="getTwinGridLoad")
    async def get_grid_load() -> GridLoad:
        """What the connection carries now, charging included."""
        return readings.grid_load(site.powers())

    return router


def site_routes(site: TwinSite, settings: SiteSettings) -> APIRouter:
    """Make the routes for whoever looks at the whole site, or lets a device fail."""
    router = APIRouter(tags=["site"])

    @router.get("/site", operation_id="getTwinSite")
    async def get_site() -> SiteView:
        """The whole site now: powers, cars, chargers, faults."""
        return site_view(site, settings)

    @router.get("/faults", operation_id="listFaults")
    async def get_faults() -> Faults:
        """The faults in force, and those that can be ordered."""
        board = site.faults_ordered
        in_force = tuple(map(fault_view, board.in_force(site.now())))
        return Faults(in_force=in_force, kinds={device: dict(kinds) for device, kinds in board.kinds.items()})

    @router.put("/faults/{device}", operation_id="orderFault")
    async def put_fault(device: str, order: FaultOrder) -> FaultView:
        """Let a device fail from now on. The same kind again replaces the order before."""
        now = site.settle()
        return fault_view(site.faults_ordered.order(device, order.kind, now=now, minutes=order.minutes))

    @router.delete("/faults/{device}", operation_id="liftFaults", status_code=204)
    async def delete_faults(device: str) -> None:
        """End all faults of a device now."""
        site.settle()
        site.faults_ordered.lift(device)

    return router
