"""State of the site in memory: reports of chargers, orders to them, and operators' orders in force.

Times come as arguments. Everything runs in one event loop.
"""

import logging
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from charger_service.configuration import Installation
from charger_service.envelope import (
    NOTHING,
    CurrentRequest,
    Currents,
    Envelope,
    EvseKey,
    EvseWiring,
    PhaseLoads,
    choose_fallbacks,
    compute_headroom,
    exceed_by,
)
from charger_service.evse_facts import ChargerFacts, ChargingSession, EvseFacts
from charger_service.grid_signal import GridSignals, SignalLimits
from charger_service.kill_audit import AuthenticatedCaller
from charger_service.limit_state import (
    PROTECTION,
    EvseLimitState,
    LimitOrder,
    compute_max_currents,
    compute_reserved_currents,
    draws_without_session,
)
from charger_service.metering import Meter, plausible_currents
from charger_service.ports import CommandStatus, KnownMethod, Quirks
from charger_service.quirks import KnownQuirk, find_quirks, quirks_of
from ev_service.charging import ChargingMode, EvseState, Override
from ev_service.charging_evidence import ConfirmedCharging
from ev_service.lifetimes import EarlierEnd, Instant, LaterEnd, Lifetime
from ev_service.settings import SiteSettings

_logger = logging.getLogger(__name__)


@contextmanager
def isolate_errors(work: str, key: EvseKey) -> Generator[None]:
    """Log an error in the block for one EVSE, so that a loop over all EVSEs continues with the others.

    Args:
        work: description of the block, for the log.
        key: the EVSE.
    """
    try:
        yield
    except Exception:
        fields = {"work": work, "charger_id": key[0], "evse_id": key[1]}
        _logger.exception("failed for one EVSE; the others are served", extra=fields)


NOT_ALLOWED = "not_allowed"
"""`limited_by` where the driver may not charge."""
SURELY_IDLE = frozenset({EvseState.AVAILABLE, EvseState.UNAVAILABLE, EvseState.FAULTED, EvseState.RESERVED})
"""States in which nobody charges."""


@dataclass(frozen=True, slots=True)
class ActiveOverride:
    """The operator's override in force."""

    override: Override
    reason: str
    proved: AuthenticatedCaller | None
    lifetime: Lifetime

    def as_shown(self, now: Instant) -> Override:
        """Return the order with the end that is expected by the clock as it is set now."""
        return self.override.model_copy(update={"until": self.lifetime.expected_end(now)})


def lifetime_of(override: Override) -> type[Lifetime]:
    """Choose the lifetime: an order that gives power ends once one clock reached its end, a stop once both did."""
    return EarlierEnd if override.charging_power_kw else LaterEnd


@dataclass(frozen=True, slots=True)
class Rules:
    """The service's settings of the site."""

    settings: SiteSettings
    building_kw: float | None = None
    """Highest expected load of the building [kW]; None: not known."""
    fallback_a: float = 6.0
    """Fallback per phase [A]."""
    default_mode: ChargingMode = ChargingMode.SMART
    """Mode of a session that begins."""


class DrawEvidence(Protocol):
    """Comparison of reported draws with the connection's meter."""

    def contradicts(self, key: EvseKey, meter: Meter) -> bool:
        """Return whether the connection's meter shows that the EVSE does not draw what it reports."""
        ...

    def confirm(self) -> ConfirmedCharging | None:
        """Return what the connection's meter confirms of all reports; None: not known."""
        ...


class NoDrawEvidence:
    """`DrawEvidence` of a site whose connection is not measured: it contradicts nothing."""

    def contradicts(self, key: EvseKey, meter: Meter) -> bool:
        """Return False."""
        return False

    def confirm(self) -> ConfirmedCharging | None:
        """Return None."""
        return None


