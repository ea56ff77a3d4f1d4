"""A charger while it is connected, whatever version it speaks: how it is set up, and how limits are sent.

The versions fill in their own words.
"""

import asyncio
import logging
import re
from abc import abstractmethod
from dataclasses import replace
from datetime import datetime
from typing import Any

from websockets.asyncio.server import ServerConnection

from charger_service.ocpp.connection import CallFailedError, ChargerConnection, ConnectionContext, find_refusal
from charger_service.ocpp.limit_methods import LimitMethods, possible_methods
from charger_service.ocpp.profiles import LIMIT_LEVEL, ChargingProfile, Conversion
from charger_service.ports import (
    ChargerCapabilities,
    ChargerModel,
    CommandStatus,
    LimitMethod,
    LimitPurpose,
    RateUnit,
    Reply,
    TransactionLimit,
)
from ev_service.ocpp_connection import handles
from ev_service.units import utc_text

_STATUSES = {
    "Accepted": CommandStatus.ACCEPTED,
    "Scheduled": CommandStatus.ACCEPTED,
    "RebootRequired": CommandStatus.ACCEPTED,
}
_REFUSALS = frozenset({CommandStatus.REJECTED, CommandStatus.NOT_SUPPORTED})
_USUAL = Conversion(voltage_v=230.0, phases=3)
"""Where the site says nothing of an EVSE, as in tests."""

_logger = logging.getLogger(__name__)


_AMPERES = frozenset({"a", "amp", "amps", "ampere", "amperes", "current"})
_WATTS = frozenset({"w", "watt", "watts", "kw", "power"})


def rate_units(units: str) -> frozenset[RateUnit]:
    """The units in which a charger takes limits, by those that it says, parted by commas.

    OCPP 1.6 has `Current` and `Power`, 2.0.1 `A` and `W`; chargers write others. One that says neither may take both.

    >>> sorted(rate_units("Ampere")), sorted(rate_units("Power")), sorted(rate_units("W, amp"))
    ([<RateUnit.AMPERES: 'A'>], [<RateUnit.WATTS: 'W'>], [<RateUnit.AMPERES: 'A'>, <RateUnit.WATTS: 'W'>])
    """
    said = {unit.strip(" []()\"'").lower() for unit in re.split("[,;|/]", units)}
    found = {RateUnit.AMPERES: _AMPERES, RateUnit.WATTS: _WATTS}
    return frozenset(unit for unit, names in found.items() if said & names) or frozenset(RateUnit)


def abilities_of(stack_level: str, units: str, switches_phases: str) -> ChargerCapabilities:
    """What a charger can do, by the values of its configuration; empty where it does not say."""
    taken = rate_units(units)
    return ChargerCapabilities(
        max_stack_level=int(stack_level) if stack_level.isdecimal() else LIMIT_LEVEL,
        takes_amperes=RateUnit.AMPERES in taken,
        takes_watts=RateUnit.WATTS in taken,
        switches_phases=switches_phases.lower() == "true",
    )


def to_reply(status: str, detail: str = "") -> Reply:
    """What a status in a charger's answer means; every word but a few says that it does not do it.

    >>> to_reply("Scheduled").answer
    <CommandStatus.ACCEPTED: 'accepted'>
    """
    answer = _STATUSES.get(status) or find_refusal(status) or CommandStatus.REJECTED
    return Reply(answer, detail if answer is CommandStatus.ACCEPTED else detail or f"the charger says {status}")


