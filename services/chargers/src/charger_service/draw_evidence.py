"""Finds EVSEs that report a draw which the connection's meter does not show."""

import logging

from charger_service.envelope import EvseKey
from charger_service.metering import Meter
from charger_service.site import ChargingSite
from ev_service.charging_evidence import ChargingEvidence, ConfirmedCharging, ConnectionLoad, ReportedCharging
from ev_service.telemetry import GridLoad

_logger = logging.getLogger(__name__)


class MeterEvidence:
    """`charger_service.site.DrawEvidence` of a connection that is measured.

    Args:
        site: what is reported; marked to be looked at where another EVSE is contradicted, or none any more.
    """

    def __init__(self, site: ChargingSite) -> None:
        self._site = site
        self._evidence = ChargingEvidence()
        self._contradicted: frozenset[EvseKey] = frozenset()
        self._confirmed: ConfirmedCharging | None = None

    def contradicts(self, key: EvseKey, meter: Meter) -> bool:
        """Return whether the EVSE reported a rise that the load did not follow."""
        return key in self._contradicted

    def confirm(self) -> ConfirmedCharging | None:
        """Return what the newest reading of the meter confirms; None: there is no usable one."""
        return self._confirmed

    def observe(self, reading: GridLoad) -> None:
        """Compare the present reports with a reading of the meter; one without charging is ignored."""
        if not reading.includes_charging:
            return
        try:
            voltage_v = self._site.rules.settings.voltage_v
            load_kw = reading.load_kw - reading.export_kw
            load = ConnectionLoad(reading.timestamp, load_kw, reading.current_a, voltage_v)
            self._evidence.observe(load, self._events(voltage_v))
            self._confirmed = self._evidence.confirm()
            self._take(self._confirmed.contradicted)
        except Exception:
            # Without evidence what is reported counts, as without a meter.
            _logger.exception("what chargers report could not be compared with the connection's meter")
            self.forget()

    def forget(self) -> None:
        """Reset: without a usable meter nothing is contradicted."""
        self._evidence, self._confirmed = ChargingEvidence(), None
        self._take(frozenset())

    def _take(self, contradicted: frozenset[EvseKey]) -> None:
        if contradicted != self._contradicted:
            named = [f"{charger_id}/{evse_id}" for charger_id, evse_id in sorted(contradicted)]
            _logger.warning("draws that the connection's meter does not show", extra={"evses": named})
            self._contradicted, self._site.is_dirty = contradicted, True

    def _events(self, voltage_v: float) -> dict[EvseKey, ReportedCharging]:
        phases = self._site.rules.settings.phases
        return {
            key: ReportedCharging(sum(facts.meter.likely_a) * voltage_v / 1000, facts.meter.likely_a[:phases])
            for key, facts in self._site.evses.items()
            if facts.meter is not None
        }
