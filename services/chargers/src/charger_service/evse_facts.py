"""What the chargers told: their EVSEs, meters and sessions.

Each report turns one state into the next.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from charger_service.drivers import Driver
from charger_service.envelope import EvseWiring
from charger_service.metering import Meter, SampleOrder, add_sample, compute_meter, get_energy_kwh, is_current
from charger_service.ports import (
    ChargerCapabilities,
    ChargerModel,
    ChargingNeeds,
    KnownMethod,
    MeterReading,
    TransactionEnded,
    TransactionStarted,
)
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
    make: ChargerModel | None = None
    abilities: ChargerCapabilities | None = None
    known_method: KnownMethod | None = None


@dataclass(frozen=True, slots=True)
class ChargingSession:
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
    session: ChargingSession | None = None
    ended: tuple[str, ...] = ()
    past: tuple[ChargingSession, ...] = ()

    def find_past_session(self, transaction_id: str) -> ChargingSession | None:
        """The transaction of this name that began here and does not run now."""
        return next((session for session in self.past if session.transaction_id == transaction_id), None)


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


def apply_transaction_started(facts: EvseFacts, report: TransactionStarted, driver: Driver | None = None) -> EvseFacts:
    """A transaction began; one that ended, or runs already, changes nothing."""
    running = facts.session
    if report.transaction_id in facts.ended:
        return facts
    if running is not None and running.transaction_id == report.transaction_id:
        if running.register_kwh is None and report.energy_kwh is not None:
            return replace(facts, session=replace(running, register_kwh=report.energy_kwh))
        return facts
    session = facts.find_past_session(report.transaction_id) or _create_session(report, driver)
    before = replace(facts, past=_remove_past(facts, report.transaction_id))
    before = before if running is None else end_superseded_session(before, running)
    return replace(before, session=replace(session, is_end_inferred=False), is_served=True)


def end_superseded_session(facts: EvseFacts, session: ChargingSession) -> EvseFacts:
    """The transaction is over, but its own end, which tells its energy, may still come."""
    past = (*_remove_past(facts, session.transaction_id), session)
    return replace(facts, ended=_add_ended(facts, session), past=past[-_REMEMBERED_PAST:])


def remember_transaction(facts: EvseFacts, report: TransactionStarted, driver: Driver | None = None) -> EvseFacts:
    """A transaction of earlier began here: it is remembered for its end, or until it proves to run."""
    if report.transaction_id in facts.ended or facts.find_past_session(report.transaction_id) is not None:
        return facts
    past = (*facts.past, _create_session(report, driver))[-_REMEMBERED_PAST:]
    return replace(facts, past=past, is_served=True)


def apply_transaction_ended(facts: EvseFacts, report: TransactionEnded) -> EvseFacts:
    """A transaction is over."""
    session = facts.session
    if session is not None and session.transaction_id == report.transaction_id:
        return remove_session(facts)
    over = tuple(name for name in facts.ended if name != report.transaction_id)
    others = _remove_past(facts, report.transaction_id)
    return replace(facts, ended=(*over, report.transaction_id)[-_REMEMBERED_ENDED:], past=others)


def end_lost_session(facts: EvseFacts, session: ChargingSession) -> EvseFacts:
    """The EVSE says that nobody is there; the transaction may be taken up again, as after a loss of power."""
    past = (*_remove_past(facts, session.transaction_id), replace(session, is_end_inferred=True))
    return replace(facts, session=None, meter=None, past=past[-_REMEMBERED_PAST:])


def remove_session(facts: EvseFacts) -> EvseFacts:
    """The session is over, however that became known; its last reading says nothing of what comes after."""
    return replace(facts, session=None, meter=None, ended=_add_ended(facts, facts.session))


def apply_meter_reading(
    facts: EvseFacts, reading: MeterReading, wiring: EvseWiring, voltage_v: float, now: Instant, since_s: float
) -> EvseFacts:
    """Meter values arrived; those that do not tell of now only count as energy.

    Args:
        facts: what is known of the EVSE.
        reading: what its meter said.
        wiring: how it is wired.
        voltage_v: between phase and neutral [V], for what the meter did not say.
        now: their arrival.
        since_s: when the charger connected or booted, monotonic [s].
    """
    session = None if facts.session is None else update_register(facts.session, get_energy_kwh(reading))
    if not is_current(facts.order, reading, now.monotonic_s, since_s):
        return replace(facts, session=session)
    return replace(
        facts,
        session=session,
        meter=compute_meter(reading, wiring, voltage_v, now) or facts.meter,
        order=add_sample(facts.order, reading, now.monotonic_s),
    )


def update_register(session: ChargingSession, energy_kwh: float | None) -> ChargingSession:
    """The visit after its meter's register showed this [kWh]; None: it showed nothing."""
    if energy_kwh is None:
        return session
    begun_kwh = energy_kwh if session.register_kwh is None else session.register_kwh
    return replace(session, register_kwh=begun_kwh, energy_kwh=max(session.energy_kwh, energy_kwh - begun_kwh))


def apply_charging_needs(facts: EvseFacts, needs: ChargingNeeds) -> EvseFacts:
    """The car said what it wants from now on; what a person said stands above it."""
    session = facts.session
    if session is None or session.by_operator:
        return facts
    wanted_kwh = session.energy_wanted_kwh
    if needs.energy_wanted_kwh is not None:
        wanted_kwh = session.energy_kwh + needs.energy_wanted_kwh
    return replace(
        facts, session=replace(session, energy_wanted_kwh=wanted_kwh, departure=needs.departure or session.departure)
    )


def _create_session(report: TransactionStarted, driver: Driver | None) -> ChargingSession:
    name = session_id_of(report.charger_id, report.transaction_id, report.started_at)
    return ChargingSession(
        name, report.transaction_id, report.started_at, register_kwh=report.energy_kwh, driver=driver
    )


def _remove_past(facts: EvseFacts, transaction_id: str) -> tuple[ChargingSession, ...]:
    return tuple(session for session in facts.past if session.transaction_id != transaction_id)


def _add_ended(facts: EvseFacts, session: ChargingSession | None) -> tuple[str, ...]:
    return facts.ended if session is None else (*facts.ended, session.transaction_id)[-_REMEMBERED_ENDED:]
