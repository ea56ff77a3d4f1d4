"""The charger service, put together here and only here."""

import logging

from fastapi import FastAPI

from charger_service.api import site_routes
from charger_service.body_limit import BodyLimit
from charger_service.lines import LinesInFile, LinesInMemory
from charger_service.record import KillRecord
from charger_service.settings import ChargerSettings, ServiceSettings
from ev_service.assertion import GatewayAssertion
from ev_service.clock import Clock, make_clock
from ev_service.logs import configure_logging
from ev_service.settings import RunSettings, load
from ev_service.web import create_service

NAME = "SiteAPI"
DESCRIPTION = "What people operate at the site: the record of who stopped an application, when and why."
FILE = "kills.jsonl"
# 32 steps and 64 changes of full length, and some more.
_BODY_BYTES = 128 << 10

_logger = logging.getLogger(__name__)


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Make the application; settings and clock come from the environment where they are absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings is None:
        settings = ServiceSettings(load(ChargerSettings), load(RunSettings))
        configure_logging(NAME, settings.run.log_level)
    clock = clock or make_clock(settings.run.sim_clock_file)
    folder, certificate = settings.chargers.state_dir, settings.run.gateway_cert_file
    record = KillRecord(LinesInMemory() if folder is None else LinesInFile(folder / FILE), clock.now)
    if certificate is None:
        _logger.warning("answers anyone who reaches it: GATEWAY_CERT_FILE is not set")
    app = create_service(
        name=NAME,
        description=DESCRIPTION,
        clock=clock,
        health=lambda: {"record": record.obstacle()},
        assertion=None if certificate is None else GatewayAssertion.from_file(certificate, clock),
    )
    app.add_middleware(BodyLimit, most_bytes=_BODY_BYTES)
    app.include_router(site_routes(record))
    return app
