"""Composition of the control of charging, without the connections to chargers."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from charger_service.audit_log import OrderAuditLog
from charger_service.autostart import Autostart
from charger_service.command_queue import CommandQueue
from charger_service.configuration import Installation
from charger_service.drivers import Drivers
from charger_service.event_handler import ChargerEventHandler, PersistedTransactionIds
from charger_service.grid_signal import GridSignals
from charger_service.grid_signal_service import GridSignalConfig, GridSignalService
from charger_service.history import SessionHistory
from charger_service.limit_allocator import LimitAllocator
from charger_service.limit_service import LimitService, Validity
from charger_service.limit_supervisor import LimitSupervisor
from charger_service.metrics import ChargerMetrics
from charger_service.operator_service import OperatorService
from charger_service.override_service import OverrideService
from charger_service.persistence import StateWriter, restore
from charger_service.ports import ChargePoints
from charger_service.protection import Protection, ProtectionConfig
from charger_service.schema_violations import SchemaViolationLog
from charger_service.session_forecasting import SessionForecasting
from charger_service.settings import ChargerSettings
from charger_service.site import ChargingSite, Rules
from charger_service.store import StateStore
from charger_service.views import ChargerViews
from ev_service.clock import Clock, read_clock
from ev_service.settings import SiteSettings
from ev_service.tasks import run_in_background


class ChargingControl:
    """The parts of the control of charging; `attach` is called before they are used.

    Args:
        installation: the site's chargers.
        site_settings: the site.
        settings: how limits live.
        store: the persisted state, which is read here.
        clock: the run's clock.
        protection: the connection's meter, and when cars are lowered; None: there is no meter.
        drivers: who may charge; None: everybody.
        signal: sources of the grid operator's signal; None: there are none.
    """

    def __init__(
        self,
        installation: Installation,
        site_settings: SiteSettings,
        settings: ChargerSettings,
        store: StateStore,
        clock: Clock,
        protection: ProtectionConfig | None = None,
        drivers: Drivers | None = None,
        signal: GridSignalConfig | None = None,
    ) -> None:
        state, signal = store.load(), signal or GridSignalConfig()
        longest_s = settings.longest_validity_s
        self.site = ChargingSite(
            installation,
            Rules(site_settings, settings.building_kw, settings.fallback_a, settings.default_mode),
            signals=GridSignals([source.name for source in signal.sources], signal.rules),
        )
        restore(self.site, state, read_clock(clock))
        self.metrics = ChargerMetrics()
        self.drivers = drivers or Drivers()
        self.writer = StateWriter(self.site, store, clock)
        self.queue = CommandQueue(self.site, clock)
        self.protection = Protection(self.site, self.queue, clock, protection or ProtectionConfig())
        self.allocator = LimitAllocator(self.site, self.queue, self.writer, self.protection, settings.answer_s)
        self.grid_signal = GridSignalService(self.site, self.allocator, self.writer, clock, signal)
        self.overrides = OverrideService(self.site, self.allocator, self.queue, clock, longest_s)
        self.autostart = Autostart(self.site, self.queue, self.drivers)
        self.violations = SchemaViolationLog(clock)
        self.events = ChargerEventHandler(
            self.site,
            self.queue,
            self.overrides,
            self.writer,
            self.drivers,
            self.autostart,
            clock,
            self.metrics.overdraws.inc,
            self.violations,
        )
        self.numbers = PersistedTransactionIds(self.writer, clock, state)
        validity = Validity(settings.shortest_validity_s, longest_s, settings.lease_s)
        self.limit_service = LimitService(self.site, self.allocator, clock, validity, self.metrics.count_limits)
        self.session_forecasting = SessionForecasting(self.site, store, clock)
        self._answer_s = settings.answer_s
        self._clock = clock

    def attach(self, points: ChargePoints) -> None:
        """Set the connection to the chargers, and build what needs it."""
        self.queue.attach(points)
        self.views = ChargerViews(self.site, self._clock, points.last_seen, self.violations)
        self.history = SessionHistory(self.site, self.views, self.writer.store, self.drivers, self._clock)
        self.supervisor = LimitSupervisor(
            self.site,
            self.queue,
            self.allocator,
            self.overrides,
            self.autostart,
            self.writer,
            points,
            self._clock,
            self.metrics,
        )

    def operator_service(self, record: OrderAuditLog) -> OperatorService:
        """Build the service that executes operators' orders."""
        return OperatorService(
            self.site,
            self.allocator,
            self.overrides,
            self.queue,
            self.writer,
            record,
            self._clock,
            self._answer_s,
        )

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Register the metrics of all parts."""
        self.metrics.register(registry, self.site, self.writer.store)
        for collector in (*self.protection.metrics(), *self.grid_signal.metrics()):
            registry.register(collector)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Supervise limits; at the end stop sending, and persist the rest."""
        try:
            async with (
                self.protection.reading(),
                run_in_background(self.protection.run()),
                run_in_background(self.grid_signal.run()),
                run_in_background(self.supervisor.run()),
                run_in_background(self.session_forecasting.run()),
            ):
                yield
        finally:
            await self.queue.stop()
            await self.writer.write()
