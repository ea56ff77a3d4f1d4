"""What a charge point and its central system say on one connection: boot, then tell and answer until it ends.

Real time everywhere here: it is the network's.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ocpp.exceptions import OCPPError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from ev_service.tasks import cancel_and_wait
from site_twin.charge_points.faulty_charge_point import CallHandling
from site_twin.charge_points.protocol_version import BootReason
from site_twin.charge_points.quirks import Quirk
from site_twin.charge_points.station import Station

_HANDLING_BY_QUIRK = {
    Quirk.DISCONNECTS_IN_PROFILE: CallHandling.BY_DISCONNECTING,
    Quirk.NEVER_ANSWERS: CallHandling.NOT_AT_ALL,
    Quirk.NEVER_CONFIRMS: CallHandling.WITHOUT_ANSWER,
    Quirk.ANSWERS_LATE: CallHandling.LATE,
}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Real times of a charge point [s].

    first_wait_s, longest_wait_s: before it connects again, twice as long each time.
    """

    answer_s: int = 30
    """How long it waits for an answer before it takes the connection for dead."""

    late_s: float = 5.0
    """How late it answers with `Quirk.ANSWERS_LATE`."""

    reboot_s: float = 1.0
    """How long it is away."""

    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    tick_s: float | None = None
    """How often it looks at clock, cars and meters; None: as the clock asks for."""

    meter_values_per_s: float = 4.0
    """The most meter values that it sends a second, however fast the run's clock goes."""


class OcppClient:
    """One connection's worth of talk.

    turned: called whenever something was told or answered.
    """

    def __init__(self, station: Station, timing: Timing, turned: Callable[[], None]) -> None:
        self._station, self._timing, self._turned = station, timing, turned
        self._is_over = False

    async def hold(self, socket: ClientConnection) -> None:
        """Talk until the connection ends.

        Raises:
            WebSocketException: it ended, or the central system speaks no version of ours.
            TimeoutError: the central system does not answer any more.
        """
        station, protocol = self._station, self._station.protocol
        if socket.subprotocol != protocol.subprotocol:
            raise WebSocketException(f"the central system does not speak {protocol.subprotocol}")
        client = protocol.create_client(station.charger_id, socket, self._timing.answer_s)
        client.take(protocol.handlers(station), self._choose_handling, self._timing.late_s)
        tasks = [asyncio.create_task(client.start()), asyncio.create_task(self._talk(client))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # Also where a cancellation is lost, which ended() would only say again after a while.
            self._is_over = True
            await cancel_and_wait(*tasks)

    async def _talk(self, client: Any) -> None:
        station = self._station
        # Only after it started: a connection that was lost is no reason to boot (1.6, 4.2; 2.0.1, block B).
        if station.boot_reason is not None:
            await self._boot(client, station.boot_reason)
        station.boot_reason = None
        version = station.protocol.version
        _logger.info("charge point connected", extra={"charger_id": station.charger_id, "ocpp_version": version})
        station.is_online = True
        station.announce()
        station.tick()
        self._turned()
        while not self._is_over:
            try:
                async with asyncio.timeout(station.configuration.heartbeat_s):
                    message = await station.outbox.first()
            except TimeoutError:
                await _call(client, station.protocol.heartbeat())
                continue
            if station.is_off:
                return
            message.payload = message.payload or message.make()
            station.outbox.confirm(message, None if message.payload is None else await _call(client, message.payload))
            self._turned()

    async def _boot(self, client: Any, reason: BootReason) -> None:
        while not self._is_over:
            answer = await _call(client, self._station.protocol.boot(self._station.about, reason))
            interval_s = getattr(answer, "interval", 0)
            if answer is not None and answer.status == "Accepted":
                if interval_s > 0:
                    self._station.configuration.heartbeat_s = interval_s
                return
            await asyncio.sleep(interval_s or self._timing.longest_wait_s)

    def _choose_handling(self, action: str) -> CallHandling:
        if action in ("SetChargingProfile", "ClearChargingProfile"):
            for quirk, handling in _HANDLING_BY_QUIRK.items():
                if self._station.has(quirk):
                    return handling
        return CallHandling.PROPERLY


async def _call(client: Any, payload: Any) -> Any:
    """The answer to a call; None where it is an error or makes no sense."""
    try:
        return await client.call(payload)
    except OCPPError:
        return None
