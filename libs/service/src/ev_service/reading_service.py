"""The application of a service that answers readings and keeps them: what solar, battery and grid have in common."""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from fastapi import APIRouter, FastAPI

from ev_service.assertion import GatewayAssertion
from ev_service.clock import Clock, make_clock
from ev_service.history.reading_history import ReadingHistory
from ev_service.history.service import HistoryService
from ev_service.logs import configure_logging
from ev_service.sources import (
    ServiceExtension,
    ServiceSettings,
    Source,
    SourceSettings,
    load_service_settings,
    source_health,
)
from ev_service.telemetry import Reading
from ev_service.web import create_service

R = TypeVar("R", bound=Reading)

ExtensionFactory = Callable[[ServiceSettings, Clock, ReadingHistory | None], Sequence[ServiceExtension]]
"""Creates extensions from settings, the run's clock, and the readings that are kept."""

_logger = logging.getLogger(__name__)


def create_reading_service(
    *,
    name: str,
    description: str,
    apicontext: str,
    source_settings: type[SourceSettings],
    create_source: Callable[[ServiceSettings, Clock], Source[R]],
    routes: Sequence[Callable[[Source[R], Clock], APIRouter]],
    settings: ServiceSettings | None,
    clock: Clock | None,
    create_extensions: ExtensionFactory = lambda settings, clock, history: (),
) -> FastAPI:
    """Make the application of a service that answers readings, its health that of its source.

    Args:
        name: name of the service in OpenAPI, logs and metrics.
        description: what it is for.
        apicontext: context with version of the API that publishes it, such as `/grid/1.0.0`.
        source_settings: the service's own class, which carries its prefix.
        create_source: creates the source of its readings.
        routes: each creates the routes of one published resource over the source.
        settings: read from the environment where absent; the process then logs as JSON.
        clock: the run's clock, made from the settings where absent.
        create_extensions: creates what the service offers in addition to readings and their history.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings is None:
        settings = load_service_settings(source_settings)
        configure_logging(name, settings.run.log_level)
    clock = clock or make_clock(settings.run.sim_clock_file)
    source = create_source(settings, clock)
    certificate = settings.run.gateway_cert_file
    if certificate is None:
        _logger.warning("answers anyone who reaches it: GATEWAY_CERT_FILE is not set")
    history = HistoryService(settings, source, clock, apicontext)
    extensions = (history, *create_extensions(settings, clock, history.history))
    app = create_service(
        name=name,
        description=description,
        clock=clock,
        health=source_health(source, clock),
        assertion=None if certificate is None else GatewayAssertion.from_file(certificate, clock),
        lifespan=_lifespan([source, *extensions]),
        warnings=lambda: {part: reason for one in extensions for part, reason in one.warnings().items()},
    )
    for metric in (*source.metrics(), *history.metrics()):
        app.state.registry.register(metric)
    for create_routes in routes:
        app.include_router(create_routes(source, clock))
    for extension in extensions:
        app.include_router(extension.create_routes())
    return app


def _lifespan(
    parts: Sequence[Source[Reading] | ServiceExtension],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for part in parts:
                await stack.enter_async_context(part.running())
            yield

    return lifespan
