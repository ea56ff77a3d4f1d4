"""The grid service, put together here and only here."""

from fastapi import FastAPI

from ev_service.clock import Clock, make_clock
from ev_service.logs import configure_logging
from ev_service.sources import ServiceSettings, create_reading_service, load_service_settings
from grid_service.adapters import make_source
from grid_service.api import grid_routes
from grid_service.settings import GridSourceSettings

DESCRIPTION = "How much of what the site's grid connection may carry is drawn at this moment."


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Make the application.

    Args:
        settings: read from the environment where absent; the process then logs as JSON.
        clock: the run's clock, made from the settings where absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings is None:
        settings = load_service_settings(GridSourceSettings)
        configure_logging("grid-service", settings.run.log_level)
    clock = clock or make_clock(settings.run.sim_clock_file)
    source = make_source(settings)
    app = create_reading_service(name="GridAPI", description=DESCRIPTION, source=source, clock=clock, run=settings.run)
    app.include_router(grid_routes(source, clock))
    return app
