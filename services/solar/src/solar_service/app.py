"""The solar service, put together here and only here."""

from fastapi import FastAPI

from ev_service.clock import Clock, make_clock
from ev_service.logs import configure_logging
from ev_service.sources import ServiceSettings, create_reading_service, load_service_settings
from solar_service.adapters import make_source
from solar_service.api import solar_routes
from solar_service.settings import SolarSourceSettings

DESCRIPTION = "What the solar panels of the site give at this moment, beside what they could give at most."


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Make the application.

    Args:
        settings: read from the environment where absent; the process then logs as JSON.
        clock: the run's clock, made from the settings where absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings is None:
        settings = load_service_settings(SolarSourceSettings)
        configure_logging("solar-service", settings.run.log_level)
    clock = clock or make_clock(settings.run.sim_clock_file)
    source = make_source(settings)
    app = create_reading_service(name="SolarAPI", description=DESCRIPTION, source=source, clock=clock, run=settings.run)
    app.include_router(solar_routes(source, clock))
    return app
