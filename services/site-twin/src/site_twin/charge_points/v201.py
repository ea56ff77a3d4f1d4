"""OCPP 2.0.1 as a charging station speaks it: payloads, and what answers mean."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ocpp.v201 import call

from ev_service.units import utc_text
from site_twin.charge_points.evses import Activity, Evse, Reading, Transaction, samples
from site_twin.charge_points.faulty_charge_point import FaultyChargePointV201, wire_logger
from site_twin.charge_points.handlers_v201 import handlers_v201
from site_twin.charge_points.protocol_version import About, BootReason, Handlers, ReadingContext, StopReason
from site_twin.charge_points.station import Station
from site_twin.ports import PluggedCar

_CONNECTOR_ID = 1
_ENDINGS = {
    StopReason.DEPARTED: ("EVDeparted", "EVDisconnected"),
    StopReason.REMOTE: ("RemoteStop", "Remote"),
    StopReason.DEAUTHORIZED: ("Deauthorized", "DeAuthorized"),
    StopReason.RESET: ("ResetCommand", "ImmediateReset"),
    StopReason.RESET_ON_IDLE: ("ResetCommand", "ImmediateReset"),
    StopReason.POWER_LOSS: ("AbnormalCondition", "PowerLoss"),
}
_TRANSFERS = {1: "AC_single_phase", 2: "AC_two_phase", 3: "AC_three_phase"}
_STATES = {activity: activity.value for activity in (Activity.CHARGING, Activity.SUSPENDED_EV, Activity.SUSPENDED_EVSE)}


@dataclass(frozen=True, slots=True)
class _Event:
    """What is particular to one TransactionEvent."""

    event_type: str
    trigger: str
    at: datetime
    is_offline: bool = False
    stopped_reason: str | None = None


class V201:
    """The protocol of OCPP 2.0.1."""

    version = "2.0.1"
    subprotocol = "ocpp2.0.1"
    is_strict = True

    def create_client(self, charger_id: str, connection: Any, answer_s: int) -> FaultyChargePointV201:
        """The library's charging station on a connection."""
        return FaultyChargePointV201(charger_id, connection, answer_s, wire_logger())

    def handlers(self, station: Station) -> Handlers:
        """What answers the CSMS's calls."""
        return handlers_v201(station)

    def boot(self, about: About, reason: BootReason) -> Any:
        """BootNotification."""
        station: Any = {
            "model": about.model,
            "vendor_name": about.vendor,
            "serial_number": about.serial_number,
            "firmware_version": about.firmware_version,
        }
        why: Any = reason.value
        return call.BootNotification(charging_station=station, reason=why)

    def heartbeat(self) -> Any:
        """Heartbeat."""
        return call.Heartbeat()

    def status(self, evse: Evse, at: datetime) -> Any:
        """StatusNotification of the EVSE's connector: a car is there or not."""
        status: Any = "Available" if evse.activity is Activity.AVAILABLE else "Occupied"
        return call.StatusNotification(
            timestamp=utc_text(at),
            connector_status=status,
            evse_id=evse.plan.evse_id,
            connector_id=_CONNECTOR_ID,
        )

    def authorize(self, id_token: str) -> Any:
        """Authorize."""
        return call.Authorize(id_token=_token(id_token))

    def is_accepted(self, answer: Any) -> bool:
        """Whether an answer leaves the token accepted."""
        return answer.id_token_info is None or answer.id_token_info["status"] == "Accepted"

    def build_started(self, evse: Evse, transaction: Transaction, reading: Reading, is_offline: bool) -> Any:
        """TransactionEvent Started, once the driver is authorized."""
        trigger = "Authorized" if transaction.remote_start_id is None else "RemoteStart"
        token = _token(transaction.id_token)
        event = _Event("Started", trigger, transaction.started_at, is_offline)
        return _message(evse, transaction, event, reading, id_token=token)

    def transaction_id(self, transaction: Transaction, answer: Any) -> str | None:
        """The station names its transactions itself."""
        return transaction.local_id

    def needs(self, evse: Evse, car: PluggedCar, voltage_v: float) -> Any:
        """NotifyEVChargingNeeds; energies in Wh, as long as the car is there."""
        needs: Any = {
            "requested_energy_transfer": _TRANSFERS[min(car.phases, len(evse.plan.phases))],
            "departure_time": utc_text(car.departure),
            "ac_charging_parameters": {
                "energy_amount": round(car.energy_wanted_kwh * 1000),
                "ev_min_current": round(car.min_current_a),
                "ev_max_current": round(car.max_current_a),
                "ev_max_voltage": round(voltage_v),
            },
        }
        return call.NotifyEVChargingNeeds(charging_needs=needs, evse_id=evse.plan.evse_id)

    def build_activity_changed(
        self, evse: Evse, transaction: Transaction, reading: Reading | None, at: datetime
    ) -> Any:
        """TransactionEvent Updated."""
        return _message(evse, transaction, _Event("Updated", ReadingContext.STATE.value, at), reading)

    def build_meter_values(
        self, evse: Evse, transaction: Transaction | None, reading: Reading, occasion: ReadingContext
    ) -> Any:
        """TransactionEvent Updated, or MeterValues outside of a transaction."""
        if transaction is None:
            values: Any = [_meter_value(reading, "Trigger")]
            return call.MeterValues(evse_id=evse.plan.evse_id, meter_value=values)
        return _message(evse, transaction, _Event("Updated", occasion.value, reading.at), reading)

    def build_ended(
        self, evse: Evse, transaction: Transaction, reading: Reading, ending: StopReason, is_offline: bool
    ) -> Any:
        """TransactionEvent Ended."""
        trigger, reason = _ENDINGS[ending]
        event = _Event("Ended", trigger, reading.at, is_offline, reason)
        return _message(evse, transaction, event, reading)


def _message(evse: Evse, transaction: Transaction, event: _Event, reading: Reading | None, **more: Any) -> Any:
    is_running = event.event_type == "Updated"
    context = "Sample.Periodic" if is_running else f"Transaction.{'Begin' if event.event_type == 'Started' else 'End'}"
    content: dict[str, Any] = {
        "event_type": event.event_type,
        "timestamp": utc_text(event.at),
        "trigger_reason": event.trigger,
        "seq_no": transaction.next_seq_no(),
        "offline": event.is_offline,
        "transaction_info": {
            "transaction_id": transaction.local_id,
            "charging_state": _STATES.get(evse.activity, "EVConnected") if is_running else "EVConnected",
            "remote_start_id": transaction.remote_start_id,
            "stopped_reason": event.stopped_reason,
        },
        "evse": {"id": evse.plan.evse_id, "connector_id": _CONNECTOR_ID},
        "meter_value": None if reading is None else [_meter_value(reading, context)],
    }
    return call.TransactionEvent(**content, **more)


def _token(id_token: str) -> Any:
    return {"id_token": id_token[:36], "type": "Central"}


def _meter_value(reading: Reading, context: str) -> dict[str, Any]:
    sampled = [
        {"value": value, "measurand": measurand, "context": context, "unit_of_measure": {"unit": unit}, **phase}
        for measurand, unit, value, phase in samples(reading)
    ]
    return {"timestamp": utc_text(reading.at), "sampled_value": sampled}
