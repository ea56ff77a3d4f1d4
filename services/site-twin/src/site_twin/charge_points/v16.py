"""OCPP 1.6 as a charge point speaks it: payloads, and what answers mean."""

from datetime import datetime
from typing import Any

from ocpp.v16 import call, call_result

from ev_service.ocpp_connection import handles
from ev_service.units import utc_text
from site_twin.charge_points import profile_handling
from site_twin.charge_points.configuration import SETTABLE_V16, set_seconds, values_v16
from site_twin.charge_points.connection import StationConnection
from site_twin.charge_points.evses import Evse, Reading, Transaction, samples
from site_twin.charge_points.profiles import ProfilePurpose
from site_twin.charge_points.protocol_version import About, BootReason, ReadingContext, StopReason
from site_twin.charge_points.wire_profiles import period_contents, profile_from_v16, purpose_of
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


class Connection16(StationConnection):
    """The connection of an OCPP 1.6 charge point: it answers the central system's calls."""

    version = "1.6"
    results = call_result

    @handles("SetChargingProfile")
    def on_set_charging_profile(self, connector_id: int, cs_charging_profiles: dict[str, Any]) -> Any:
        """SetChargingProfile."""
        try:
            profile = profile_from_v16(connector_id, cs_charging_profiles, self.station.cars.now())
        except ValueError:
            return call_result.SetChargingProfile(status=_to_status(False))
        return call_result.SetChargingProfile(
            status=_to_status(profile_handling.set_profile(self.station, profile) is None)
        )

    @handles("ClearChargingProfile")
    def on_clear_charging_profile(
        self,
        id: int | None = None,
        connector_id: int | None = None,
        charging_profile_purpose: str | None = None,
        stack_level: int | None = None,
    ) -> Any:
        """ClearChargingProfile."""
        purpose: ProfilePurpose | None = purpose_of(charging_profile_purpose)
        was_there = profile_handling.clear_profiles(self.station, id, connector_id, purpose, stack_level)
        status: Any = "Accepted" if was_there else "Unknown"
        return call_result.ClearChargingProfile(status=status)

    @handles("GetCompositeSchedule")
    def on_get_composite_schedule(self, connector_id: int, duration: int, charging_rate_unit: str | None = None) -> Any:
        """GetCompositeSchedule."""
        composite = profile_handling.composite_schedule(self.station, connector_id, duration)
        if composite is None:
            return call_result.GetCompositeSchedule(status=_to_status(False))
        now = utc_text(self.station.cars.now())
        return call_result.GetCompositeSchedule(
            status=_to_status(True),
            connector_id=connector_id,
            schedule_start=now,
            charging_schedule={
                "start_schedule": now,
                "duration": duration,
                "charging_rate_unit": composite.unit,
                "charging_schedule_period": period_contents(composite.periods),
            },
        )

    @handles("RemoteStartTransaction")
    def on_remote_start_transaction(
        self, id_tag: str, connector_id: int | None = None, charging_profile: dict[str, Any] | None = None
    ) -> Any:
        """RemoteStartTransaction."""
        try:
            profile = (
                None
                if charging_profile is None
                else profile_from_v16(connector_id or 1, charging_profile, self.station.cars.now())
            )
        except ValueError:
            return call_result.RemoteStartTransaction(status=_to_status(False))
        evse = profile_handling.remote_start(self.station, connector_id, id_tag, profile)
        return call_result.RemoteStartTransaction(status=_to_status(evse is not None))

    @handles("RemoteStopTransaction")
    def on_remote_stop_transaction(self, transaction_id: int) -> Any:
        """RemoteStopTransaction."""
        is_stopped = profile_handling.remote_stop(self.station, str(transaction_id))
        return call_result.RemoteStopTransaction(status=_to_status(is_stopped))

    @handles("TriggerMessage")
    def on_trigger_message(self, requested_message: str, connector_id: int | None = None) -> Any:
        """TriggerMessage."""
        status: Any = profile_handling.trigger(self.station, requested_message, connector_id)
        return call_result.TriggerMessage(status=status)

    @handles("Reset")
    def on_reset(self, type: str) -> Any:
        """Reset."""
        self.station.reboot(BootReason.REMOTE_RESET, StopReason.RESET if type == "Hard" else StopReason.RESET_ON_IDLE)
        return call_result.Reset(status=_to_status(True))

    @handles("GetConfiguration")
    def on_get_configuration(self, key: list[str] | None = None) -> Any:
        """GetConfiguration."""
        values = self._configuration_values()
        asked = key or list(values)
        known = [
            {"key": name, "readonly": name not in SETTABLE_V16, "value": values[name]}
            for name in asked
            if name in values
        ]
        return call_result.GetConfiguration(
            configuration_key=known, unknown_key=[name for name in asked if name not in values]
        )

    @handles("ChangeConfiguration")
    def on_change_configuration(self, key: str, value: str) -> Any:
        """ChangeConfiguration."""
        values = self._configuration_values()
        is_set = set_seconds(self.station.configuration, SETTABLE_V16.get(key), value)
        status: Any = _to_status(is_set) if key in values else "NotSupported"
        return call_result.ChangeConfiguration(status=status)

    def _configuration_values(self) -> dict[str, str]:
        station = self.station
        return values_v16(station.configuration, profile_handling.abilities(station), len(station.evses))


def _to_status(is_accepted: bool) -> Any:
    # The library's enums are texts; so is this.
    return "Accepted" if is_accepted else "Rejected"
