"""Charging stations that speak OCPP 2.0.1.

Source: OCPP 2.0.1 edition 3, part 2, blocks B, C, E, F, G, J, K.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, cast

from ocpp.v201 import call, call_result

from charger_service.ocpp.charge_point import ChargePoint, abilities_of, to_reply
from charger_service.ocpp.evse_states import TRANSACTION_STATES, Event, EvseStates
from charger_service.ocpp.meters import MEASURANDS, moment, reading, time_of
from charger_service.ocpp.profiles import ChargingProfile
from charger_service.ports import (
    ChargerCapabilities,
    ChargingNeeds,
    CommandStatus,
    MeterReading,
    RateUnit,
    Reply,
    TransactionEnded,
    TransactionStarted,
    TransactionUpdated,
)
from ev_service.ocpp_connection import handles

_SMART, _SAMPLED = "SmartChargingCtrlr", "SampledDataCtrlr"
_STACK_LEVEL, _RATE_UNIT, _PHASE_SWITCH = "ProfileStackLevel", "RateUnit", "Phases3to1"
_INTERVAL, _MEASURANDS = "TxUpdatedInterval", "TxUpdatedMeasurands"
_COMPOSITE_S = 60
# The library's classes want its enums; words do as well, and are what the specification has.
_call, _result = cast(Any, call), cast(Any, call_result)


class ChargePoint201(ChargePoint):
    """A charging station; EVSE 0 is the whole."""

    version = "2.0.1"
    results = call_result
    _remote_start_ids = count(1)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._states = EvseStates()

    @handles("BootNotification")
    def on_boot_notification(self, charging_station: Mapping[str, Any], **_: Any) -> Any:
        """It (re)started."""
        said = charging_station
        self._states = EvseStates()
        booted = self.accept_boot(said["vendor_name"], said["model"], said.get("firmware_version"))
        return _result.BootNotification(**booted)

    @handles("StatusNotification")
    def on_status_notification(self, connector_status: str, evse_id: int, connector_id: int, **_: Any) -> Any:
        """A connector's state."""
        if evse_id in self.evse_ids:
            state = self._states.connector(evse_id, connector_id, connector_status)
            self.context.events.on_evse_state(self.charger_id, evse_id, state)
        return _result.StatusNotification()

    @handles("Authorize")
    def on_authorize(self, id_token: Mapping[str, Any], **_: Any) -> Any:
        """Whether a token may charge."""
        return _result.Authorize(id_token_info=self.token_status(str(id_token["id_token"])))

    @handles("TransactionEvent")
    async def on_transaction_event(
        self,
        event_type: str,
        timestamp: str,
        seq_no: int,
        transaction_info: Mapping[str, Any],
        meter_value: Sequence[Mapping[str, Any]] = (),
        evse: Mapping[str, Any] | None = None,
        id_token: Mapping[str, Any] | None = None,
        offline: bool = False,
        **_: Any,
    ) -> Any:
        """A transaction began, went on or ended."""
        transaction_id = str(transaction_info["transaction_id"])
        evse_id = self._evse_of(transaction_id) if evse is None else int(evse["id"])
        if evse_id is not None and evse_id not in self.evse_ids:
            return _result.TransactionEvent(id_token_info={"status": "Invalid"})
        event = Event(transaction_id, seq_no, moment(timestamp, self.last_message_at), event_type == "Ended")
        readings = self._readings(meter_value, transaction_id, is_stored=offline)
        charging_state = transaction_info.get("charging_state")
        token = None if id_token is None else str(id_token["id_token"])
        runs = False
        if event_type == "Started":
            runs = await self._report_started(evse_id, event, readings, token, is_stored=offline)
        elif event_type == "Updated" and (evse_id is None or self._states.is_newest(evse_id, event)):
            state = None if charging_state is None else TRANSACTION_STATES[charging_state]
            seen_at = time_of(timestamp)
            runs = self.context.events.on_transaction_updated(
                TransactionUpdated(self.charger_id, evse_id, transaction_id, seen_at, offline, state, token)
            )
        for found in readings:
            self.context.events.on_meter_values(self.charger_id, evse_id, found)
        if event.is_end:
            runs = await self._report_ended(event, readings, transaction_info.get("stopped_reason"))
        if evse_id is not None and self._states.is_newest(evse_id, event):
            self._take_state(evse_id, event, charging_state, runs=runs)
        return _result.TransactionEvent(id_token_info=None if token is None else self.token_status(token))

    @handles("MeterValues")
    def on_meter_values(self, evse_id: int, meter_value: Sequence[Mapping[str, Any]], **_: Any) -> Any:
        """Meter values outside of transaction events, as many stations send them at the full minute."""
        if evse_id in self.evse_ids:
            for found in self._readings(meter_value, None, is_stored=False):
                self.context.events.on_meter_values(self.charger_id, evse_id, found)
        return _result.MeterValues()

    @handles("NotifyEVChargingNeeds")
    def on_notify_ev_charging_needs(self, charging_needs: Mapping[str, Any], evse_id: int, **_: Any) -> Any:
        """What the car says that it needs."""
        if evse_id not in self.evse_ids:
            return _result.NotifyEVChargingNeeds(status="Rejected")
        either = charging_needs.get("ac_charging_parameters", charging_needs.get("dc_charging_parameters", {}))
        said = cast(dict[str, Any], either)
        energy_wh, departure = said.get("energy_amount"), charging_needs.get("departure_time")
        needs = ChargingNeeds(
            energy_wanted_kwh=None if energy_wh is None else max(0, energy_wh) / 1000,
            departure=time_of(departure),
            max_current_a=said.get("ev_max_current"),
        )
        self.context.events.on_charging_needs(self.charger_id, evse_id, needs)
        return _result.NotifyEVChargingNeeds(status="Processing")

    @handles("NotifyEvent")
    def on_notify_event(self, **_: Any) -> Any:
        """Acknowledged."""
        return _result.NotifyEvent()

    @handles("NotifyReport")
    def on_notify_report(self, **_: Any) -> Any:
        """Acknowledged."""
        return _result.NotifyReport()

    async def set_profile(self, profile: ChargingProfile) -> Reply:
        """SetChargingProfile."""
        request = _call.SetChargingProfile(evse_id=profile.evse_id, charging_profile=profile.content_201())
        return _to_reply(await self.request(request))

    async def clear_profile(self, profile_id: int) -> Reply:
        """Take a profile away."""
        result = await self.request(_call.ClearChargingProfile(charging_profile_id=profile_id))
        return Reply(CommandStatus.ACCEPTED) if result.status == "Unknown" else _to_reply(result)

    async def composite(self, evse_id: int, unit: RateUnit) -> tuple[Reply, dict[str, Any] | None]:
        """GetCompositeSchedule."""
        request = _call.GetCompositeSchedule(duration=_COMPOSITE_S, evse_id=evse_id, charging_rate_unit=str(unit))
        result = await self.request(request)
        return _to_reply(result), result.schedule

    async def start_transaction(self, evse_id: int, id_token: str) -> Reply:
        """RequestStartTransaction."""
        token = {"id_token": id_token, "type": "Central"}
        request = _call.RequestStartTransaction(
            id_token=token, remote_start_id=next(self._remote_start_ids), evse_id=evse_id
        )
        return _to_reply(await self.request(request))

    async def stop_transaction(self, transaction_id: str) -> Reply:
        """RequestStopTransaction."""
        return _to_reply(await self.request(_call.RequestStopTransaction(transaction_id=transaction_id)))

    async def ask_meter_values(self, evse_id: int) -> Reply:
        """TriggerMessage for MeterValues."""
        return _to_reply(
            await self.request(_call.TriggerMessage(requested_message="MeterValues", evse={"id": evse_id}))
        )

    async def reset(self) -> Reply:
        """A reset once no transaction runs."""
        return _to_reply(await self.request(_call.Reset(type="OnIdle")))

    async def read_abilities(self) -> ChargerCapabilities:
        """From its variables."""
        said = await self._variables(_SMART, _STACK_LEVEL, _RATE_UNIT, _PHASE_SWITCH)
        return abilities_of(said.get(_STACK_LEVEL, ""), said.get(_RATE_UNIT, ""), said.get(_PHASE_SWITCH, ""))

    async def arrange_meter_values(self) -> None:
        """By its variables, where that is not so already."""
        now = await self._variables(_SAMPLED, _INTERVAL, _MEASURANDS)
        interval = str(self.context.timing.meter_s)
        if now.get(_INTERVAL) != interval:
            await self._set_variable(_INTERVAL, interval)
        if set(MEASURANDS) <= {name.strip() for name in now.get(_MEASURANDS, "").split(",")}:
            return
        # Where it has no power, currents and energy still say what a car draws.
        if await self._set_variable(_MEASURANDS, ",".join(MEASURANDS)) is CommandStatus.REJECTED:
            await self._set_variable(_MEASURANDS, ",".join(MEASURANDS[:2]))

    async def ask_how_it_is(self) -> None:
        """TriggerMessage for each EVSE's connector, and for all running transactions."""
        for evse_id in self.evse_ids:
            evse = {"id": evse_id, "connector_id": 1}
            await self.request_optional(_call.TriggerMessage(requested_message="StatusNotification", evse=evse))
        # A transaction event carries the charging state and meter values.
        await self.request_optional(_call.TriggerMessage(requested_message="TransactionEvent"))

    def _evse_of(self, transaction_id: str) -> int | None:
        """An event names its EVSE only once."""
        only = self.evse_ids[0] if len(self.evse_ids) == 1 else None
        return self._states.evse_of(transaction_id) or only

    def _readings(
        self, meter_value: Sequence[Mapping[str, Any]], transaction_id: str | None, *, is_stored: bool
    ) -> list[MeterReading]:
        found = (reading(value, transaction_id, is_stored=is_stored) for value in meter_value)
        return [said for said in found if said is not None]

    async def _report_started(
        self,
        evse_id: int | None,
        event: Event,
        readings: list[MeterReading],
        id_token: str | None,
        *,
        is_stored: bool,
    ) -> bool:
        if evse_id is None:
            return False
        is_stored = is_stored or self._states.is_over(evse_id, event)
        if not is_stored:
            self.note_begin(event.transaction_id, event.at)
        energy_kwh = readings[0].energy_kwh if readings else None
        return await self.context.events.on_transaction_started(
            TransactionStarted(
                self.charger_id, evse_id, event.transaction_id, event.at, energy_kwh, id_token, is_stored
            )
        )

    async def _report_ended(self, event: Event, readings: list[MeterReading], reason: str | None) -> bool:
        energy_kwh = readings[-1].energy_kwh if readings else None
        self.note_end(event.transaction_id, event.at)
        return await self.context.events.on_transaction_ended(
            TransactionEnded(self.charger_id, event.transaction_id, event.at, energy_kwh, reason)
        )

    def _take_state(self, evse_id: int, event: Event, charging_state: str | None, *, runs: bool) -> None:
        """Report what the EVSE does by the event of the transaction that runs there; another says nothing of now."""
        self._states.note(event, charging_state)
        if runs:
            state = self._states.transaction(evse_id, event)
            self.context.events.on_evse_state(self.charger_id, evse_id, state)

    async def _variables(self, component: str, *names: str) -> dict[str, str]:
        wanted = [{"component": {"name": component}, "variable": {"name": name}} for name in names]
        result = await self.request_optional(_call.GetVariables(get_variable_data=wanted))
        known: list[dict[str, Any]] = [] if result is None else result.get_variable_result
        return {item["variable"]["name"]: str(item.get("attribute_value", "")) for item in known}

    async def _set_variable(self, name: str, value: str) -> CommandStatus:
        wanted = {"component": {"name": _SAMPLED}, "variable": {"name": name}, "attribute_value": value}
        result = await self.request_optional(_call.SetVariables(set_variable_data=[wanted]))
        if result is None:
            return CommandStatus.NOT_SUPPORTED
        return to_reply(result.set_variable_result[0]["attribute_status"]).answer


def _to_reply(result: Any) -> Reply:
    """A status, with the reason that OCPP 2.0.1 lets a station give."""
    info = cast(dict[str, Any], result.status_info or {})
    return to_reply(result.status, str(info.get("reason_code", "")))
