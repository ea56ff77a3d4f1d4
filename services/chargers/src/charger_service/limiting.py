"""The half of the service that limits chargers, put together over whoever speaks with them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from charger_service.applying import Applying
from charger_service.autostart import Autostart
from charger_service.commanding import Commanding, Validity
from charger_service.configuration import Installation
from charger_service.drivers import Drivers
from charger_service.history import SessionHistory
from charger_service.keeping import Keeper, restore
from charger_service.metrics import ChargerMetrics
from charger_service.offences import Offences
from charger_service.operating import Operating
from charger_service.order_record import OrderRecord
from charger_service.overriding import Overriding
from charger_service.ports import ChargePoints
from charger_service.protection import Guarding, Protection
from charger_service.reports import Numbers, Reports
from charger_service.sending import Sending
from charger_service.settings import ChargerSettings
from charger_service.site import Rules, Site
from charger_service.store import Store
from charger_service.views import Views
from charger_service.watch import Watch
from ev_service.clock import Clock, read_clock
from ev_service.settings import SiteSettings
from ev_service.tasks import run_in_background


class Limiting:
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
        store: Store,
        clock: Clock,
        guarding: Guarding | None = None,
        drivers: Drivers | None = None,
    ) -> None:
        kept = store.load()
        longest_s = settings.longest_validity_s
        self.site = Site(installation, Rules(site_settings, settings.building_kw, settings.fallback_a))
        restore(self.site, kept, read_clock(clock))
        self.metrics = ChargerMetrics()
        self.drivers = drivers or Drivers()
        self.keeper = Keeper(self.site, store, clock)
        self.sending = Sending(self.site, clock)
        self.protection = Protection(self.site, self.sending, clock, guarding or Guarding())
        self.applying = Applying(self.site, self.sending, self.keeper, self.protection, settings.answer_s)
        self.overriding = Overriding(self.site, self.applying, self.sending, clock, longest_s)
        self.autostart = Autostart(self.site, self.sending, self.drivers)
        self.offences = Offences(clock)
        self.reports = Reports(
            self.site,
            self.sending,
            self.overriding,
            self.keeper,
            self.drivers,
            self.autostart,
            clock,
            self.metrics.overdraws.inc,
            self.offences,
        )
        self.numbers = Numbers(self.keeper, clock, kept)
        validity = Validity(settings.shortest_validity_s, longest_s, settings.lease_s)
        self.commanding = Commanding(self.site, self.applying, clock, validity, self.metrics.count_limits)
        self._answer_s = settings.answer_s
        self._clock = clock

    def attach(self, points: ChargePoints) -> None:
        """Say who speaks with the chargers."""
        self.sending.attach(points)
        self.views = Views(self.site, self._clock, points.last_seen, self.offences)
        self.history = SessionHistory(self.site, self.views, self.keeper.store, self.drivers, self._clock)
        self.watch = Watch(
            self.site,
            self.sending,
            self.applying,
            self.overriding,
            self.autostart,
            self.keeper,
            points,
            self._clock,
            self.metrics,
        )

    def operating(self, record: OrderRecord) -> Operating:
        """What carries out operators' orders, recorded there."""
        return Operating(
            self.site,
            self.applying,
            self.overriding,
            self.sending,
            self.keeper,
            record,
            self._clock,
            self._answer_s,
        )

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Make what is counted here part of what is answered at /metrics."""
        self.metrics.register(registry, self.site, self.keeper.store)
        for collector in self.protection.metrics():
            registry.register(collector)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Watch over limits; at the end send nothing more, and write down what is left."""
        try:
            async with (
                self.protection.reading(),
                run_in_background(self.protection.run()),
                run_in_background(self.watch.run()),
            ):
                yield
        finally:
            await self.sending.stop()
            await self.keeper.keep()
