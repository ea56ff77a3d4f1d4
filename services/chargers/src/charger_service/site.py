"""The whole site in memory: what the chargers told, what they were ordered, and the operator's word.

Knows no disk, no network and no clock: moments come as arguments. Everything runs in one event loop.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from charger_service.acts import Proved
from charger_service.configuration import Installation
from charger_service.envelope import NOTHING, Ask, Carried, Currents, Envelope, Key, Place, above, room
from charger_service.fallbacks import choose_fallbacks
from charger_service.fleet import ChargerFacts, EvseFacts, Visit
from charger_service.isolation import isolated
from charger_service.metering import Meter, plausible_currents
from charger_service.ports import Answer, KnownMethod, Quirks
from charger_service.quirks import KnownQuirk, known_quirks, quirks_of
from charger_service.standing import PROTECTION, Order, Standing, counted_anyway, draws_without_session, most
from ev_service.charging import EvseState, Override
from ev_service.charging_evidence import ConfirmedCharging
from ev_service.lifetimes import EarlierEnd, Instant, LaterEnd, Lifetime
from ev_service.settings import SiteSettings

NOT_ALLOWED = "not_allowed"
"""`limited_by` where the driver may not charge."""
SURELY_IDLE = frozenset({EvseState.AVAILABLE, EvseState.UNAVAILABLE, EvseState.FAULTED, EvseState.RESERVED})
"""States in which nobody charges."""


@dataclass(frozen=True, slots=True)
class OverrideGiven:
    """The operator's order in force, who gave it and why, and when it ends."""

    override: Override
    reason: str
    proved: Proved | None
    lifetime: Lifetime

    def as_shown(self, now: Instant) -> Override:
        """The order with the end that is expected by the clock as it is set now."""
        return self.override.model_copy(update={"until": self.lifetime.expected_end(now)})


def lifetime_of(override: Override) -> type[Lifetime]:
    """An order that gives power ends as soon as one clock says so; one that stops all cars ends once both do."""
    return EarlierEnd if override.charging_power_kw else LaterEnd


@dataclass(frozen=True, slots=True)
class Rules:
    """What the service was started with.

    building_kw: highest load of the building that is expected [kW]; None: not known. fallback_a [A]: per phase.
    """

    settings: SiteSettings
    building_kw: float | None = None
    fallback_a: float = 6.0


class DrawEvidence(Protocol):
    """What the connection's meter says of what EVSEs report."""

    def contradicts(self, key: Key, meter: Meter) -> bool:
        """Whether the connection's meter shows that the EVSE does not draw what it reports."""
        ...

    def confirmed(self) -> ConfirmedCharging | None:
        """What the connection's meter confirms of all reports; None: nobody knows."""
        ...


class NoDrawEvidence:
    """`DrawEvidence` of a site whose connection nobody measures: nothing is contradicted."""

    def contradicts(self, key: Key, meter: Meter) -> bool:
        """Never."""
        return False

    def confirmed(self) -> ConfirmedCharging | None:
        """Nobody knows."""
        return None


