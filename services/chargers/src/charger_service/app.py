"""Composition of the charger service, and its application."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI, HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charger_service.audit_log import KillAuditLog, OrderAuditLog
from charger_service.chargers_api import charger_routes
from charger_service.charging_control import ChargingControl
from charger_service.configuration import Installation, read_installation
from charger_service.control_api import control_routes
from charger_service.drivers import Drivers
from charger_service.grid_signal_service import GridSignalConfig
from charger_service.grid_signal_sources import make_signal_sources
from charger_service.meter_source import make_meter_source
from charger_service.ocpp.central import CentralSystem
from charger_service.ocpp.metrics import OcppMetrics
from charger_service.ocpp.profiles import Conversion
from charger_service.ocpp.server import serving
from charger_service.protection import ProtectionConfig
from charger_service.settings import OcppSettings, ServiceSettings, load_settings
from charger_service.site_api import site_routes
from charger_service.store import StateStore
from ev_service.assertion import GatewayAssertion
from ev_service.clock import Clock, make_clock
from ev_service.logs import configure_logging
from ev_service.web import create_service

NAME = "SiteAPI"
DESCRIPTION = (
    "What people operate at the site: the record of who stopped an application, when and why; the site's limit, "
    "departures of cars, and the override of all cars."
)
# Files of earlier versions, which are imported.
_KILLS_FILE = "kills.jsonl"
_ORDERS_FILE = "orders.jsonl"
# 32 steps and 64 changes of full length, and some more.
_BODY_BYTES = 128 << 10
# 1,000 limits with the longest identities.
_LIMITS_BYTES = 256 << 10

_logger = logging.getLogger(__name__)


class BodyLimit:
    """ASGI middleware that refuses long bodies before they fill the memory.

    It counts what arrives: Content-Length proves nothing, and WSO2 sends none.

    Args:
        app: the application behind it.
        most_bytes: longest body [bytes].
        longer: longest body by path, where that is another [bytes].
    """

    def __init__(self, app: ASGIApp, most_bytes: int, longer: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._longer = longer or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; stop reading its body where it gets too long."""
        arrived = 0
        most_bytes = self._longer.get(scope.get("path", ""), self._most_bytes)

        async def count_bytes() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > most_bytes:
                # FastAPI passes this on to the handler that answers problem+json.
                raise HTTPException(413, f"a body may have {most_bytes} bytes")
            return message

        await self._app(scope, count_bytes, send)


def create_app(settings: ServiceSettings | None = None, clock: Clock | None = None) -> FastAPI:
    """Build the application; settings and clock come from the environment where they are absent.

    Raises:
        ConfigurationError: a setting, or a file that one names, cannot be used.
    """
    if settings is None:
        settings = load_settings()
        configure_logging(NAME, settings.run.log_level)
    clock = clock or make_clock(settings.run.sim_clock_file)
    folder, certificate = settings.chargers.state_dir, settings.run.gateway_cert_file
    installation = read_installation(settings.chargers.file, settings.site.phases)
    store = StateStore(folder, timedelta(days=settings.chargers.sessions_kept_days))
    kills = KillAuditLog(store, clock.now, folder and folder / _KILLS_FILE)
    orders = OrderAuditLog(store, clock.now, folder and folder / _ORDERS_FILE)
    drivers = Drivers(settings.chargers.tokens_file, folder)
    source = make_meter_source(settings.meter, settings.site, clock)
    protection = ProtectionConfig(source, settings.meter, settings.protection, orders)
    signal = GridSignalConfig(make_signal_sources(settings.grid_signal, clock), settings.grid_signal.rules(), orders)
    control = ChargingControl(installation, settings.site, settings.chargers, store, clock, protection, drivers, signal)
    if certificate is None:
        _logger.warning("answers anyone who reaches it: GATEWAY_CERT_FILE is not set")

    async def health() -> dict[str, str | None]:
        errors = {"record": kills.write_error(), "orders": orders.write_error(), "state": store.write_error()}
        return errors | {"tokens": drivers.read_error(), "meter": control.protection.health_error()}

    app = create_service(
        name=NAME,
        description=DESCRIPTION,
        clock=clock,
        health=health,
        warnings=lambda: {"tls": _warn_of_certificate(app), "grid_signal": control.grid_signal.warning()},
        assertion=None if certificate is None else GatewayAssertion.from_file(certificate, clock),
        lifespan=_lifespan(installation, control, store, settings.ocpp),
    )
    control.register_metrics(app.state.registry)
    app.state.central = _central(control, clock, OcppMetrics(app.state.registry))
    control.attach(app.state.central)
    app.add_middleware(BodyLimit, most_bytes=_BODY_BYTES, longer={"/limits": _LIMITS_BYTES})
    app.include_router(site_routes(kills, control.operator_service(orders), control.history))
    app.include_router(charger_routes(control.views, control.history, control.session_forecasting))
    app.include_router(control_routes(control.limit_service))
    return app


def _lifespan(
    installation: Installation, control: ChargingControl, store: StateStore, settings: OcppSettings
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Supervise limits and accept chargers for as long as the service runs."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        passwords = {charger.charger_id: charger.password_sha256 for charger in installation.chargers}
        async with AsyncExitStack() as stack:
            stack.callback(store.close)
            await stack.enter_async_context(control.running())
            if passwords:
                opened = serving(app.state.central, passwords, settings)
                app.state.ocpp_ports = await stack.enter_async_context(opened)
            yield

    return lifespan


def _warn_of_certificate(app: FastAPI) -> str | None:
    """Report an error or the coming expiry of the certificate of the TLS port.

    It is a warning, because the service continues: connected chargers stay, and people can still stop them.
    """
    certificate = app.state.central.metrics.certificate
    return None if certificate is None else certificate.health_error() or certificate.warning()


def _central(control: ChargingControl, clock: Clock, metrics: OcppMetrics) -> CentralSystem:
    site = control.site
    evses = {charger_id: tuple(evse_id for _, evse_id in keys) for charger_id, keys in site.keys_of.items()}
    voltage_v = site.rules.settings.voltage_v
    conversions = {key: Conversion(voltage_v, len(wiring.phases)) for key, wiring in site.wirings.items()}
    return CentralSystem(
        evses,
        control.events,
        control.numbers,
        clock,
        metrics,
        conversions=conversions,
        known=site.known_methods,
    )
