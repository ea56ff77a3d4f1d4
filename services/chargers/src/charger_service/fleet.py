"""What the chargers told: their EVSEs, meters and sessions.

Pure: each report turns one state into the next. Knows no limits, no OCPP and no clock.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from charger_service.drivers import Driver
from charger_service.envelope import Place
from charger_service.metering import Meter, SampleOrder, energy_of, meter_of, tells_of_now, with_sample
from charger_service.ports import Abilities, Ended, KnownMethod, Make, MeterReading, Needs, Started
from ev_service.charging import EvseState
from ev_service.lifetimes import Instant

_REMEMBERED_ENDED = 8
_REMEMBERED_PAST = 8


@dataclass(frozen=True, slots=True)
class ChargerFacts:
    """What is known of a charger itself.

    is_ready: it is connected, has booted, and takes orders. since_s: when it connected or booted, monotonic [s].
    known_method: by which it accepted limits; None: by none yet.
    """

    is_connected: bool = False
    since_s: float = -math.inf
    is_ready: bool = False
    ocpp_version: str | None = None
    make: Make | None = None
    abilities: Abilities | None = None
    known_method: KnownMethod | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """One car at one EVSE while a transaction runs.

    register_kwh: the meter's register at the beginning; None: not known yet. by_operator: departure, energy and the
    rest come from a person, and the car's own word no longer changes them. is_end_inferred: it is over because its EVSE
    said that nobody is there, and the transaction's own end was not heard. driver: None: no token is known.
    """

    session_id: str
    transaction_id: str
    started_at: datetime
    register_kwh: float | None = None
    energy_kwh: float = 0.0
    energy_wanted_kwh: float | None = None
    departure: datetime | None = None
    priority: int = 0
    guaranteed_a: float = 0.0
    by_operator: bool = False
    is_end_inferred: bool = False
    driver: Driver | None = None


@dataclass(frozen=True, slots=True)
class EvseFacts:
    """What is known of an EVSE.

    state_since_s: since when it is in its state, monotonic [s]. is_served: whether a session was here since nobody was,
    so that whoever stands here waits for none. order: of its meter's samples. ended: the newest transactions that are
    over, which stay so. past: the newest whose beginning here is known, that do not run now, and whose end was not
    heard.
    """

    state: EvseState = EvseState.UNKNOWN
    state_since_s: float = 0.0
    is_served: bool = False
    meter: Meter | None = None
    order: SampleOrder | None = None
    visit: Visit | None = None
    ended: tuple[str, ...] = ()
    past: tuple[Visit, ...] = ()

    def past_visit(self, transaction_id: str) -> Visit | None:
        """The transaction of this name that began here and does not run now."""
        return next((visit for visit in self.past if visit.transaction_id == transaction_id), None)


def session_id_of(charger_id: str, transaction_id: str, started_at: datetime) -> str:
    """The session's name: the same beginning has the same name, and nobody guesses the next one."""
    told = f"{charger_id}\0{transaction_id}\0{started_at.isoformat()}"
    return sha256(told.encode()).hexdigest()[:20]


def in_state(facts: EvseFacts, state: EvseState, now_s: float, *, is_over: bool) -> EvseFacts:
    """The EVSE says what it does; is_over: that its session is over while the car is still there."""
    return replace(
        facts,
        state=state,
        state_since_s=facts.state_since_s if facts.state is state else now_s,
        is_served=state is not EvseState.AVAILABLE and (facts.is_served or is_over),
    )


def started(facts: EvseFacts, report: Started, driver: Driver | None = None) -> EvseFacts:
    """A transaction began; one that ended, or runs already, changes nothing."""
    running = facts.visit
    if report.transaction_id in facts.ended:
        return facts
    if running is not None and running.transaction_id == report.transaction_id:
        if running.register_kwh is None and report.energy_kwh is not None:
            return replace(facts, visit=replace(running, register_kwh=report.energy_kwh))
        return facts
    visit = facts.past_visit(report.transaction_id) or _visit_of(report, driver)
    before = replace(facts, past=_without_past(facts, report.transaction_id))
    before = before if running is None else superseded(before, running)
    return replace(before, visit=replace(visit, is_end_inferred=False), is_served=True)


