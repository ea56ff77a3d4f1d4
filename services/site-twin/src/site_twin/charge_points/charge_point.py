"""A charge point on its connection: connects, boots, reports, answers, and reconnects after a loss.

Real time everywhere here: it is the network's; messages carry the run's time.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.headers import build_authorization_basic
from websockets.typing import Subprotocol

from ev_service.clock import Clock, SystemClock
from ev_service.ocpp_connection import OcppCallError
from ev_service.tasks import Backoff, run_in_background
from ev_service.trust import Authorities
from site_twin.charge_points.connection import Progress, StationConnection, Timing
from site_twin.charge_points.evses import EvsePlan
from site_twin.charge_points.parked_cars import NoCars
from site_twin.charge_points.protocol_version import About, BootReason, ProtocolVersion, StopReason
from site_twin.charge_points.quirks import Quirk
from site_twin.charge_points.station import Station, StationConfig
from site_twin.charge_points.v16 import V16, Connection16
from site_twin.charge_points.v201 import V201, Connection201
from site_twin.ports import Cars, Offer

Version = Literal["1.6", "2.0.1"]
_VERSIONS: dict[Version, tuple[ProtocolVersion, type[StationConnection]]] = {
    "1.6": (V16(), Connection16),
    "2.0.1": (V201(), Connection201),
}

_LONGEST_TICK_S = 1.0
_LONGEST_SERIAL_NUMBER = 25

_logger = logging.getLogger(__name__)
_websocket = logging.getLogger("site_twin.websocket")
# At DEBUG the library logs each header, the password among them.
_websocket.setLevel(logging.WARNING)


class ChargePoint:
    """One OCPP charge point (1.6) or charging station (2.0.1).

    charger_id: its identity. station: the charger without its network. last_error: why it is not connected.
    """

    def __init__(
        self,
        charger_id: str,
        url: str,
        password: SecretStr | str,
        *,
        version: Version = "2.0.1",
        evses: Sequence[EvsePlan] = (EvsePlan(1),),
        cars: Cars | None = None,
        clock: Clock | None = None,
        quirks: Collection[Quirk] = (),
        authorities: Authorities | None = None,
        timing: Timing | None = None,
        voltage_v: float = 230.0,
    ) -> None:
        """Make it; it does nothing until it is run.

        Args:
            charger_id: last part of the URL and user of Basic authentication.
            url: of the central system without the identity, ws://HOST:PORT or wss://HOST:PORT.
            password: of Basic authentication (security profiles 1 and 2).
            version: of OCPP.
            evses: what it has.
            cars: who stands there and what the meters say; None: nobody ever comes, and nothing is looked at.
            clock: the run's, where there are no cars, who know it themselves; None: real UTC.
            quirks: bad habits; more can be ordered through `cars.faults`, or put into `station.quirks` at any time.
            authorities: whom to trust for wss://; None: whom the system trusts.
            timing: real times; None: as a charger in the field has them.
            voltage_v: between phase and neutral [V].
        """
        protocol, self._connection_type = _VERSIONS[version]
        clock = clock or SystemClock()
        present = cars or NoCars(clock)
        self.charger_id = charger_id
        self._timing = timing or Timing()
        about = About(serial_number=charger_id[:_LONGEST_SERIAL_NUMBER])
        paced = self._timing.meter_values_per_s
        self.station = Station(StationConfig(charger_id, evses, present, quirks, voltage_v, about, paced), protocol)
        self.station.reboot = self.reboot
        self.last_error: str | None = None
        self._url = f"{url.rstrip('/')}/{quote(charger_id, safe='')}"
        self._authorities = (authorities or Authorities(None, "")) if url.startswith("wss:") else None
        self._password = password if isinstance(password, SecretStr) else SecretStr(password)
        self._tick_s = self._timing.tick_s or min(_LONGEST_TICK_S, clock.longest_sleep_s)
        self._follows_cars = cars is not None
        self._socket: ClientConnection | None = None
        self._rebooting = False
        self._closing: asyncio.Task[None] | None = None
        self._progress = Progress()

    @property
    def version(self) -> str:
        """Of OCPP."""
        return self.station.protocol.version

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open."""
        return self._socket is not None

    @property
    def is_booted(self) -> bool:
        """Whether it is connected and the central system accepted it."""
        return self.station.is_online

    def plan(self, evse_id: int) -> EvsePlan:
        """How an EVSE is built."""
        return self.station.evses[evse_id].plan

    def compute_offer(self, evse_id: int, moment: datetime) -> Offer:
        """What an EVSE offers its car at a moment, by all that it holds."""
        return self.station.compute_offer(evse_id, moment)

    def state(self) -> dict[str, Any]:
        """Return its own report, as JSON values."""
        return {
            "is_connected": self.is_connected,
            "is_booted": self.is_booted,
            "ocpp_version": self.version,
            "last_error": self.last_error,
            "quirks": sorted(quirk for quirk in Quirk if self.station.has(quirk)),
            "states": {str(number): evse.activity.value for number, evse in self.station.evses.items()},
            "transactions": {str(number): name for number, name in self.station.transactions().items() if name},
        }

    def reboot(self, reason: BootReason = BootReason.WATCHDOG, ending: StopReason = StopReason.POWER_LOSS) -> None:
        """Reboot: what runs ends, the connection closes, and it comes back after a while."""
        if not self._rebooting:
            self._rebooting = True
            # A task, so that the answer to a Reset goes out before the connection closes.
            self._closing = asyncio.create_task(self._power_down(reason, ending))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so, looked at whenever the charge point did something."""
        while not is_so():
            await self._progress.wait()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self]:
        """Run it in the background; closes the connection in the end."""
        async with run_in_background(self.run()):
            yield self

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_connected())
            if self._follows_cars:
                group.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            self.station.tick()
            self._progress.advance()
            await asyncio.sleep(self._tick_s)

    async def _stay_connected(self) -> None:
        backoff = Backoff(self._timing.first_wait_s, self._timing.longest_wait_s)
        while True:
            was_online = await self._connection()
            if was_online or self._rebooting:
                backoff.reset()
            if not self._rebooting:
                await asyncio.sleep(backoff.next_s())
            if self._rebooting:
                await asyncio.sleep(self._timing.reboot_s)
                self._rebooting = False
                self.station.switch_on()

    async def _connection(self) -> bool:
        """Hold one connection; return whether the boot was accepted."""
        was_online = False
        try:
            async with self._connect() as socket:
                self._socket, self.last_error = socket, None
                self._progress.advance()
                try:
                    await self._connection_type(self.station, socket, self._timing, self._progress).run()
                except asyncio.CancelledError:
                    await socket.close(CloseCode.GOING_AWAY)
                    raise
                finally:
                    was_online = self.station.is_online
                    self._on_disconnect()
        except (OSError, TimeoutError, WebSocketException, OcppCallError) as error:
            self._report_failure(error, was_online)
        self._progress.advance()
        return was_online

    def _connect(self) -> connect:
        login = build_authorization_basic(self.charger_id, self._password.get_secret_value())
        return connect(
            self._url,
            subprotocols=[Subprotocol(self.station.protocol.subprotocol)],
            additional_headers={"Authorization": login},
            ssl=None if self._authorities is None else self._authorities.context(),
            # Messages are small; and thousands of connections would each hold their own dictionary.
            compression=None,
            # Heartbeats do it, and the central system's own pings.
            ping_interval=None,
            close_timeout=1,
            proxy=None,
            logger=_websocket,
        )

    async def _power_down(self, reason: BootReason, ending: StopReason) -> None:
        self.station.switch_off(reason, ending)
        if self._socket is not None:
            await self._socket.close()

    def _on_disconnect(self) -> None:
        self._socket, self.station.is_online = None, False
        self.station.outbox.drop_volatile()

    def _report_failure(self, error: Exception, was_online: bool) -> None:
        refused = f"HTTP {error.response.status_code}" if isinstance(error, InvalidStatus) else ""
        self.last_error = refused or str(error) or type(error).__name__
        event = "charge point disconnected" if was_online else "charge point cannot connect"
        _logger.info(event, extra={"charger_id": self.charger_id, "reason": self.last_error})
