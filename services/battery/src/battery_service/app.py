"""The battery service, put together here and only here."""

from fastapi import FastAPI

from battery_service.adapters import make_source
from battery_service.api import battery_routes
from battery_service.settings import BatterySourceSettings
from ev_service.clock import Clock
from ev_service.sources import ServiceSettings, create_reading_service

DESCRIPTION = "How full the stationary battery of the site is, and whether it charges or discharges."


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Make the application; settings and clock come from the environment where they are absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    return create_reading_service(
        name="BatteryAPI",
        description=DESCRIPTION,
        source_settings=BatterySourceSettings,
        make_source=make_source,
        make_routes=battery_routes,
        settings=settings,
        clock=clock,
    )