def superseded(facts: EvseFacts, visit: Visit) -> EvseFacts:
    """The transaction is over, but its own end, which tells its energy, may still come."""
    past = (*_without_past(facts, visit.transaction_id), visit)
    return replace(facts, ended=_with_ended(facts, visit), past=past[-_REMEMBERED_PAST:])


def held(facts: EvseFacts, report: Started, driver: Driver | None = None) -> EvseFacts:
    """A transaction of earlier began here: it is remembered for its end, or until it proves to run."""
    if report.transaction_id in facts.ended or facts.past_visit(report.transaction_id) is not None:
        return facts
    past = (*facts.past, _visit_of(report, driver))[-_REMEMBERED_PAST:]
    return replace(facts, past=past, is_served=True)


def ended(facts: EvseFacts, report: Ended) -> EvseFacts:
    """A transaction is over."""
    visit = facts.visit
    if visit is not None and visit.transaction_id == report.transaction_id:
        return without_visit(facts)
    over = tuple(name for name in facts.ended if name != report.transaction_id)
    others = _without_past(facts, report.transaction_id)
    return replace(facts, ended=(*over, report.transaction_id)[-_REMEMBERED_ENDED:], past=others)


def lost(facts: EvseFacts, visit: Visit) -> EvseFacts:
    """The EVSE says that nobody is there; the transaction may be taken up again, as after a loss of power."""
    past = (*_without_past(facts, visit.transaction_id), replace(visit, is_end_inferred=True))
    return replace(facts, visit=None, meter=None, past=past[-_REMEMBERED_PAST:])


def without_visit(facts: EvseFacts) -> EvseFacts:
    """The session is over, however that became known; its last reading says nothing of what comes after."""
    return replace(facts, visit=None, meter=None, ended=_with_ended(facts, facts.visit))


def metered(
    facts: EvseFacts, reading: MeterReading, place: Place, voltage_v: float, now: Instant, since_s: float
) -> EvseFacts:
    """Meter values arrived; those that do not tell of now only count as energy.

    Args:
        facts: what is known of the EVSE.
        reading: what its meter said.
        place: how it is wired.
        voltage_v: between phase and neutral [V], for what the meter did not say.
        now: their arrival.
        since_s: when the charger connected or booted, monotonic [s].
    """
    visit = None if facts.visit is None else with_register(facts.visit, energy_of(reading))
    if not tells_of_now(facts.order, reading, now.monotonic_s, since_s):
        return replace(facts, visit=visit)
    return replace(
        facts,
        visit=visit,
        meter=meter_of(reading, place, voltage_v, now) or facts.meter,
        order=with_sample(facts.order, reading, now.monotonic_s),
    )


def with_register(visit: Visit, energy_kwh: float | None) -> Visit:
    """The visit after its meter's register showed this [kWh]; None: it showed nothing."""
    if energy_kwh is None:
        return visit
    begun_kwh = energy_kwh if visit.register_kwh is None else visit.register_kwh
    return replace(visit, register_kwh=begun_kwh, energy_kwh=max(visit.energy_kwh, energy_kwh - begun_kwh))


def needs_told(facts: EvseFacts, needs: Needs) -> EvseFacts:
    """The car said what it wants from now on; what a person said stands above it."""
    visit = facts.visit
    if visit is None or visit.by_operator:
        return facts
    wanted_kwh = visit.energy_wanted_kwh
    if needs.energy_wanted_kwh is not None:
        wanted_kwh = visit.energy_kwh + needs.energy_wanted_kwh
    return replace(
        facts, visit=replace(visit, energy_wanted_kwh=wanted_kwh, departure=needs.departure or visit.departure)
    )


def _visit_of(report: Started, driver: Driver | None) -> Visit:
    name = session_id_of(report.charger_id, report.transaction_id, report.started_at)
    return Visit(name, report.transaction_id, report.started_at, register_kwh=report.energy_kwh, driver=driver)


def _without_past(facts: EvseFacts, transaction_id: str) -> tuple[Visit, ...]:
    return tuple(visit for visit in facts.past if visit.transaction_id != transaction_id)


def _with_ended(facts: EvseFacts, visit: Visit | None) -> tuple[str, ...]:
    return facts.ended if visit is None else (*facts.ended, visit.transaction_id)[-_REMEMBERED_ENDED:]
