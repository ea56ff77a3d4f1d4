"""Prometheus metrics of chargers and limits. No label names a charger or a car: their number has no bound."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from charger_service.limit_state import EvseLimitState
from charger_service.metering import Meter
from charger_service.site import ChargingSite
from charger_service.store import StateStore
from ev_service.charging import LimitOutcome


class ChargerMetrics:
    """Counters of events, and gauges that are read from the site."""

    def __init__(self) -> None:
        self._limits = Counter(
            "charger_limits", "Limits asked for, by outcome and reason", ["outcome", "limited_by"], registry=None
        )
        self.overdraws = Counter("charger_overdraws", "Times a car began to draw more than it may", registry=None)
        self.lapses = Counter("charger_limit_lapses", "Limits that lapsed to their fallback", registry=None)
        self.trims = Counter(
            "charger_limit_trims", "Limits lowered by this service to stay within the envelope", registry=None
        )

    def count_limits(self, outcome: LimitOutcome, limited_by: str, number: int) -> None:
        """Count the results of one call."""
        self._limits.labels(outcome, limited_by).inc(number)

    def register(self, registry: CollectorRegistry, site: ChargingSite, store: StateStore) -> None:
        """Register all of them."""
        for counter in (self._limits, self.overdraws, self.lapses, self.trims):
            registry.register(counter)
        for name, meaning, value in _gauges(site, store):
            Gauge(name, meaning, registry=registry).set_function(value)


def _gauges(site: ChargingSite, store: StateStore) -> list[tuple[str, str, Callable[[], float]]]:
    def meters() -> list[Meter]:
        return [facts.meter for facts in site.evses.values() if facts.meter is not None]

    def limit_states(counts: Callable[[EvseLimitState], bool]) -> Callable[[], float]:
        return lambda: float(sum(map(counts, site.limit_states.values())))

    return [
        ("chargers_known", "Chargers of the site", lambda: len(site.chargers)),
        ("chargers_online", "Chargers connected", lambda: sum(one.is_connected for one in site.chargers.values())),
        ("charger_sessions", "Sessions running", lambda: sum(one.session is not None for one in site.evses.values())),
        (
            "charger_power_kw",
            "Newest power of all cars [kW]",
            lambda: sum(meter.power_kw for meter in meters()),
        ),
        ("charger_most_a", "Highest that all cars may draw on one phase [A]", lambda: max(site.sum_loads().phase_a)),
        ("charger_site_limit_kw", "Limit of the site in force [kW]", lambda: site.site_limit_kw),
        ("charger_override", "Whether an operator commands", lambda: float(site.override is not None)),
        ("charger_overdrawing", "Cars that draw more than they may", limit_states(lambda one: one.is_overdrawing)),
        ("charger_unknown", "EVSEs whose limit is not known", limit_states(lambda one: one.is_unknown)),
        (
            "charger_limits_unconfirmed",
            "Newest limits that no charger confirmed",
            limit_states(lambda one: one.wanted is not None and not one.is_confirmed),
        ),
        ("charger_state_failures", "Times that state could not be kept", lambda: float(store.failures)),
    ]
