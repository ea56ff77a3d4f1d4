"""A charger while it is connected, whatever version it speaks: how it is set up, and how limits are sent.

The versions fill in their own words.
"""

import asyncio
import logging
import re
from abc import abstractmethod
from dataclasses import replace
from typing import Any, cast

from websockets.asyncio.server import ServerConnection

from charger_service.ocpp.conversation import Conversation, Surroundings, Unanswered, handles
from charger_service.ocpp.profiles import FALLBACK_LEVEL, LIMIT_LEVEL
from charger_service.ports import Abilities, Answer, Make, RateUnit, Reply, TransactionLimit
from ev_service.units import utc_text

_STATUSES = {
    "Accepted": Answer.ACCEPTED,
    "Scheduled": Answer.ACCEPTED,
    "RebootRequired": Answer.ACCEPTED,
    "NotSupported": Answer.NOT_SUPPORTED,
    "NotImplemented": Answer.NOT_SUPPORTED,
}
_WATTS_ONLY = Reply(Answer.NOT_SUPPORTED, "the charger takes watts only")

_logger = logging.getLogger(__name__)


_AMPERES = frozenset({"a", "amp", "amps", "ampere", "amperes", "current"})
_WATTS = frozenset({"w", "watt", "watts", "kw", "power"})


def takes_amperes(units: str) -> bool:
    """Whether a charger takes limits in amperes, by the units that it says, parted by commas; so it does by default.

    OCPP 1.6 has `Current` and `Power`, 2.0.1 `A` and `W`; chargers write others. One that means neither says nothing.

    >>> takes_amperes("Ampere"), takes_amperes("Power"), takes_amperes("W, amp")
    (True, False, True)
    """
    said = {unit.strip(" []()\"'").lower() for unit in re.split("[,;|/]", units)}
    return bool(said & _AMPERES) or not said & _WATTS


def replied(status: str, detail: str = "") -> Reply:
    """What a status in a charger's answer means; every word but a few says that it does not do it.

    >>> replied("Scheduled").answer
    <Answer.ACCEPTED: 'accepted'>
    """
    answer = _STATUSES.get(status, Answer.REJECTED)
    return Reply(answer, detail if answer is Answer.ACCEPTED else detail or f"the charger says {status}")


