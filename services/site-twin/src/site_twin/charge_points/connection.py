"""One connection of a charge point with its central system: it boots, reports and answers until the connection ends.

Times here are real: they are the network's.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from ocpp.exceptions import OCPPError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from ev_service.ocpp_connection import (
    CallRefusedError,
    InvalidAnswerError,
    InvalidCallError,
    OcppConnection,
)
from ev_service.tasks import cancel_and_wait
from site_twin.charge_points.protocol_version import BootReason
from site_twin.charge_points.quirks import Quirk
from site_twin.charge_points.station import Station

_logger = logging.getLogger(__name__)


class CallHandling(Enum):
    """How a call of the central system is handled."""

    PROPERLY = auto()
    LATE = auto()
    NOT_AT_ALL = auto()
    WITHOUT_ANSWER = auto()
    BY_DISCONNECTING = auto()


_HANDLING_BY_QUIRK = {
    Quirk.DISCONNECTS_IN_PROFILE: CallHandling.BY_DISCONNECTING,
    Quirk.NEVER_ANSWERS: CallHandling.NOT_AT_ALL,
    Quirk.NEVER_CONFIRMS: CallHandling.WITHOUT_ANSWER,
    Quirk.ANSWERS_LATE: CallHandling.LATE,
}


@dataclass(frozen=True, slots=True)
class Timing:
    """Real times of a charge point [s]."""

    answer_s: int = 30
    """Time after which a connection without an answer counts as lost."""

    late_s: float = 5.0
    """Delay of an answer with `Quirk.ANSWERS_LATE`."""

    reboot_s: float = 1.0
    """Time that a reboot takes."""

    first_wait_s: float = 0.5
    """Wait before the first attempt to reconnect; it doubles with each further attempt."""

    longest_wait_s: float = 30.0
    """Longest wait before an attempt to reconnect."""

    tick_s: float | None = None
    """Interval in which clock, cars and meters are polled; None: as the clock asks for."""

    meter_values_per_s: float = 4.0
    """Highest rate of meter values, however fast the run's clock goes."""


class Progress:
    """Wakes those who wait for a charge point to do something."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def advance(self) -> None:
        """Wake everybody who waits."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next `advance`."""
        await self._next.wait()


class StationConnection(OcppConnection):
    """One connection of a station; the subclass of each OCPP version has the handlers.

    Args:
        station: What reports and is commanded.
        websocket: The connection.
        timing: Real times.
        progress: Advanced whenever something was sent or answered.
    """

    def __init__(self, station: Station, websocket: ClientConnection, timing: Timing, progress: Progress) -> None:
        super().__init__(station.charger_id, websocket, timing.answer_s)
        self.station = station
        self._client, self._timing, self._progress = websocket, timing, progress
        self._late: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Boot, report and answer until the connection ends.

        Raises:
            WebSocketException: It ended, or the central system does not support this version.
            OcppCallError: The central system does not answer any more.
        """
        subprotocol = self.station.protocol.subprotocol
        if self._client.subprotocol != subprotocol:
            raise WebSocketException(f"the central system does not support {subprotocol}")
        # In this order: the end of the connection also ends the call that is pending, and is the reason to report.
        tasks = [asyncio.create_task(self.receive()), asyncio.create_task(self._report())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            # Ends the reporting also where its cancellation is lost.
            self.close_silently()
            await cancel_and_wait(*tasks, *self._late)

    async def handle_call(self, call: Any, length: int) -> None:
        """Answer a call, or not, as the quirks in force have it."""
        match self._choose_handling(call.action):
            case CallHandling.PROPERLY:
                await super().handle_call(call, length)
            case CallHandling.LATE:
                task = asyncio.create_task(self._handle_late(call, length))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
            case CallHandling.NOT_AT_ALL:
                pass
            case CallHandling.WITHOUT_ANSWER:
                with suppress(OCPPError):
                    self.find_handler(call.action)(**await self.parse_payload(call, length))
            case CallHandling.BY_DISCONNECTING:
                self._client.transport.abort()

    def _choose_handling(self, action: str) -> CallHandling:
        if action in ("SetChargingProfile", "ClearChargingProfile"):
            for quirk, handling in _HANDLING_BY_QUIRK.items():
                if self.station.has(quirk):
                    return handling
        return CallHandling.PROPERLY

    async def _handle_late(self, call: Any, length: int) -> None:
        await asyncio.sleep(self._timing.late_s)
        with suppress(ConnectionClosed):
            await super().handle_call(call, length)

    async def _report(self) -> None:
        station = self.station
        # Only after it started: a connection that was lost is no reason to boot (1.6, 4.2; 2.0.1, block B).
        if station.boot_reason is not None:
            await self._boot(station.boot_reason)
        station.boot_reason = None
        _logger.info("charge point connected", extra={"charger_id": station.charger_id, "ocpp_version": self.version})
        station.is_online = True
        station.announce()
        station.tick()
        self._progress.advance()
        while not self.is_closed:
            try:
                async with asyncio.timeout(station.configuration.heartbeat_s):
                    message = await station.outbox.first()
            except TimeoutError:
                await self._request(station.protocol.heartbeat())
                continue
            if station.is_off:
                return
            message.payload = message.payload or message.make()
            answer = None if message.payload is None else await self._request(message.payload)
            station.outbox.confirm(message, answer)
            self._progress.advance()

    async def _boot(self, reason: BootReason) -> None:
        while not self.is_closed:
            answer = await self._request(self.station.protocol.boot(self.station.about, reason))
            interval_s = getattr(answer, "interval", 0)
            if answer is not None and answer.status == "Accepted":
                if interval_s > 0:
                    self.station.configuration.heartbeat_s = interval_s
                return
            await asyncio.sleep(interval_s or self._timing.longest_wait_s)

    async def _request(self, request: Any) -> Any:
        """Send a request; None where the answer is an error or makes no sense."""
        try:
            return await self.send_call(request)
        except (CallRefusedError, InvalidAnswerError, InvalidCallError):
            return None
