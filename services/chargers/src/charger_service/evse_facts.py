"""Facts that chargers report: of themselves, their EVSEs, meters and sessions.

Each report transforms one immutable state into the next.
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
from ev_service.charging import ChargingMode, EvseState
from ev_service.lifetimes import Instant

_REMEMBERED_ENDED = 8
_REMEMBERED_PAST = 8


@dataclass(frozen=True, slots=True)
class ChargerFacts:
    """Facts about a charger."""

    is_connected: bool = False
    since_s: float = -math.inf
    """Monotonic time at which it connected or booted [s]."""
    is_ready: bool = False
    """Whether it is connected, has booted, and accepts commands."""
    ocpp_version: str | None = None
    make: ChargerModel | None = None
    abilities: ChargerCapabilities | None = None
    known_method: KnownMethod | None = None
    """Method by which it accepted limits; None: by none yet."""


@dataclass(frozen=True, slots=True)
class ChargingSession:
    """The session of one car at one EVSE while a transaction runs."""

    session_id: str
    transaction_id: str
    started_at: datetime
    register_kwh: float | None = None
    """The meter's register at the beginning; None: not known yet."""
    energy_kwh: float = 0.0
    """Energy charged [kWh]."""
    energy_wanted_kwh: float | None = None
    """Energy wanted in the whole session [kWh]; None: not known."""
    departure: datetime | None = None
    priority: int = 0
    """Cars with a higher one go first when power is scarce."""
    guaranteed_a: float = 0.0
    """Guaranteed current per phase [A]; 0: none."""
    mode: ChargingMode = ChargingMode.SMART
    """How it wants to be charged."""
    by_operator: bool = False
    """Whether departure, energy and the rest come from an operator; the car's reports no longer change them."""
    is_end_inferred: bool = False
    """Whether it ended because its EVSE reported that no car is there, without the transaction's own end."""
    driver: Driver | None = None
    """The driver; None: no token is known."""


@dataclass(frozen=True, slots=True)
class EvseFacts:
    """Facts about an EVSE."""

    state: EvseState = EvseState.UNKNOWN
    state_since_s: float = 0.0
    """Monotonic time at which its state began [s]."""
    is_served: bool = False
    """Whether there was a session since the EVSE was last free, so that the car does not wait for one."""
    meter: Meter | None = None
    order: SampleOrder | None = None
    """Order of its meter's samples in time."""
    session: ChargingSession | None = None
    ended: tuple[str, ...] = ()
    """The newest ended transactions, which stay ended."""
    past: tuple[ChargingSession, ...] = ()
    """The newest transactions that started here, do not run now, and whose end was not reported."""

    def find_past_session(self, transaction_id: str) -> ChargingSession | None:
        """Find a past session by its transaction."""
        return next((session for session in self.past if session.transaction_id == transaction_id), None)


def session_id_of(charger_id: str, transaction_id: str, started_at: datetime) -> str:
    """Derive the session's id: the same start has the same id, and the next one cannot be guessed."""
    start = f"{charger_id}\0{transaction_id}\0{started_at.isoformat()}"
    return sha256(start.encode()).hexdigest()[:20]


def in_state(facts: EvseFacts, state: EvseState, now_s: float, *, is_over: bool) -> EvseFacts:
    """Apply a reported state; is_over: the session is over while the car is still there."""
    return replace(
        facts,
        state=state,
        state_since_s=facts.state_since_s if facts.state is state else now_s,
        is_served=state is not EvseState.AVAILABLE and (facts.is_served or is_over),
    )


def apply_transaction_started(
    facts: EvseFacts,
    report: TransactionStarted,
    driver: Driver | None = None,
    mode: ChargingMode = ChargingMode.SMART,
) -> EvseFacts:
    """Apply the start of a transaction; one that ended, or runs already, changes nothing."""
    running = facts.session
    if report.transaction_id in facts.ended:
        return facts
    if running is not None and running.transaction_id == report.transaction_id:
        if running.register_kwh is None and report.energy_kwh is not None:
            return replace(facts, session=replace(running, register_kwh=report.energy_kwh))
        return facts
    session = facts.find_past_session(report.transaction_id) or _create_session(report, driver, mode)
    before = replace(facts, past=_remove_past(facts, report.transaction_id))
    before = before if running is None else end_superseded_session(before, running)
    return replace(before, session=replace(session, is_end_inferred=False), is_served=True)