@dataclass(slots=True)
class ChargingSite:
    """Known facts and orders in force."""

    installation: Installation
    rules: Rules
    operator_limit_kw: float | None = None
    """Limit of the site by an operator's order [kW]; None: as configured."""
    override: ActiveOverride | None = None
    """The override in force; None: agents command."""
    signals: GridSignals = field(default_factory=GridSignals)
    """What the grid operator sent."""
    signal: SignalLimits = field(default_factory=SignalLimits)
    """What of that is in force."""
    chargers: dict[str, ChargerFacts] = field(default_factory=dict[str, ChargerFacts])
    evses: dict[EvseKey, EvseFacts] = field(default_factory=dict[EvseKey, EvseFacts])
    limit_states: dict[EvseKey, EvseLimitState] = field(default_factory=dict[EvseKey, EvseLimitState])
    wirings: dict[EvseKey, EvseWiring] = field(default_factory=dict[EvseKey, EvseWiring])
    keys_of: dict[str, tuple[EvseKey, ...]] = field(default_factory=dict[str, tuple[EvseKey, ...]])
    """EVSEs by charger."""
    own_quirks: dict[str, Quirks] = field(default_factory=dict[str, Quirks])
    """Quirks by charger, from CHARGERS_FILE."""
    feeder_a: dict[str, float] = field(default_factory=dict[str, float])
    """Limit per phase by feeder [A]."""
    draw_evidence: DrawEvidence = field(default_factory=NoDrawEvidence)
    """Comparison of reported draws with the connection's meter."""
    is_dirty: bool = True
    """Whether the sum of all EVSEs may exceed the envelope since it was last checked."""
    fallbacks: dict[EvseKey, float] = field(default_factory=dict[EvseKey, float])
    """Fallback that each EVSE should have; it gets a higher one as soon as there is headroom for it [A per phase]."""
    caps: dict[EvseKey, float] = field(default_factory=dict[EvseKey, float])
    """Upper bounds by protection, whatever was ordered [A per phase]."""
    reserve_share: float = 0.0
    """Share of the site's limit that cars leave free, from 0 to 1."""
    unsaved: set[EvseKey] = field(default_factory=set[EvseKey])
    """EVSEs that changed since they were last persisted."""
    over: list[tuple[EvseKey, ChargingSession, datetime]] = field(
        default_factory=list[tuple[EvseKey, ChargingSession, datetime]]
    )
    """Sessions that ended since they were last persisted."""

    def __post_init__(self) -> None:
        self.wirings = {wiring.key: wiring for wiring in self.installation.wirings}
        self.feeder_a = {feeder.feeder_id: feeder.limit_a for feeder in self.installation.feeders}
        for charger in self.installation.chargers:
            self.keys_of[charger.charger_id] = tuple((charger.charger_id, evse.evse_id) for evse in charger.evses)
            self.own_quirks[charger.charger_id] = charger.quirks
        self.chargers = {charger.charger_id: ChargerFacts() for charger in self.installation.chargers}
        self.evses = {key: EvseFacts() for key in self.wirings}
        self.limit_states = {key: EvseLimitState() for key in self.wirings}
        self.begin_fallbacks()

    @property
    def site_limit_kw(self) -> float:
        """Limit of the connection: the configured one, or a lower one of an operator or the grid operator [kW]."""
        limits_kw = (self.rules.settings.limit_kw, self.operator_limit_kw, self.signal.connection_kw)
        return min(limit_kw for limit_kw in limits_kw if limit_kw is not None)

    @property
    def connection(self) -> Envelope:
        """Limits of connection and feeders."""
        settings = self.rules.settings
        return Envelope(
            self.site_limit_kw,
            settings.voltage_v,
            settings.phases,
            self.feeder_a,
            self.signal.charging_kw,
            self.signal.connection_kw == self.site_limit_kw,
        )

    @property
    def envelope(self) -> Envelope:
        """Limits that all cars share: those of the connection, less a reserve."""
        return replace(self.connection, site_limit_kw=self.site_limit_kw * (1 - self.reserve_share))

    def apply_cap(self, key: EvseKey, order: LimitOrder) -> LimitOrder:
        """Bound an order by protection's cap; 0 for a driver who may not charge."""
        session = self.get_session(key)
        if session is not None and session.driver is not None and not session.driver.is_allowed:
            return replace(order, limit_a=0.0, limited_by=NOT_ALLOWED)
        cap_a = self.caps.get(key)
        if cap_a is None or order.limit_a <= cap_a:
            return order
        return replace(order, limit_a=cap_a, limited_by=PROTECTION)

    def choose_fallbacks(self) -> None:
        """Choose each EVSE's fallback after the site's limit changed; those that rise wait for headroom."""
        self.fallbacks = choose_fallbacks(
            self.installation.wirings,
            self.connection,
            building_kw=self.rules.building_kw,
            fallback_a=self.rules.fallback_a,
        )
        for key, fallback_a in self.fallbacks.items():
            state = self.limit_states[key]
            state.fallback_a = min(state.fallback_a, fallback_a)
        self.is_dirty = True

    def raise_fallbacks(self) -> None:
        """Raise those fallbacks for which there is headroom next to all that cars may draw."""
        rising = [
            key
            for key, fallback_a in self.fallbacks.items()
            if self.limit_states[key].fallback_a < fallback_a <= self.caps.get(key, fallback_a)
        ]
        if not rising:
            return
        loads, envelope = self.sum_loads(), self.envelope
        for key in rising:
            wiring, fallback_a, most_a = self.wirings[key], self.fallbacks[key], self.max_currents(key)
            if compute_headroom(CurrentRequest(wiring, fallback_a, None, most_a), loads, envelope)[0] >= fallback_a:
                self.limit_states[key].fallback_a = fallback_a
                loads.add(wiring, exceed_by(wiring.currents(fallback_a), most_a))

    def begin_fallbacks(self) -> None:
        """Start with the fallbacks that chargers hold, lowered to those that are chosen now."""
        self.choose_fallbacks()
        for key, fallback_a in self.fallbacks.items():
            held_a = self.limit_states[key].fallback_held_a
            self.limit_states[key].fallback_a = fallback_a if held_a is None else min(fallback_a, held_a)

    def find_quirks(self, charger_id: str) -> tuple[KnownQuirk, ...]:
        """Return the quirks of a registered charger, with the source of each."""
        return find_quirks(self.chargers[charger_id].make, self.own_quirks[charger_id])

    def quirks(self, charger_id: str) -> Quirks:
        """Return the quirks of a registered charger, combined."""
        return quirks_of(self.chargers[charger_id].make, self.own_quirks[charger_id])

    @property
    def known_methods(self) -> dict[str, KnownMethod]:
        """Methods by which chargers accepted limits, by charger."""
        known = ((charger_id, facts.known_method) for charger_id, facts in self.chargers.items())
        return {charger_id: method for charger_id, method in known if method is not None}

    def get_session(self, key: EvseKey) -> ChargingSession | None:
        """Return the running session of an EVSE."""
        return self.evses[key].session

    def is_connected(self, key: EvseKey) -> bool:
        """Whether the EVSE's charger is connected."""
        return self.chargers[key[0]].is_connected

    def key_of_session(self, session_id: str) -> EvseKey | None:
        """Return the EVSE of a running session; None: there is no such session."""
        found = (key for key, facts in self.evses.items() if facts.session and facts.session.session_id == session_id)
        return next(found, None)

    def key_of_transaction(self, charger_id: str, transaction_id: str) -> EvseKey | None:
        """Return the EVSE of a running transaction; None: there is no such transaction."""
        for key in self.keys_of.get(charger_id, ()):
            session = self.evses[key].session
            if session is not None and session.transaction_id == transaction_id:
                return key
        return None

    def max_currents(self, key: EvseKey) -> Currents:
        """Compute the most that one EVSE may draw; its rating, where that fails."""
        with isolate_errors("counting", key):
            return compute_max_currents(self.wirings[key], self.limit_states[key], self.reserved_currents(key))
        wiring = self.wirings[key]
        return wiring.currents(wiring.max_current_a)

    def reserved_currents(self, key: EvseKey) -> Currents:
        """Compute what counts for one EVSE whatever is ordered of it."""
        return compute_reserved_currents(
            self.wirings[key], self.limit_states[key], self.evses[key], self.get_drawn_currents(key)
        )

    def get_drawn_currents(self, key: EvseKey) -> Currents:
        """Return what counts of an EVSE's newest meter values [A].

        More than the EVSE's rating counts up to its feeder's limit, unless the connection's meter contradicts it; above
        that limit the rating counts.
        """
        meter, wiring = self.evses[key].meter, self.wirings[key]
        if meter is None:
            return NOTHING
        believed_a = 0.0 if self.draw_evidence.contradicts(key, meter) else self.feeder_a[wiring.feeder_id]
        return plausible_currents(meter.current_a, wiring, believed_a)

    def sum_loads(self, besides: Collection[EvseKey] = ()) -> PhaseLoads:
        """Sum the most that all EVSEs may draw, except some."""
        loads = PhaseLoads()
        for key, wiring in self.wirings.items():
            if key not in besides:
                loads.add(wiring, self.max_currents(key))
        return loads

    def set_session(self, key: EvseKey, session: ChargingSession) -> None:
        """Replace the running session of an EVSE."""
        self.evses[key] = replace(self.evses[key], session=session)
        self.unsaved.add(key)

    def end_session(self, key: EvseKey, session: ChargingSession, ended_at: datetime) -> None:
        """Remove the orders for a car that left."""
        self.limit_states[key].forget_session()
        self.record_end(key, session, ended_at)

    def record_end(self, key: EvseKey, session: ChargingSession, ended_at: datetime) -> None:
        """Have the end of a session persisted."""
        self.over.append((key, session, ended_at))
        self.unsaved.add(key)

    def settle_if_idle(self, key: EvseKey) -> None:
        """Count an EVSE without a car, whose charger replied to its default profile, with its fallback."""
        facts, state = self.evses[key], self.limit_states[key]
        was_asked = state.fallback_reply is not None and state.fallback_reply.answer is not CommandStatus.NO_ANSWER
        if facts.session is None and facts.state in SURELY_IDLE and was_asked:
            state.is_unknown, state.doubtful_a = False, 0.0

    def order_in_force(self, key: EvseKey, now: Instant) -> LimitOrder | None:
        """Return the limit that an EVSE follows as far as is known, or that waits for the next car.

        None: its fallback, or not known. A draw without a session follows no limit.
        """
        state = self.limit_states[key]
        if draws_without_session(self.evses[key]):
            return None
        order = state.confirmed if self.get_session(key) is not None else state.wanted
        return order if order is not None and not order.lifetime.has_ended(now) else None
