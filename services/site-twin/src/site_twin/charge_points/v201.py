"""OCPP 2.0.1 as a charging station speaks it: payloads, and what answers mean."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ocpp.v201 import call, call_result

from ev_service.ocpp_connection import handles
from ev_service.units import utc_text
from site_twin.charge_points import profile_handling
from site_twin.charge_points.configuration import SETTABLE_V201, set_seconds, values_v201
from site_twin.charge_points.connection import StationConnection
from site_twin.charge_points.evses import Activity, Evse, Reading, Transaction, samples
from site_twin.charge_points.profiles import ProfilePurpose
from site_twin.charge_points.protocol_version import About, BootReason, ReadingContext, StopReason
from site_twin.charge_points.wire_profiles import period_contents, profile_from_v201, purpose_of
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


class Connection201(StationConnection):
    """The connection of an OCPP 2.0.1 charging station: it answers the CSMS's calls."""

    version = "2.0.1"
    results = call_result

    @handles("SetChargingProfile")
    def on_set_charging_profile(self, evse_id: int, charging_profile: dict[str, Any], **_: Any) -> Any:
        """SetChargingProfile."""
        try:
            profile = profile_from_v201(evse_id, charging_profile)
        except ValueError:
            return _answer(call_result.SetChargingProfile, "InvalidProfile")
        return _answer(call_result.SetChargingProfile, profile_handling.set_profile(self.station, profile))

    @handles("ClearChargingProfile")
    def on_clear_charging_profile(
        self,
        charging_profile_id: int | None = None,
        charging_profile_criteria: dict[str, Any] | None = None,
        **_: Any,
    ) -> Any:
        """ClearChargingProfile."""
        criteria = charging_profile_criteria or {}
        status: Any = "Unknown"
        try:
            purpose: ProfilePurpose | None = purpose_of(criteria.get("charging_profile_purpose"))
        except ValueError:
            return call_result.ClearChargingProfile(status=status)
        evse_id, stack_level = criteria.get("evse_id"), criteria.get("stack_level")
        if profile_handling.clear_profiles(self.station, charging_profile_id, evse_id, purpose, stack_level):
            status = "Accepted"
        return call_result.ClearChargingProfile(status=status)

    @handles("GetCompositeSchedule")
    def on_get_composite_schedule(self, duration: int, evse_id: int, **_: Any) -> Any:
        """GetCompositeSchedule."""
        composite = profile_handling.composite_schedule(self.station, evse_id, duration)
        if composite is None:
            return _answer(call_result.GetCompositeSchedule, "UnknownEvse")
        schedule = {
            "evse_id": evse_id,
            "duration": duration,
            "schedule_start": utc_text(self.station.cars.now()),
            "charging_rate_unit": composite.unit,
            "charging_schedule_period": period_contents(composite.periods),
        }
        return _answer(call_result.GetCompositeSchedule, None, schedule=schedule)

    @handles("RequestStartTransaction")
    def on_request_start_transaction(
        self,
        id_token: dict[str, Any],
        remote_start_id: int,
        evse_id: int | None = None,
        charging_profile: dict[str, Any] | None = None,
        **_: Any,
    ) -> Any:
        """RequestStartTransaction."""
        try:
            profile = None if charging_profile is None else profile_from_v201(evse_id or 1, charging_profile)
        except ValueError:
            return _answer(call_result.RequestStartTransaction, "InvalidProfile")
        evse = profile_handling.remote_start(self.station, evse_id, id_token["id_token"], profile, remote_start_id)
        if evse is None or evse.transaction is None:
            return _answer(call_result.RequestStartTransaction, "NoCar")
        return _answer(call_result.RequestStartTransaction, None, transaction_id=evse.transaction.local_id)

    @handles("RequestStopTransaction")
    def on_request_stop_transaction(self, transaction_id: str, **_: Any) -> Any:
        """RequestStopTransaction."""
        reason = None if profile_handling.remote_stop(self.station, transaction_id) else "TxNotFound"
        return _answer(call_result.RequestStopTransaction, reason)

    @handles("TriggerMessage")
    def on_trigger_message(self, requested_message: str, evse: dict[str, Any] | None = None, **_: Any) -> Any:
        """TriggerMessage."""
        status: Any = profile_handling.trigger(self.station, requested_message, None if evse is None else evse["id"])
        return call_result.TriggerMessage(status=status)

    @handles("Reset")
    def on_reset(self, type: str, **_: Any) -> Any:
        """Reset."""
        is_idle = all(evse.transaction is None for evse in self.station.evses.values())
        if type == "Immediate" or is_idle:
            self.station.reboot(BootReason.REMOTE_RESET, StopReason.RESET)
            return _answer(call_result.Reset, None)
        self.station.resets_when_idle = True
        status: Any = "Scheduled"
        return call_result.Reset(status=status)

    @handles("GetVariables")
    def on_get_variables(self, get_variable_data: list[dict[str, Any]], **_: Any) -> Any:
        """GetVariables."""
        values = values_v201(self.station.configuration, profile_handling.abilities(self.station))
        results: Any = [
            _variable_result(asked, values, attribute_value=values.get(_name(asked))) for asked in get_variable_data
        ]
        return call_result.GetVariables(get_variable_result=results)

    @handles("SetVariables")
    def on_set_variables(self, set_variable_data: list[dict[str, Any]], **_: Any) -> Any:
        """SetVariables."""
        results: Any = []
        for order in set_variable_data:
            values = values_v201(self.station.configuration, profile_handling.abilities(self.station))
            result = _variable_result(order, values)
            is_known = result["attribute_status"] == "Accepted"
            field = SETTABLE_V201.get(_name(order))
            if is_known and not set_seconds(self.station.configuration, field, order["attribute_value"]):
                result["attribute_status"] = "Rejected"
            results.append(result)
        return call_result.SetVariables(set_variable_result=results)


def _answer(result: Any, reason: str | None, **more: Any) -> Any:
    """Accepted without a reason, else Rejected with it."""
    info = None if reason is None else {"reason_code": reason}
    return result(status="Accepted" if reason is None else "Rejected", status_info=info, **more)


def _variable_result(asked: dict[str, Any], values: dict[tuple[str, str], str], **more: Any) -> dict[str, Any]:
    component, name = _name(asked)
    if (component, name) in values:
        status = "Accepted"
    else:
        is_known = any(component == known for known, _ in values)
        status = "UnknownVariable" if is_known else "UnknownComponent"
    return {
        "attribute_status": status,
        "component": asked["component"],
        "variable": asked["variable"],
        **{key: value for key, value in more.items() if value is not None},
    }


def _name(asked: dict[str, Any]) -> tuple[str, str]:
    return asked["component"]["name"], asked["variable"]["name"]
