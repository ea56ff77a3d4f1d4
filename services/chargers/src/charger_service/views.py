"""State of the fleet as ChargerAPI returns it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from charger_service.configuration import ChargerEntry, EvseEntry
from charger_service.envelope import GRID_SIGNAL, EvseKey
from charger_service.evse_facts import ChargingSession
from charger_service.limit_state import PROTECTION, Cause, LimitOrder, draws_without_session
from charger_service.metering import Meter, plausible_currents
from charger_service.schema_violations import SchemaViolationLog
from charger_service.site import ChargingSite, isolate_errors
from ev_service.charging import (
    Charger,
    ChargerDetails,
    ChargerQuirk,
    Chargers,
    Evse,
    EvseState,
    LimitMethod,
    MeterValues,
    SchemaOffence,
    Session,
    Sessions,
)
from ev_service.clock import Clock, read_clock
from ev_service.errors import EvError
from ev_service.lifetimes import Instant

SOURCE = "ocpp"


class UnknownChargerError(EvError):
    """The site has no charger of this identity."""

    code: ClassVar[str] = "unknown_charger"
    http_status: ClassVar[int] = 404


class ChargerViews:
    """Builds the answers of ChargerAPI from the site's state.

    Args:
        site: the site's state.
        clock: the run's clock.
        last_seen: returns when a message of a charger last arrived, UTC.
        violations: violations of the schema by charger.
    """

    def __init__(
        self,
        site: ChargingSite,
        clock: Clock,
        last_seen: Callable[[str], datetime | None],
        violations: SchemaViolationLog,
    ) -> None:
        self._site = site
        self._clock = clock
        self._last_seen = last_seen
        self._violations = violations

    def chargers(self) -> Chargers:
        """Return all chargers, and the limits that they share."""
        site, settings, now = self._site, self._site.rules.settings, read_clock(self._clock)
        entries = sorted(site.installation.chargers, key=lambda entry: entry.charger_id)
        return Chargers(
            site_id=settings.id,
            timestamp=now.wall,
            source=SOURCE,
            site_limit_kw=site.site_limit_kw,
            charging_limit_kw=site.signal.charging_kw,
            grid_signals=site.signals.describe(now),
            voltage_v=settings.voltage_v,
            phases=settings.phases,
            feeders=site.installation.wire_feeders,
            override=site.override and site.override.as_shown(now),
            chargers=tuple(self._charger(entry, now) for entry in entries),
        )

    def charger(self, charger_id: str) -> ChargerDetails:
        """Return one charger with its details.

        Raises:
            UnknownChargerError: the site has none of this identity.
        """
        for entry in self._site.installation.chargers:
            if entry.charger_id == charger_id:
                return self._details(self._charger(entry, read_clock(self._clock)))
        raise UnknownChargerError("the site has no charger of this identity")

    def sessions(self) -> Sessions:
        """Return the running sessions, the oldest first."""
        running: list[Session] = []
        for key in self._site.wirings:
            with isolate_errors("describing", key):
                if (session := self._site.get_session(key)) is not None:
                    running.append(to_session(key, session))
        running.sort(key=lambda one: (one.started_at, one.charger_id, one.evse_id))
        return Sessions(
            site_id=self._site.rules.settings.id,
            timestamp=self._clock.now(),
            source=SOURCE,
            sessions=tuple(running),
        )

    def _details(self, charger: Charger) -> ChargerDetails:
        offences = tuple(
            SchemaOffence(
                message=one.violation.message,
                reason=one.violation.reason,
                is_refused=one.violation.is_refused,
                count=one.count,
                last_at=one.last_at,
            )
            for one in self._violations.of(charger.charger_id)
        )
        quirks = tuple(
            ChargerQuirk(quirk=quirk.name, value=quirk.value_text, source=quirk.source)
            for quirk in self._site.find_quirks(charger.charger_id)
        )
        known = self._site.chargers[charger.charger_id].known_method
        method = known and LimitMethod(
            purpose=known.method.purpose, stack_level=known.method.stack_level, unit=known.method.unit
        )
        return ChargerDetails(**dict(charger), quirks=quirks or None, limit_method=method, offences=offences or None)

    def _charger(self, entry: ChargerEntry, now: Instant) -> Charger:
        facts = self._site.chargers[entry.charger_id]
        return Charger(
            charger_id=entry.charger_id,
            is_connected=facts.is_connected,
            last_seen=self._last_seen(entry.charger_id),
            ocpp_version=facts.ocpp_version,
            vendor=facts.make and facts.make.vendor,
            model=facts.make and facts.make.model,
            firmware_version=facts.make and facts.make.firmware_version,
            feeder_id=entry.feeder_id,
            evses=tuple(self._evse((entry.charger_id, evse.evse_id), evse, now) for evse in entry.evses),
        )

    def _evse(self, key: EvseKey, entry: EvseEntry, now: Instant) -> Evse:
        """Return one EVSE; where that fails, only how it is installed, so that the others are returned."""
        installed = Evse(
            evse_id=entry.evse_id,
            state=EvseState.UNKNOWN,
            phases=entry.phases,
            max_current_a=entry.max_current_a,
            can_switch_phases=entry.can_switch_phases,
            fallback_a=self._site.limit_states[key].fallback_a,
        )
        with isolate_errors("describing", key):
            return installed.model_copy(update=self._describe_state(key, now))
        return installed

    def _describe_state(self, key: EvseKey, now: Instant) -> dict[str, Any]:
        """Return the state of an EVSE."""
        facts, state = self._site.evses[key], self._site.limit_states[key]
        order = self._site.order_in_force(key, now)
        if order is not None and order.cause is Cause.FALLBACK and order.limited_by is None:
            order = None
        return {
            "state": facts.state,
            "limit_a": order and order.limit_a,
            "limited_by": self._find_limiting_cause(key, order),
            "valid_until": order and order.lifetime.expected_end(now),
            "is_confirmed": state.is_confirmed,
            "is_overdrawing": state.is_overdrawing,
            "draws_without_session": draws_without_session(facts),
            "measured": facts.meter and self._describe_meter(key, facts.meter),
            "session": facts.session and to_session(key, facts.session),
        }

    def _describe_meter(self, key: EvseKey, meter: Meter) -> MeterValues:
        """Return an EVSE's meter values, and what the connection's meter confirms of them."""
        phases, confirmed = self._site.rules.settings.phases, self._site.draw_evidence.confirm()
        shown_a = plausible_currents(meter.current_a, self._site.wirings[key])[:phases]
        confirmed_kw, confirmed_a = None, None
        if confirmed is not None:
            confirmed_kw = round(min(meter.power_kw, confirmed.power_kw.get(key, 0.0)), 3)
        if confirmed is not None and confirmed.current_a:
            known_a = enumerate(shown_a, start=1)
            confirmed_a = tuple(round(min(one_a, confirmed.phase_a(key, phase)), 2) for phase, one_a in known_a)
        return MeterValues(
            measured_at=meter.measured_at,
            power_kw=round(meter.power_kw, 3),
            current_a=tuple(round(one_a, 2) for one_a in shown_a),
            is_implausible=meter.is_implausible,
            confirmed_power_kw=confirmed_kw,
            confirmed_current_a=confirmed_a,
        )

    def _find_limiting_cause(self, key: EvseKey, order: LimitOrder | None) -> str | None:
        """Return what limits an EVSE.

        Protection takes precedence over the operator, and needs no order in force; an override within the grid
        operator's signal is limited by that.
        """
        if order is None:
            return PROTECTION if key in self._site.caps else None
        is_override = order.cause is Cause.OVERRIDE and order.limited_by not in (PROTECTION, GRID_SIGNAL)
        return "override" if is_override else order.limited_by


def to_session(key: EvseKey, session: ChargingSession) -> Session:
    """Convert a session for an answer."""
    return Session(
        session_id=session.session_id,
        charger_id=key[0],
        evse_id=key[1],
        started_at=session.started_at,
        energy_kwh=round(session.energy_kwh, 3),
        energy_wanted_kwh=session.energy_wanted_kwh,
        departure=session.departure,
        priority=session.priority,
        guaranteed_a=session.guaranteed_a,
        mode=session.mode,
        driver_id=session.driver and session.driver.driver_id,
    )
