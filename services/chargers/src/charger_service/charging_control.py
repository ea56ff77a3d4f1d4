"""The half of the service that limits chargers, put together over whoever speaks with them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from charger_service.audit_log import OrderAuditLog
from charger_service.autostart import Autostart
from charger_service.command_queue import CommandQueue
from charger_service.configuration import Installation
from charger_service.drivers import Drivers
from charger_service.event_handler import ChargerEventHandler, Numbers
from charger_service.history import SessionHistory
from charger_service.limit_allocator import LimitAllocator
from charger_service.limit_service import LimitService, Validity
from charger_service.limit_supervisor import LimitSupervisor
from charger_service.metrics import ChargerMetrics
from charger_service.operator_service import OperatorService
from charger_service.override_service import OverrideService
from charger_service.persistence import StateWriter, restore
from charger_service.ports import ChargePoints
from charger_service.protection import Guarding, Protection
from charger_service.schema_violations import SchemaViolationLog
from charger_service.settings import ChargerSettings
from charger_service.site import ChargingSite, Rules
from charger_service.store import StateStore
from charger_service.views import ChargerViews
from ev_service.clock import Clock, read_clock
from ev_service.settings import SiteSettings
from ev_service.tasks import run_in_background


class ChargingControl:
    """Its parts. `attach` comes before anything is asked of them.

    Args:
        installation: the site's chargers.
        site_settings: the site.
        settings: how limits live.
        store: what survives a restart; read here, once.
        clock: the run's clock.
        guarding: the connection's meter and what is done by it; None: there is no meter.
        drivers: who may charge; None: everybody.
    """

    def __init__(
        self,
        installation: Installation,
        site_settings: SiteSettings,
        settings: ChargerSettings,
        store: StateStore,
        clock: Clock,
        guarding: Guarding | None = None,
        drivers: Drivers | None = None,
    ) -> None:
        kept = store.load()
        longest_s = settings.longest_validity_s
        self.site = ChargingSite(installation, Rules(site_settings, settings.building_kw, settings.fallback_a))
        restore(self.site, kept, read_clock(clock))
        self.metrics = ChargerMetrics()
        self.drivers = drivers or Drivers()
        self.writer = StateWriter(self.site, store, clock)
        self.queue = CommandQueue(self.site, clock)
        self.protection = Protection(self.site, self.queue, clock, guarding or Guarding())
        self.allocator = LimitAllocator(self.site, self.queue, self.writer, self.protection, settings.answer_s)
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
        self.numbers = Numbers(self.writer, clock, kept)
        validity = Validity(settings.shortest_validity_s, longest_s, settings.lease_s)
        self.limit_service = LimitService(self.site, self.allocator, clock, validity, self.metrics.count_limits)
        self._answer_s = settings.answer_s
        self._clock = clock

    def attach(self, points: ChargePoints) -> None:
        """Say who speaks with the chargers."""
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
        """What carries out operators' orders, recorded there."""
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
        """Make what is counted here part of what is answered at /metrics."""
        self.metrics.register(registry, self.site, self.writer.store)
        for collector in self.protection.metrics():
            registry.register(collector)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Watch over limits; at the end send nothing more, and write down what is left."""
        try:
            async with (
                self.protection.reading(),
                run_in_background(self.protection.run()),
                run_in_background(self.supervisor.run()),
            ):
                yield
        finally:
            await self.queue.stop()
            await self.writer.write()