class ChargePoint(Conversation):
    """A charger for as long as one connection lasts.

    Args:
        charger_id: its identity.
        evse_ids: its registered EVSEs; what it says of others is not passed on.
        connection: its WebSocket.
        around: what it works with.
    """

    def __init__(
        self, charger_id: str, evse_ids: tuple[int, ...], connection: ServerConnection, around: Surroundings
    ) -> None:
        super().__init__(charger_id, connection, around)
        self.evse_ids = evse_ids
        self.abilities = Abilities()
        self._limit_level = LIMIT_LEVEL
        self._setting_up: asyncio.Task[None] | None = None
        self._needs_set_up = True

    async def serve(self) -> None:
        """Answer the charger until its connection ends; set it up when it first speaks, or stays silent."""
        silence = asyncio.get_running_loop().call_later(self.around.timing.silence_s, self.heard)
        try:
            await super().serve()
        finally:
            silence.cancel()

    def heard(self) -> None:
        """Set the charger up where that is due."""
        if not self._needs_set_up or self.is_closed:
            return
        self._needs_set_up = False
        if self._setting_up is not None:
            self._setting_up.cancel()
        self._setting_up = asyncio.create_task(self._set_up())

    def hang_up(self) -> None:
        """Say nothing more and hear nothing more."""
        super().hang_up()
        if self._setting_up is not None:
            self._setting_up.cancel()

    async def set_limit(self, limit: TransactionLimit) -> Reply:
        """Limit a running transaction; on the lowest stack level where the charger refuses another."""
        if not self.abilities.takes_amperes:
            return _WATTS_ONLY
        reply = await self.send_limit(limit, self._limit_level)
        if reply.answer is not Answer.REJECTED or self._limit_level == FALLBACK_LEVEL:
            return reply
        lower = await self.send_limit(limit, FALLBACK_LEVEL)
        if lower.answer is Answer.ACCEPTED:
            self._limit_level = FALLBACK_LEVEL
        return lower

    async def set_fallback(self, evse_id: int, limit_a: float) -> Reply:
        """Set the EVSE's default profile."""
        return await self.send_fallback(evse_id, limit_a) if self.abilities.takes_amperes else _WATTS_ONLY

    @abstractmethod
    async def send_limit(self, limit: TransactionLimit, stack_level: int) -> Reply:
        """Send a limit as a TxProfile."""

    @abstractmethod
    async def send_fallback(self, evse_id: int, limit_a: float) -> Reply:
        """Send a fallback as a TxDefaultProfile."""

    @abstractmethod
    async def clear_profile(self, profile_id: int) -> Reply:
        """Take a profile away; accepted where there is none."""

    @abstractmethod
    async def composite(self, evse_id: int) -> tuple[Reply, float | None]:
        """What the charger holds to now, all profiles together [A]."""

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
    async def read_abilities(self) -> Abilities:
        """Read what it can do with limits.

        Raises:
            Unanswered: it does not say.
        """

    @abstractmethod
    async def arrange_meter_values(self) -> None:
        """Have it send the meter values that are needed, as often as they are.

        Raises:
            Unanswered: it does not answer.
        """

    @abstractmethod
    async def ask_how_it_is(self) -> None:
        """Have it report states, transactions and meter values.

        Raises:
            Unanswered: it does not answer.
        """

    @handles("Heartbeat")
    def on_heartbeat(self, **_: Any) -> Any:
        """It lives and wants the time."""
        return self._told("Heartbeat", current_time=self.current_time())

    @handles("DataTransfer")
    def on_data_transfer(self, **_: Any) -> Any:
        """No vendor's own messages are known here."""
        return self._told("DataTransfer", status="UnknownVendorId")

    @handles("FirmwareStatusNotification")
    def on_firmware_status_notification(self, **_: Any) -> Any:
        """Acknowledged."""
        return self._told("FirmwareStatusNotification")

    @handles("LogStatusNotification")
    def on_log_status_notification(self, **_: Any) -> Any:
        """Acknowledged."""
        return self._told("LogStatusNotification")

    @handles("SecurityEventNotification")
    def on_security_event_notification(self, **_: Any) -> Any:
        """Acknowledged."""
        return self._told("SecurityEventNotification")

    def booted(self, vendor: str, model: str, firmware_version: str | None) -> dict[str, Any]:
        """What a boot notification means, and what both versions answer to it."""
        make = Make(
            _encodable(vendor), _encodable(model), None if firmware_version is None else _encodable(firmware_version)
        )
        self._needs_set_up = True
        self.around.reports.booted(self.charger_id, make)
        return {"current_time": self.current_time(), "interval": self.around.timing.heartbeat_s, "status": "Accepted"}

    def current_time(self) -> str:
        """The run's time, by which the charger sets its clock."""
        return utc_text(self.heard_at)

    def token_status(self, id_token: str) -> dict[str, str]:
        """What is answered about a token, in both versions."""
        return {"status": "Accepted" if self.around.reports.may_charge(id_token) else "Invalid"}

    def _told(self, action: str, **said: Any) -> Any:
        """An answer of the version that is spoken."""
        return getattr(cast(Any, self)._call_result, action)(**said)

    async def _set_up(self) -> None:
        try:
            self.abilities = await self._abilities()
            self._limit_level = min(LIMIT_LEVEL, self.abilities.max_stack_level)
            # Limits do not wait for what may as well be done later.
            self.around.reports.ready(self.charger_id, self.abilities)
            await self.arrange_meter_values()
            await self.ask_how_it_is()
        except Unanswered as failed:
            if not self.is_closed:
                said = {"charger_id": self.charger_id, "reason": failed.reply.detail}
                _logger.warning("a charger is not set up to the end", extra=said)
        except Exception:
            _logger.exception("a charger could not be set up", extra={"charger_id": self.charger_id})

    async def _abilities(self) -> Abilities:
        try:
            said = await self.read_abilities()
        except Unanswered:
            said = Abilities()
        quirks = self.around.reports.quirks(self.charger_id)
        if quirks.rate_unit is not None:
            said = replace(said, takes_amperes=quirks.rate_unit is RateUnit.AMPERES)
        return said if quirks.stack_level is None else replace(said, max_stack_level=quirks.stack_level)


def _encodable(text: str) -> str:
    """Without the halves of surrogate pairs that JSON can carry and no answer of ours could."""
    return text.encode(errors="replace").decode()
