"""The solar service, put together here and only here."""

from fastapi import FastAPI

from ev_service.clock import Clock
from ev_service.sources import ServiceSettings, create_reading_service
from solar_service.adapters import make_source
from solar_service.api import solar_routes
from solar_service.settings import SolarSourceSettings

DESCRIPTION = "What the solar panels of the site give at this moment, beside what they could give at most."


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Make the application; settings and clock come from the environment where they are absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    return create_reading_service(
        name="SolarAPI",
        description=DESCRIPTION,
        source_settings=SolarSourceSettings,
        make_source=make_source,
        make_routes=solar_routes,
        settings=settings,
        clock=clock,
    )