def end_superseded_session(facts: EvseFacts, session: ChargingSession) -> EvseFacts:
    """End a session whose own end, with its energy, may still be reported."""
    past = (*_remove_past(facts, session.transaction_id), session)
    return replace(facts, ended=_add_ended(facts, session), past=past[-_REMEMBERED_PAST:])


def remember_transaction(
    facts: EvseFacts,
    report: TransactionStarted,
    driver: Driver | None = None,
    mode: ChargingMode = ChargingMode.SMART,
) -> EvseFacts:
    """Remember the start of an earlier transaction for its end, or until it proves to run."""
    if report.transaction_id in facts.ended or facts.find_past_session(report.transaction_id) is not None:
        return facts
    past = (*facts.past, _create_session(report, driver, mode))[-_REMEMBERED_PAST:]
    return replace(facts, past=past, is_served=True)


def apply_transaction_ended(facts: EvseFacts, report: TransactionEnded) -> EvseFacts:
    """Apply the end of a transaction."""
    session = facts.session
    if session is not None and session.transaction_id == report.transaction_id:
        return remove_session(facts)
    over = tuple(name for name in facts.ended if name != report.transaction_id)
    others = _remove_past(facts, report.transaction_id)
    return replace(facts, ended=(*over, report.transaction_id)[-_REMEMBERED_ENDED:], past=others)


def end_lost_session(facts: EvseFacts, session: ChargingSession) -> EvseFacts:
    """End a session whose EVSE reports that no car is there; it may be resumed, as after a loss of power."""
    past = (*_remove_past(facts, session.transaction_id), replace(session, is_end_inferred=True))
    return replace(facts, session=None, meter=None, past=past[-_REMEMBERED_PAST:])


def remove_session(facts: EvseFacts) -> EvseFacts:
    """Remove the session; its last meter reading does not count for what follows."""
    return replace(facts, session=None, meter=None, ended=_add_ended(facts, facts.session))


def apply_meter_reading(
    facts: EvseFacts, reading: MeterReading, wiring: EvseWiring, voltage_v: float, now: Instant, since_s: float
) -> EvseFacts:
    """Apply meter values; those that are not current count as energy only.

    Args:
        facts: facts about the EVSE.
        reading: the meter values.
        wiring: how it is wired.
        voltage_v: between phase and neutral [V], for what the meter did not report.
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
    """Update the session's energy by its meter's register [kWh]; None: not reported."""
    if energy_kwh is None:
        return session
    begun_kwh = energy_kwh if session.register_kwh is None else session.register_kwh
    return replace(session, register_kwh=begun_kwh, energy_kwh=max(session.energy_kwh, energy_kwh - begun_kwh))


def apply_charging_needs(facts: EvseFacts, needs: ChargingNeeds) -> EvseFacts:
    """Apply the needs that a car reports; those of an operator take precedence."""
    session = facts.session
    if session is None or session.by_operator:
        return facts
    wanted_kwh = session.energy_wanted_kwh
    if needs.energy_wanted_kwh is not None:
        wanted_kwh = session.energy_kwh + needs.energy_wanted_kwh
    return replace(
        facts, session=replace(session, energy_wanted_kwh=wanted_kwh, departure=needs.departure or session.departure)
    )


def _create_session(report: TransactionStarted, driver: Driver | None, mode: ChargingMode) -> ChargingSession:
    name = session_id_of(report.charger_id, report.transaction_id, report.started_at)
    return ChargingSession(
        name, report.transaction_id, report.started_at, register_kwh=report.energy_kwh, mode=mode, driver=driver
    )


def _remove_past(facts: EvseFacts, transaction_id: str) -> tuple[ChargingSession, ...]:
    return tuple(session for session in facts.past if session.transaction_id != transaction_id)


def _add_ended(facts: EvseFacts, session: ChargingSession | None) -> tuple[str, ...]:
    return facts.ended if session is None else (*facts.ended, session.transaction_id)[-_REMEMBERED_ENDED:]