@dataclass(slots=True)
class Site:
    """What is known and ordered now.

    is_dirty: whether something may have made the cars' sum pass the envelope since it was last looked at.
    fallbacks: what each EVSE should fall to by now; each falls to that as soon as there is room for it.
    caps: what protection lets EVSEs draw at most [A per phase], whoever ordered what. reserve_share: part of the site's
    limit that cars leave free, from 0 to 1.
    draw_evidence: what the connection's meter says of reported draws.
    unsaved: EVSEs that changed, and over: sessions that ended, since they were last written down.
    """

    installation: Installation
    rules: Rules
    operator_limit_kw: float | None = None
    override: OverrideGiven | None = None
    chargers: dict[str, ChargerFacts] = field(default_factory=dict[str, ChargerFacts])
    evses: dict[Key, EvseFacts] = field(default_factory=dict[Key, EvseFacts])
    standings: dict[Key, Standing] = field(default_factory=dict[Key, Standing])
    places: dict[Key, Place] = field(default_factory=dict[Key, Place])
    keys_of: dict[str, tuple[Key, ...]] = field(default_factory=dict[str, tuple[Key, ...]])
    own_quirks: dict[str, Quirks] = field(default_factory=dict[str, Quirks])
    feeder_a: dict[str, float] = field(default_factory=dict[str, float])
    draw_evidence: DrawEvidence = field(default_factory=NoDrawEvidence)
    is_dirty: bool = True
    fallbacks: dict[Key, float] = field(default_factory=dict[Key, float])
    caps: dict[Key, float] = field(default_factory=dict[Key, float])
    reserve_share: float = 0.0
    unsaved: set[Key] = field(default_factory=set[Key])
    over: list[tuple[Key, Visit, datetime]] = field(default_factory=list[tuple[Key, Visit, datetime]])

    def __post_init__(self) -> None:
        self.places = {place.key: place for place in self.installation.places}
        self.feeder_a = {feeder.feeder_id: feeder.limit_a for feeder in self.installation.feeders}
        for charger in self.installation.chargers:
            self.keys_of[charger.charger_id] = tuple((charger.charger_id, evse.evse_id) for evse in charger.evses)
            self.own_quirks[charger.charger_id] = charger.quirks
        self.chargers = {charger.charger_id: ChargerFacts() for charger in self.installation.chargers}
        self.evses = {key: EvseFacts() for key in self.places}
        self.standings = {key: Standing() for key in self.places}
        self.begin_fallbacks()

    @property
    def site_limit_kw(self) -> float:
        """What the connection may carry, by the operator's word."""
        configured_kw = self.rules.settings.limit_kw
        return configured_kw if self.operator_limit_kw is None else min(configured_kw, self.operator_limit_kw)

    @property
    def connection(self) -> Envelope:
        """The limits of connection and feeders."""
        settings = self.rules.settings
        return Envelope(self.site_limit_kw, settings.voltage_v, settings.phases, self.feeder_a)

    @property
    def envelope(self) -> Envelope:
        """The limits that all cars share: those of the connection, less a reserve."""
        return replace(self.connection, site_limit_kw=self.site_limit_kw * (1 - self.reserve_share))

    def below_cap(self, key: Key, order: Order) -> Order:
        """An order as protection lets it pass; nothing for a driver who may not charge."""
        visit = self.visit(key)
        if visit is not None and visit.driver is not None and not visit.driver.is_allowed:
            return replace(order, limit_a=0.0, limited_by=NOT_ALLOWED)
        cap_a = self.caps.get(key)
        if cap_a is None or order.limit_a <= cap_a:
            return order
        return replace(order, limit_a=cap_a, limited_by=PROTECTION)

    def choose_fallbacks(self) -> None:
        """Choose every EVSE's fallback anew, after the site's limit changed; those that rise wait for room."""
        self.fallbacks = choose_fallbacks(
            self.installation.places,
            self.connection,
            building_kw=self.rules.building_kw,
            fallback_a=self.rules.fallback_a,
        )
        for key, fallback_a in self.fallbacks.items():
            standing = self.standings[key]
            standing.fallback_a = min(standing.fallback_a, fallback_a)
        self.is_dirty = True

    def raise_fallbacks(self) -> None:
        """Raise those fallbacks for which there is room beside all that cars may draw."""
        rising = [
            key
            for key, fallback_a in self.fallbacks.items()
            if self.standings[key].fallback_a < fallback_a <= self.caps.get(key, fallback_a)
        ]
        if not rising:
            return
        carried, envelope = self.carried(), self.envelope
        for key in rising:
            place, fallback_a, most_a = self.places[key], self.fallbacks[key], self.most(key)
            if room(Ask(place, fallback_a, None, most_a), carried, envelope)[0] >= fallback_a:
                self.standings[key].fallback_a = fallback_a
                carried.add(place, above(place.currents(fallback_a), most_a))

    def begin_fallbacks(self) -> None:
        """Begin with the fallbacks that chargers held before, but for those that are to be lower by now."""
        self.choose_fallbacks()
        for key, fallback_a in self.fallbacks.items():
            held_a = self.standings[key].fallback_held_a
            self.standings[key].fallback_a = fallback_a if held_a is None else min(fallback_a, held_a)

    def known_quirks(self, charger_id: str) -> tuple[KnownQuirk, ...]:
        """Which quirks a registered charger has, and by what."""
        return known_quirks(self.chargers[charger_id].make, self.own_quirks[charger_id])

    def quirks(self, charger_id: str) -> Quirks:
        """What a registered charger needs."""
        return quirks_of(self.chargers[charger_id].make, self.own_quirks[charger_id])

    @property
    def known_methods(self) -> dict[str, KnownMethod]:
        """By which methods chargers accepted limits, of those that did."""
        known = ((charger_id, facts.known_method) for charger_id, facts in self.chargers.items())
        return {charger_id: method for charger_id, method in known if method is not None}

    def visit(self, key: Key) -> Visit | None:
        """The car at an EVSE."""
        return self.evses[key].visit

    def is_connected(self, key: Key) -> bool:
        """Whether the EVSE's charger is connected."""
        return self.chargers[key[0]].is_connected

    def key_of_session(self, session_id: str) -> Key | None:
        """Where a session is; None: no such session runs."""
        found = (key for key, facts in self.evses.items() if facts.visit and facts.visit.session_id == session_id)
        return next(found, None)

    def key_of_transaction(self, charger_id: str, transaction_id: str) -> Key | None:
        """Where a transaction runs; None: none of this name is known."""
        for key in self.keys_of.get(charger_id, ()):
            visit = self.evses[key].visit
            if visit is not None and visit.transaction_id == transaction_id:
                return key
        return None

    def most(self, key: Key) -> Currents:
        """The most that one EVSE may draw; all that it can, where a fault of ours hides what is known of it."""
        with isolated("counting", key):
            return most(self.places[key], self.standings[key], self.counted_anyway(key))
        place = self.places[key]
        return place.currents(place.max_current_a)

    def counted_anyway(self, key: Key) -> Currents:
        """What counts for one EVSE whatever it is told."""
        return counted_anyway(self.places[key], self.standings[key], self.evses[key], self.drawn(key))

    def drawn(self, key: Key) -> Currents:
        """What counts of an EVSE's newest meter values [A].

        More than the EVSE is rated for counts up to its feeder's limit, unless the connection's meter contradicts it;
        beyond that, nobody could draw it, and the rating counts.
        """
        meter, place = self.evses[key].meter, self.places[key]
        if meter is None:
            return NOTHING
        believed_a = 0.0 if self.draw_evidence.contradicts(key, meter) else self.feeder_a[place.feeder_id]
        return plausible_currents(meter.current_a, place, believed_a)

    def carried(self, besides: Collection[Key] = ()) -> Carried:
        """The most that all EVSEs together may draw, some left out."""
        carried = Carried()
        for key, place in self.places.items():
            if key not in besides:
                carried.add(place, self.most(key))
        return carried

    def set_visit(self, key: Key, visit: Visit) -> None:
        """Change what is known of the car at an EVSE."""
        self.evses[key] = replace(self.evses[key], visit=visit)
        self.unsaved.add(key)

    def end_visit(self, key: Key, visit: Visit, ended_at: datetime) -> None:
        """Forget what was ordered for a car that is gone."""
        self.standings[key].forget_session()
        self.record_end(key, visit, ended_at)

    def record_end(self, key: Key, visit: Visit, ended_at: datetime) -> None:
        """Have it written down that a session is over."""
        self.over.append((key, visit, ended_at))
        self.unsaved.add(key)

    def settle_if_idle(self, key: Key) -> None:
        """An EVSE without a car, whose charger holds or refused its default, may draw no more than its fallback."""
        facts, standing = self.evses[key], self.standings[key]
        was_asked = standing.fallback_reply is not None and standing.fallback_reply.answer is not Answer.NO_ANSWER
        if facts.visit is None and facts.state in SURELY_IDLE and was_asked:
            standing.is_unknown, standing.doubtful_a = False, 0.0

    def order_in_force(self, key: Key, now: Instant) -> Order | None:
        """The limit that an EVSE holds to by all that is known, or that waits for the next car.

        None: its fallback, or nothing is known. What is drawn without a session is held by no limit.
        """
        standing = self.standings[key]
        if draws_without_session(self.evses[key]):
            return None
        order = standing.confirmed if self.visit(key) is not None else standing.wanted
        return order if order is not None and not order.lifetime.has_ended(now) else None
