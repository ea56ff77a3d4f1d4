"""OCPP 1.6 as a charge point speaks it: payloads, and what answers mean."""

from datetime import datetime
from typing import Any

from ocpp.v16 import call

from ev_service.units import utc_text
from site_twin.charge_points.evses import Evse, Reading, Transaction, samples
from site_twin.charge_points.faulty_charge_point import FaultyChargePointV16, wire_logger
from site_twin.charge_points.handlers_v16 import handlers_v16
from site_twin.charge_points.protocol_version import About, BootReason, Handlers, ReadingContext, StopReason
from site_twin.charge_points.station import Station
from site_twin.ports import PluggedCar

_LONGEST_ID_TAG = 20
_REASONS = {
    StopReason.DEPARTED: "EVDisconnected",
    StopReason.REMOTE: "Remote",
    StopReason.DEAUTHORIZED: "DeAuthorized",
    StopReason.RESET: "HardReset",
    StopReason.RESET_ON_IDLE: "SoftReset",
    StopReason.POWER_LOSS: "PowerLoss",
}


class V16:
    """The protocol of OCPP 1.6J."""

    version = "1.6"
    subprotocol = "ocpp1.6"
    is_strict = False

    def create_client(self, charger_id: str, connection: Any, answer_s: int) -> FaultyChargePointV16:
        """The library's charge point on a connection."""
        return FaultyChargePointV16(charger_id, connection, answer_s, wire_logger())

    def handlers(self, station: Station) -> Handlers:
        """What answers the central system's calls."""
        return handlers_v16(station)

    def boot(self, about: About, reason: BootReason) -> Any:
        """BootNotification; the reason has no place in it."""
        return call.BootNotification(
            charge_point_model=about.model,
            charge_point_vendor=about.vendor,
            charge_point_serial_number=about.serial_number,
            firmware_version=about.firmware_version,
        )

    def heartbeat(self) -> Any:
        """Heartbeat."""
        return call.Heartbeat()

    def status(self, evse: Evse, at: datetime) -> Any:
        """StatusNotification of a connector."""
        words: dict[str, Any] = {"error_code": "NoError", "status": evse.activity.value}
        return call.StatusNotification(connector_id=evse.plan.evse_id, timestamp=utc_text(at), **words)

    def authorize(self, id_token: str) -> Any:
        """Authorize."""
        return call.Authorize(id_tag=id_token[:_LONGEST_ID_TAG])

    def is_accepted(self, answer: Any) -> bool:
        """Whether an answer leaves the tag accepted."""
        return answer.id_tag_info is None or answer.id_tag_info["status"] == "Accepted"

    def build_started(self, evse: Evse, transaction: Transaction, reading: Reading, is_offline: bool) -> Any:
        """StartTransaction."""
        return call.StartTransaction(
            connector_id=evse.plan.evse_id,
            id_tag=transaction.id_token[:_LONGEST_ID_TAG],
            meter_start=reading.energy_wh,
            timestamp=utc_text(transaction.started_at),
        )

    def transaction_id(self, transaction: Transaction, answer: Any) -> str | None:
        """The number that the central system gives."""
        return None if answer is None else str(answer.transaction_id)

    def needs(self, evse: Evse, car: PluggedCar, voltage_v: float) -> Any:
        """1.6 has no word for what a car needs."""
        return None

    def build_activity_changed(
        self, evse: Evse, transaction: Transaction, reading: Reading | None, at: datetime
    ) -> Any:
        """StatusNotification, which holds all of it."""
        return self.status(evse, at)

    def build_meter_values(
        self, evse: Evse, transaction: Transaction | None, reading: Reading, occasion: ReadingContext
    ) -> Any:
        """MeterValues."""
        number = None if transaction is None or transaction.wire_id is None else int(transaction.wire_id)
        context = "Trigger" if occasion is ReadingContext.TRIGGERED else "Sample.Periodic"
        return call.MeterValues(
            connector_id=evse.plan.evse_id,
            transaction_id=number,
            meter_value=[{"timestamp": utc_text(reading.at), "sampled_value": _build_sampled_values(reading, context)}],
        )

    def build_ended(
        self, evse: Evse, transaction: Transaction, reading: Reading, ending: StopReason, is_offline: bool
    ) -> Any:
        """StopTransaction; None where the central system refused to start it."""
        if transaction.wire_id is None:
            return None
        reason: Any = _REASONS[ending]
        return call.StopTransaction(
            transaction_id=int(transaction.wire_id),
            id_tag=transaction.id_token[:_LONGEST_ID_TAG],
            meter_stop=reading.energy_wh,
            timestamp=utc_text(reading.at),
            reason=reason,
        )


def _build_sampled_values(reading: Reading, context: str) -> list[dict[str, str]]:
    return [
        {"measurand": measurand, "unit": unit, "value": f"{value:.10g}", "context": context, **phase}
        for measurand, unit, value, phase in samples(reading)
    ]