class ChargePoint(ChargerConnection):
    """A charger for as long as one connection lasts.

    Args:
        charger_id: its identity.
        evse_ids: its registered EVSEs; what it says of others is not passed on.
        websocket: its WebSocket.
        context: what it works with.
        methods: how it takes limits, by what it did before; None: nothing is known.
    """

    def __init__(
        self,
        charger_id: str,
        evse_ids: tuple[int, ...],
        websocket: ServerConnection,
        context: ConnectionContext,
        methods: LimitMethods | None = None,
    ) -> None:
        super().__init__(charger_id, websocket, context)
        self.evse_ids = evse_ids
        self.abilities = ChargerCapabilities()
        self.methods = methods or LimitMethods()
        self._setting_up: asyncio.Task[None] | None = None
        self._needs_set_up = True

    async def serve(self) -> None:
        """Answer the charger until its connection ends; set it up when it first speaks, or stays silent."""
        silence = asyncio.get_running_loop().call_later(self.context.timing.silence_s, self.after_message)
        try:
            await super().serve()
        finally:
            silence.cancel()

    def after_message(self) -> None:
        """Set the charger up where that is due."""
        if not self._needs_set_up or self.is_closed:
            return
        self._needs_set_up = False
        if self._setting_up is not None:
            self._setting_up.cancel()
        self._setting_up = asyncio.create_task(self._set_up())

    def close_silently(self) -> None:
        """Say nothing more and hear nothing more."""
        super().close_silently()
        if self._setting_up is not None:
            self._setting_up.cancel()

    async def set_limit(self, limit: TransactionLimit) -> Reply:
        """Limit a running transaction by the first method that the charger accepts; the first refusal otherwise."""
        async with self.methods.turn:
            possible, refusal = self._possible_methods(), None
            for method in self.methods.attempts(possible, limit.transaction_id, self._first_purpose):
                reply = await self._try(limit, method)
                if reply.answer not in _REFUSALS:
                    return reply
                refusal = refusal or reply
                if method.purpose is LimitPurpose.TX and self.methods.is_over(limit.transaction_id):
                    return refusal
                self.methods.refuse(method, limit.transaction_id, self.context.clock.now())
            self.methods.refuse_all(limit.transaction_id)
            return refusal or Reply(CommandStatus.REJECTED)

    async def _try(self, limit: TransactionLimit, method: LimitMethod) -> Reply:
        """Send a limit by one method; the reply names it where the limit is in force, or may be."""
        profile = self._conversion(limit.evse_id).limit(limit, method, self.context.clock.now())
        try:
            reply = await self.set_profile(profile)
        except CallFailedError as failed:
            reply = failed.reply
        if reply.answer is CommandStatus.ACCEPTED and self.methods.accept(method, limit.transaction_id):
            self.context.events.on_limit_method(self.charger_id, self.methods.known)
        return reply if reply.answer in _REFUSALS else replace(reply, method=method)

    async def set_fallback(self, evse_id: int, limit_a: float) -> Reply:
        """Set the EVSE's default profile, or where limits are given to the whole charger that one's."""
        accepted, possible = self.methods.last_accepted, self._possible_methods()
        method = accepted if accepted is not None and accepted in possible else possible[0]
        profile = self._conversion(evse_id).fallback(evse_id, limit_a, method, self.context.clock.now())
        return await self.set_profile(profile)

    async def limit_in_force(self, evse_id: int) -> tuple[Reply, float | None]:
        """What the charger holds to now, all profiles together [A]."""
        unit = RateUnit.AMPERES if self.abilities.takes_amperes else RateUnit.WATTS
        reply, schedule = await self.composite(evse_id, unit)
        return reply, self._conversion(evse_id).current_now(schedule)

    def _possible_methods(self) -> tuple[LimitMethod, ...]:
        return possible_methods(self.abilities, len(self.evse_ids), self._first_purpose)

    @property
    def _first_purpose(self) -> LimitPurpose | None:
        return self.context.events.quirks(self.charger_id).limit_purpose

    def _conversion(self, evse_id: int) -> Conversion:
        return self.context.conversions.get((self.charger_id, evse_id), _USUAL)

    @abstractmethod
    async def set_profile(self, profile: ChargingProfile) -> Reply:
        """Have the charger hold a charging profile.

        Raises:
            CallFailedError: it did not answer, or with an error.
        """

    @abstractmethod
    async def clear_profile(self, profile_id: int) -> Reply:
        """Take a profile away; accepted where there is none."""

    @abstractmethod
    async def composite(self, evse_id: int, unit: RateUnit) -> tuple[Reply, dict[str, Any] | None]:
        """The composite schedule of an EVSE, in this unit where the charger keeps to it."""

    @abstractmethod
    async def start_transaction(self, evse_id: int, id_token: str) -> Reply:
        """Ask it to begin a transaction."""

    @abstractmethod
    async def stop_transaction(self, transaction_id: str) -> Reply:
        """Ask it to end a transaction."""

    @abstractmethod
    async def ask_meter_values(self, evse_id: int) -> Reply:
        """Ask for meter values now."""

    @abstractmethod
    async def reset(self) -> Reply:
        """Ask it to start anew."""

    @abstractmethod
    async def read_abilities(self) -> ChargerCapabilities:
        """Read what it can do with limits.

        Raises:
            CallFailedError: it does not say.
        """

    @abstractmethod
    async def arrange_meter_values(self) -> None:
        """Have it send the meter values that are needed, as often as they are.

        Raises:
            CallFailedError: it does not answer.
        """

    @abstractmethod
    async def ask_how_it_is(self) -> None:
        """Have it report states, transactions and meter values.

        Raises:
            CallFailedError: it does not answer.
        """

    @handles("Heartbeat")
    def on_heartbeat(self, **_: Any) -> Any:
        """It lives and wants the time."""
        return self._create_payload("Heartbeat", current_time=self.current_time())

    @handles("DataTransfer")
    def on_data_transfer(self, **_: Any) -> Any:
        """No vendor's own messages are known here."""
        return self._create_payload("DataTransfer", status="UnknownVendorId")

    @handles("FirmwareStatusNotification")
    def on_firmware_status_notification(self, **_: Any) -> Any:
        """Acknowledged."""
        return self._create_payload("FirmwareStatusNotification")

    @handles("LogStatusNotification")
    def on_log_status_notification(self, **_: Any) -> Any:
        """Acknowledged."""
        return self._create_payload("LogStatusNotification")

    @handles("SecurityEventNotification")
    def on_security_event_notification(self, **_: Any) -> Any:
        """Acknowledged."""
        return self._create_payload("SecurityEventNotification")

    def accept_boot(self, vendor: str, model: str, firmware_version: str | None) -> dict[str, Any]:
        """What a boot notification means, and what both versions answer to it."""
        make = ChargerModel(
            _encodable(vendor), _encodable(model), None if firmware_version is None else _encodable(firmware_version)
        )
        self._needs_set_up = True
        is_forgotten = self.methods.boot(make)
        self.context.events.on_boot(self.charger_id, make)
        if is_forgotten:
            self.context.events.on_limit_method(self.charger_id, None)
        return {"current_time": self.current_time(), "interval": self.context.timing.heartbeat_s, "status": "Accepted"}

    def note_begin(self, transaction_id: str, began_at: datetime) -> None:
        """Take in that a transaction began: what its time is before now, the charger's clock may be behind."""
        self.methods.begin_transaction(transaction_id, self.last_message_at - began_at)

    def note_end(self, transaction_id: str, ended_at: datetime) -> None:
        """Take in that a transaction ended, for which limits may have been refused."""
        if self.methods.end_transaction(transaction_id, ended_at, self.last_message_at):
            self.context.events.on_limit_method(self.charger_id, None)

    def current_time(self) -> str:
        """The run's time, by which the charger sets its clock."""
        return utc_text(self.last_message_at)

    def token_status(self, id_token: str) -> dict[str, str]:
        """What is answered about a token, in both versions."""
        return {"status": "Accepted" if self.context.events.may_charge(id_token) else "Invalid"}

    def _create_payload(self, action: str, **said: Any) -> Any:
        """An answer of the version that is spoken."""
        return getattr(self.results, action)(**said)

    async def _set_up(self) -> None:
        try:
            self.abilities = await self._abilities()
            # Limits do not wait for what may as well be done later.
            self.context.events.on_ready(self.charger_id, self.abilities)
            await self.arrange_meter_values()
            await self.ask_how_it_is()
        except CallFailedError as failed:
            if not self.is_closed:
                said = {"charger_id": self.charger_id, "reason": failed.reply.detail}
                _logger.warning("a charger is not set up to the end", extra=said)
        except Exception:
            _logger.exception("a charger could not be set up", extra={"charger_id": self.charger_id})

    async def _abilities(self) -> ChargerCapabilities:
        try:
            said = await self.read_abilities()
        except CallFailedError:
            said = ChargerCapabilities()
        quirks = self.context.events.quirks(self.charger_id)
        if quirks.rate_unit is not None:
            units = {unit: quirks.rate_unit is unit for unit in RateUnit}
            said = replace(said, takes_amperes=units[RateUnit.AMPERES], takes_watts=units[RateUnit.WATTS])
        return said if quirks.stack_level is None else replace(said, max_stack_level=quirks.stack_level)


def _encodable(text: str) -> str:
    """Without the halves of surrogate pairs that JSON can carry and no answer of ours could."""
    return text.encode(errors="replace").decode()
