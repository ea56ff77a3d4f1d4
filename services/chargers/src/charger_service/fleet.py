"""What the chargers told: their EVSEs, meters and sessions.

Pure: each report turns one state into the next. Knows no limits, no OCPP and no clock.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from charger_service.envelope import NOTHING, Currents, Place
from charger_service.ports import Abilities, Ended, Make, MeterReading, Needs, Started
from ev_service.charging import EvseState

_REMEMBERED_ENDED = 8
_DRAWN_FROM_KW = 0.05


@dataclass(frozen=True, slots=True)
class ChargerFacts:
    """What is known of a charger itself. is_ready: it is connected, has booted, and takes orders."""

    is_connected: bool = False
    is_ready: bool = False
    ocpp_version: str | None = None
    make: Make | None = None
    abilities: Abilities | None = None


@dataclass(frozen=True, slots=True)
class Meter:
    """The newest meter values, currents on the site's phases [A]."""

    measured_at: datetime
    power_kw: float
    current_a: Currents


@dataclass(frozen=True, slots=True)
class Visit:
    """One car at one EVSE while a transaction runs.

    register_kwh: the meter's register at the beginning; None: not known yet. by_operator: departure, energy and the
    rest come from a person, and the car's own word no longer changes them.
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


@dataclass(frozen=True, slots=True)
class EvseFacts:
    """What is known of an EVSE. ended: the newest transactions that are over, which stay so."""

    state: EvseState = EvseState.UNKNOWN
    meter: Meter | None = None
    visit: Visit | None = None
    ended: tuple[str, ...] = ()


def session_id_of(charger_id: str, transaction_id: str, started_at: datetime) -> str:
    """The session's name: the same beginning has the same name, and nobody guesses the next one."""
    told = f"{charger_id}\0{transaction_id}\0{started_at.isoformat()}"
    return sha256(told.encode()).hexdigest()[:20]


def started(facts: EvseFacts, report: Started) -> EvseFacts:
    """A transaction began; one that ended, or runs already, changes nothing."""
    running = facts.visit
    if report.transaction_id in facts.ended:
        return facts
    if running is not None and running.transaction_id == report.transaction_id:
        if running.register_kwh is None and report.energy_kwh is not None:
            return replace(facts, visit=replace(running, register_kwh=report.energy_kwh))
        return facts
    visit = Visit(
        session_id_of(report.charger_id, report.transaction_id, report.started_at),
        report.transaction_id,
        report.started_at,
        register_kwh=report.energy_kwh,
    )
    return replace(facts, visit=visit, ended=_with_ended(facts, running))


def ended(facts: EvseFacts, report: Ended) -> EvseFacts:
    """A transaction is over."""
    visit = facts.visit
    if visit is None or visit.transaction_id != report.transaction_id:
        if report.transaction_id in facts.ended:
            return facts
        return replace(facts, ended=(*facts.ended, report.transaction_id)[-_REMEMBERED_ENDED:])
    return without_visit(facts)


def without_visit(facts: EvseFacts) -> EvseFacts:
    """The session is over, however that became known; its last reading says nothing of what comes after."""
    return replace(facts, visit=None, meter=None, ended=_with_ended(facts, facts.visit))


def metered(facts: EvseFacts, reading: MeterReading, place: Place, voltage_v: float) -> EvseFacts:
    """Meter values arrived; those that are older than the newest only count as energy.

    Args:
        facts: what is known of the EVSE.
        reading: what its meter said.
        place: how it is wired.
        voltage_v: between phase and neutral [V], for what the meter did not say.
    """
    visit = facts.visit
    if visit is not None and reading.energy_kwh is not None:
        begun_kwh = reading.energy_kwh if visit.register_kwh is None else visit.register_kwh
        energy_kwh = max(visit.energy_kwh, reading.energy_kwh - begun_kwh)
        visit = replace(visit, register_kwh=begun_kwh, energy_kwh=energy_kwh)
    meter = facts.meter
    if meter is None or reading.measured_at >= meter.measured_at:
        meter = _meter(reading, place, voltage_v) or meter
    return replace(facts, visit=visit, meter=meter)


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


def _with_ended(facts: EvseFacts, visit: Visit | None) -> tuple[str, ...]:
    return facts.ended if visit is None else (*facts.ended, visit.transaction_id)[-_REMEMBERED_ENDED:]


def _meter(reading: MeterReading, place: Place, voltage_v: float) -> Meter | None:
    """Currents on the site's phases, derived from the power where the meter gives no currents, and the other way."""
    current_a = _currents(reading, place, voltage_v)
    if current_a is None:
        return None
    power_kw = reading.power_kw
    if power_kw is None:
        power_kw = sum(current_a) * voltage_v / 1000
    return Meter(reading.measured_at, max(0.0, power_kw), current_a)


def _currents(reading: MeterReading, place: Place, voltage_v: float) -> Currents | None:
    if reading.current_a is not None:
        lines = [abs(current_a) for current_a in reading.current_a]
        # A charger on one phase may call it by its own name or by the site's.
        if len(place.phases) == 1:
            return place.currents(max(lines))
        return _on_site(lines, place)
    if reading.current_each_a is not None:
        return place.currents(abs(reading.current_each_a))
    if reading.power_kw is None:
        return None
    if reading.power_kw < _DRAWN_FROM_KW:
        return NOTHING
    return place.currents(reading.power_kw * 1000 / voltage_v / len(place.phases))


def _on_site(lines: list[float], place: Place) -> Currents:
    on_site = [0.0, 0.0, 0.0]
    for line_a, phase in zip(lines, place.phases, strict=False):
        on_site[phase - 1] = line_a
    return on_site[0], on_site[1], on_site[2]
