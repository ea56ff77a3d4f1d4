"""The grid service, put together here and only here."""

from fastapi import FastAPI

from ev_service.clock import Clock
from ev_service.sources import ServiceSettings, create_reading_service
from grid_service.adapters import make_source
from grid_service.api import grid_routes
from grid_service.settings import GridSourceSettings

DESCRIPTION = "How much of what the site's grid connection may carry is drawn at this moment."


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Make the application; settings and clock come from the environment where they are absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    return create_reading_service(
        name="GridAPI",
        description=DESCRIPTION,
        source_settings=GridSourceSettings,
        make_source=make_source,
        make_routes=grid_routes,
        settings=settings,
        clock=clock,
    )
