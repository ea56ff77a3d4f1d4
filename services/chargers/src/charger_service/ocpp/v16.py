"""Chargers that speak OCPP 1.6J.

Source: OCPP 1.6 edition 2; OCPP-J 1.6; the security whitepaper's messages are acknowledged.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ocpp.v16 import call, call_result

from charger_service.ocpp.charge_point import ChargePoint, abilities_of, to_reply
from charger_service.ocpp.meters import MEASURANDS, moment, reading, time_of
from charger_service.ocpp.profiles import ChargingProfile
from charger_service.ports import (
    ChargerCapabilities,
    CommandStatus,
    RateUnit,
    Reply,
    TransactionEnded,
    TransactionLimit,
    TransactionStarted,
    TransactionUpdated,
)
from ev_service.charging import EvseState
from ev_service.ocpp_connection import handles

_STACK_LEVEL = "ChargeProfileMaxStackLevel"
_RATE_UNIT = "ChargingScheduleAllowedChargingRateUnit"
_PHASE_SWITCH = "ConnectorSwitch3to1PhaseSupported"
_SAMPLE_INTERVAL = "MeterValueSampleInterval"
_SAMPLED = "MeterValuesSampledData"
_COMPOSITE_S = 60
# Where there is none chargers write 0, -1 or the highest number of some size.
_LARGEST_TRANSACTION_ID = 2**31 - 2
_STATES = {
    "Available": EvseState.AVAILABLE,
    "Preparing": EvseState.OCCUPIED,
    "Charging": EvseState.CHARGING,
    "SuspendedEVSE": EvseState.SUSPENDED_EVSE,
    "SuspendedEV": EvseState.SUSPENDED_EV,
    "Finishing": EvseState.OCCUPIED,
    "Reserved": EvseState.RESERVED,
    "Unavailable": EvseState.UNAVAILABLE,
    "Faulted": EvseState.FAULTED,
}
# The library's classes want its enums; words do as well, and are what the specification has.
_call, _result = cast(Any, call), cast(Any, call_result)
_ACCEPTED = {"status": "Accepted"}


class ChargePoint16(ChargePoint):
    """A charge point; its connectors count as EVSEs, connector 0 is the whole."""

    version = "1.6"
    results = call_result

    @handles("BootNotification")
    def on_boot_notification(
        self, charge_point_vendor: str, charge_point_model: str, firmware_version: str | None = None, **_: Any
    ) -> Any:
        """It (re)started."""
        return _result.BootNotification(**self.accept_boot(charge_point_vendor, charge_point_model, firmware_version))

    @handles("StatusNotification")
    def on_status_notification(self, connector_id: int, status: str, **_: Any) -> Any:
        """A connector's state."""
        if connector_id in self.evse_ids:
            is_over = status == "Finishing"
            self.context.events.on_evse_state(self.charger_id, connector_id, _STATES[status], is_over=is_over)
        return _result.StatusNotification()

    @handles("Authorize")
    def on_authorize(self, id_tag: str, **_: Any) -> Any:
        """Whether a token may charge."""
        return _result.Authorize(id_tag_info=self.token_status(id_tag))

    @handles("StartTransaction")
    async def on_start_transaction(
        self, connector_id: int, id_tag: str, meter_start: int, timestamp: str, **_: Any
    ) -> Any:
        """A transaction began; the same one again, after a lost answer, has the same number."""
        if connector_id not in self.evse_ids:
            return _result.StartTransaction(transaction_id=0, id_tag_info={"status": "Invalid"})
        beginning = f"{connector_id} {timestamp} {meter_start} {id_tag}"
        number = await self.context.numbers.number_of(self.charger_id, beginning)
        started = TransactionStarted(
            charger_id=self.charger_id,
            evse_id=connector_id,
            transaction_id=str(number),
            started_at=moment(timestamp, self.last_message_at),
            energy_kwh=meter_start / 1000,
            id_token=id_tag,
        )
        self.note_begin(started.transaction_id, started.started_at)
        await self.context.events.on_transaction_started(started)
        return _result.StartTransaction(transaction_id=number, id_tag_info=self.token_status(id_tag))

    @handles("StopTransaction")
    async def on_stop_transaction(
        self, meter_stop: int, timestamp: str, transaction_id: int, reason: str | None = None, **_: Any
    ) -> Any:
        """A transaction ended, which nobody can refuse."""
        ended = TransactionEnded(
            charger_id=self.charger_id,
            transaction_id=str(transaction_id),
            ended_at=moment(timestamp, self.last_message_at),
            energy_kwh=meter_stop / 1000,
            reason=reason,
        )
        self.note_end(ended.transaction_id, ended.ended_at)
        await self.context.events.on_transaction_ended(ended)
        return _result.StopTransaction(id_tag_info=_ACCEPTED)

    @handles("MeterValues")
    def on_meter_values(
        self, connector_id: int, meter_value: Sequence[Mapping[str, Any]], transaction_id: int | None = None, **_: Any
    ) -> Any:
        """Meter values of a connector."""
        if connector_id in self.evse_ids:
            is_one = transaction_id is not None and 0 < transaction_id <= _LARGEST_TRANSACTION_ID
            running = str(transaction_id) if is_one else None
            if running is not None:
                times = [at for value in meter_value if (at := time_of(value["timestamp"])) is not None]
                self.context.events.on_transaction_updated(
                    TransactionUpdated(self.charger_id, connector_id, running, max(times, default=None))
                )
            for value in meter_value:
                found = reading(value, running)
                if found is not None:
                    self.context.events.on_meter_values(self.charger_id, connector_id, found)
        return _result.MeterValues()

    @handles("DiagnosticsStatusNotification")
    def on_diagnostics_status_notification(self, **_: Any) -> Any:
        """Acknowledged."""
        return _result.DiagnosticsStatusNotification()

    async def set_limit(self, limit: TransactionLimit) -> Reply:
        """Limit a running transaction."""
        if not limit.transaction_id.isdecimal():
            return Reply(CommandStatus.REJECTED, "transactions of OCPP 1.6 have numbers")
        return await super().set_limit(limit)

    async def set_profile(self, profile: ChargingProfile) -> Reply:
        """SetChargingProfile."""
        content = profile.content_16()
        request = _call.SetChargingProfile(connector_id=profile.evse_id, cs_charging_profiles=content)
        return to_reply((await self.request(request)).status)

    async def clear_profile(self, profile_id: int) -> Reply:
        """Take a profile away."""
        result = await self.request(_call.ClearChargingProfile(id=profile_id))
        return Reply(CommandStatus.ACCEPTED) if result.status == "Unknown" else to_reply(result.status)

    async def composite(self, evse_id: int, unit: RateUnit) -> tuple[Reply, dict[str, Any] | None]:
        """GetCompositeSchedule."""
        request = _call.GetCompositeSchedule(connector_id=evse_id, duration=_COMPOSITE_S, charging_rate_unit=str(unit))
        result = await self.request(request)
        return to_reply(result.status), result.charging_schedule

    async def start_transaction(self, evse_id: int, id_token: str) -> Reply:
        """RemoteStartTransaction, after what the charger needs for that."""
        settings = self.context.events.quirks(self.charger_id).remote_start_configuration or {}
        for key, value in settings.items():
            await self.request_optional(_call.ChangeConfiguration(key=key, value=value))
        result = await self.request(_call.RemoteStartTransaction(id_tag=id_token, connector_id=evse_id))
        return to_reply(result.status)

    async def stop_transaction(self, transaction_id: str) -> Reply:
        """RemoteStopTransaction."""
        if not transaction_id.isdecimal():
            return Reply(CommandStatus.REJECTED, "transactions of OCPP 1.6 have numbers")
        result = await self.request(_call.RemoteStopTransaction(transaction_id=int(transaction_id)))
        return to_reply(result.status)

    async def ask_meter_values(self, evse_id: int) -> Reply:
        """TriggerMessage for MeterValues."""
        result = await self.request(_call.TriggerMessage(requested_message="MeterValues", connector_id=evse_id))
        return to_reply(result.status)

    async def reset(self) -> Reply:
        """A soft reset: transactions are ended properly before."""
        return to_reply((await self.request(_call.Reset(type="Soft"))).status)

    async def read_abilities(self) -> ChargerCapabilities:
        """From its configuration."""
        said = await self._configuration(_STACK_LEVEL, _RATE_UNIT, _PHASE_SWITCH)
        return abilities_of(said.get(_STACK_LEVEL, ""), said.get(_RATE_UNIT, ""), said.get(_PHASE_SWITCH, ""))

    async def arrange_meter_values(self) -> None:
        """By its configuration, where that is not so already."""
        now = await self._configuration(_SAMPLE_INTERVAL, _SAMPLED)
        interval = str(self.context.timing.meter_s)
        if now.get(_SAMPLE_INTERVAL) != interval:
            await self.request_optional(_call.ChangeConfiguration(key=_SAMPLE_INTERVAL, value=interval))
        if set(MEASURANDS) <= {name.strip() for name in now.get(_SAMPLED, "").split(",")}:
            return
        # Where it has no power, currents and energy still say what a car draws.
        for measurands in (MEASURANDS, MEASURANDS[:2]):
            result = await self.request_optional(_call.ChangeConfiguration(key=_SAMPLED, value=",".join(measurands)))
            if result is None or to_reply(result.status).answer is not CommandStatus.REJECTED:
                return

    async def ask_how_it_is(self) -> None:
        """TriggerMessage for each connector."""
        for message in ("StatusNotification", "MeterValues"):
            for connector_id in self.evse_ids:
                await self.request_optional(_call.TriggerMessage(requested_message=message, connector_id=connector_id))

    async def _configuration(self, *keys: str) -> dict[str, str]:
        result = await self.request_optional(_call.GetConfiguration(key=list(keys)))
        known: list[dict[str, Any]] = [] if result is None else result.configuration_key or []
        return {item["key"]: str(item.get("value", "")) for item in known}
