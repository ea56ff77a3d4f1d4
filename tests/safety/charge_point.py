"""A charge point (OCPP 1.6) with one connector, whose faults can be switched on and off while it charges.

Written apart from the twin's charge points, so that the two do not share a misunderstanding. It draws by the charging
profiles that it accepted: the TxProfile while that is valid by the charge point's own clock, else its TxDefaultProfile.
"""

import asyncio
import base64
import json
import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import uuid4

from tests.safety.site import VOLTAGE_V, Currents
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

PASSWORD = "a-password-of-the-test"
METER_PERIOD_S = 2.0
ANSWER_S = 10.0


class Fault(StrEnum):
    """What a charge point does wrong; it obeys its limits with each of them but `DISOBEYS`."""

    NONE = "none"
    LIES = "lies"
    LAGS = "lags"
    SILENT = "silent"
    FLAPS = "flaps"
    DISOBEYS = "disobeys"


@dataclass(slots=True)
class ChargingProfile:
    """One accepted profile; valid_to: by the charge point's clock, None: for ever."""

    limit_a: float
    valid_to: datetime | None = None


@dataclass(slots=True, eq=False)
class ChargePoint:
    """One charge point and its car.

    phases: the site's phases on L1.. of the connector. car_a [A]: what the car takes at most per phase.
    follows_after_s [s]: how long the car takes to follow a limit.
    """

    charger_id: str
    phases: tuple[int, ...]
    car_a: float
    max_current_a: float
    follows_after_s: float
    on_forbidden_limit: Callable[[str, float], None]
    fault: Fault = Fault.NONE
    lie: Callable[[float], str] = lambda current_a: repr(current_a)
    clock_offset: timedelta = timedelta(0)
    """How far the clock in its messages is off."""
    fault_since_s: float = 0.0
    connected_since_s: float | None = None
    transaction_id: int | None = None
    tx_profile: ChargingProfile | None = None
    default_profile: ChargingProfile | None = None
    energy_wh: float = 0.0
    drawn_a: float = 0.0
    target_a: float = 0.0
    target_since_s: float = 0.0
    _socket: ClientConnection | None = None
    _calls: dict[str, "asyncio.Future[Any]"] = field(default_factory=dict[str, "asyncio.Future[Any]"])
    _synchronized: timedelta = timedelta(0)

    @property
    def obeys(self) -> bool:
        """Whether it keeps to the profiles that it accepted."""
        return self.fault is not Fault.DISOBEYS

    @property
    def is_connected(self) -> bool:
        """Whether it is connected now."""
        return self.connected_since_s is not None

    def change_fault(self, fault: Fault) -> None:
        """Behave so from now on."""
        if (fault is Fault.DISOBEYS) != (self.fault is Fault.DISOBEYS):
            self.fault_since_s = time.monotonic()
        self.fault = fault

    def now(self) -> datetime:
        """Its own clock: set by what the central system said at boot and in heartbeats."""
        return datetime.now(UTC) + self._synchronized

    def allowed_a(self) -> float:
        """What its profiles allow now [A per phase]."""
        if self.transaction_id is None:
            return 0.0
        profile = self.tx_profile
        if profile is not None and (profile.valid_to is None or profile.valid_to > self.now()):
            return min(profile.limit_a, self.max_current_a)
        return (
            self.max_current_a
            if self.default_profile is None
            else min(self.default_profile.limit_a, self.max_current_a)
        )

    def advance(self, elapsed_s: float) -> None:
        """Let its car follow what is allowed."""
        wanted_a = self.car_a if self.fault is Fault.DISOBEYS else min(self.allowed_a(), self.car_a)
        wanted_a = wanted_a if wanted_a >= 6 and self.transaction_id is not None else 0.0
        moment_s = time.monotonic()
        if wanted_a != self.target_a:
            self.target_a, self.target_since_s = wanted_a, moment_s
        if wanted_a > self.drawn_a or moment_s - self.target_since_s >= self.follows_after_s:
            self.drawn_a = wanted_a
        self.energy_wh += self.drawn_a * len(self.phases) * VOLTAGE_V * elapsed_s / 3600

    def currents_a(self) -> Currents:
        """What it draws on the site's phases [A]."""
        one, two, three = (self.drawn_a if phase in self.phases else 0.0 for phase in (1, 2, 3))
        return one, two, three

    @asynccontextmanager
    async def connected(self, url: str) -> AsyncGenerator[None]:
        """Connected, booted and reporting for as long as the block lasts, or the other side lets it.

        Raises:
            OSError, WebSocketException, TimeoutError: the central system is not there.
        """
        secret = base64.b64encode(f"{self.charger_id}:{PASSWORD}".encode()).decode()
        async with connect(
            f"{url}/{self.charger_id}",
            additional_headers={"Authorization": f"Basic {secret}"},
            subprotocols=["ocpp1.6"],  # pyright: ignore[reportArgumentType]
            ping_interval=None,
            open_timeout=5,
            proxy=None,
        ) as self._socket:
            reader = asyncio.create_task(self._read(self._socket))
            try:
                await self._boot()
                self.connected_since_s = time.monotonic()
                reporter = asyncio.create_task(self._report())
                try:
                    yield
                finally:
                    await _end(reporter)
            finally:
                self.connected_since_s = None
                await _end(reader)

    async def wait_until_gone(self) -> None:
        """Wait until the other side is gone."""
        if self._socket is not None:
            await self._socket.wait_closed()

    async def start_transaction(self) -> None:
        """A car comes."""
        await self._status("Preparing")
        answer = await self.call(
            "StartTransaction",
            {"connectorId": 1, "idTag": "car", "meterStart": int(self.energy_wh), "timestamp": self._stamp()},
        )
        self.transaction_id, self.tx_profile = answer.get("transactionId"), None
        await self._status("Charging")

    async def stop_transaction(self) -> None:
        """The car leaves."""
        said = {"transactionId": self.transaction_id, "meterStop": int(self.energy_wh), "timestamp": self._stamp()}
        self.transaction_id = self.tx_profile = None
        await self.call("StopTransaction", said)
        await self._status("Available")

    async def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Ask the central system; {} where it answers by an error."""
        assert self._socket is not None
        message_id = uuid4().hex
        answer = self._calls[message_id] = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send(json.dumps([2, message_id, action, payload]))
            async with asyncio.timeout(ANSWER_S):
                return await answer
        finally:
            del self._calls[message_id]

    async def _boot(self) -> None:
        said = await self.call("BootNotification", {"chargePointVendor": "Test", "chargePointModel": "Random"})
        self._synchronize(said)
        await self._status("Available" if self.transaction_id is None else "Charging")

    def _synchronize(self, said: dict[str, Any]) -> None:
        if "currentTime" in said:
            self._synchronized = datetime.fromisoformat(said["currentTime"]) - datetime.now(UTC)

    async def _status(self, status: str) -> None:
        await self.call("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": status})

    def _stamp(self) -> str:
        return (self.now() + self.clock_offset).isoformat().replace("+00:00", "Z")

    async def _report(self) -> None:
        """Send meter values and heartbeats, as faulty as they are meant to be."""
        turn = 0
        while True:
            await asyncio.sleep(METER_PERIOD_S)
            turn += 1
            if turn % 5 == 0:
                self._synchronize(await self.call("Heartbeat", {}))
            if self.fault is not Fault.SILENT:
                await self.call("MeterValues", self._meter_values())

    def _meter_values(self) -> dict[str, Any]:
        said = self.lie(self.drawn_a) if self.fault is Fault.LIES else repr(self.drawn_a)
        samples = [
            {"value": said, "measurand": "Current.Import", "phase": f"L{line}", "unit": "A"}
            for line in range(1, len(self.phases) + 1)
        ]
        samples.append({"value": str(int(self.energy_wh)), "measurand": "Energy.Active.Import.Register", "unit": "Wh"})
        values: dict[str, Any] = {
            "connectorId": 1,
            "meterValue": [{"timestamp": self._stamp(), "sampledValue": samples}],
        }
        return values if self.transaction_id is None else values | {"transactionId": self.transaction_id}

    async def _read(self, socket: ClientConnection) -> None:
        with suppress(WebSocketException, OSError):
            async for text in socket:
                message = json.loads(text)
                if message[0] == 2:
                    await socket.send(json.dumps([3, message[1], self._answer(message[2], message[3])]))
                elif (asked := self._calls.get(message[1])) is not None and not asked.done():
                    asked.set_result(message[2] if message[0] == 3 else {})

    def _answer(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        if action == "SetChargingProfile":
            self._accept(payload["csChargingProfiles"])
        elif action == "ClearChargingProfile":
            self.tx_profile = None
        elif action == "GetConfiguration":
            return {"configurationKey": [], "unknownKey": list(payload.get("key", []))}
        elif action == "GetCompositeSchedule":
            return {"status": "Rejected"}
        return {"status": "Accepted"}

    def _accept(self, profile: dict[str, Any]) -> None:
        limit_a = float(profile["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"])
        if 0 < limit_a < 6 or not math.isfinite(limit_a) or limit_a < 0:
            self.on_forbidden_limit(self.charger_id, limit_a)
        valid_to = profile.get("validTo")
        kept = ChargingProfile(limit_a, None if valid_to is None else datetime.fromisoformat(valid_to))
        if profile["chargingProfilePurpose"] == "TxProfile":
            self.tx_profile = kept
        else:
            self.default_profile = kept


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, WebSocketException, OSError, TimeoutError):
        await task
