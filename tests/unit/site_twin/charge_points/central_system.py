"""A central system of a few lines on a real socket, made with the library's other side, which checks every message."""

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ocpp import v16, v201
from ocpp.v16 import call_result as result16
from ocpp.v201 import call_result as result201
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from site_twin.charge_points import ChargePoint, Timing

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
PASSWORD = "a-password-of-the-test"
HASTE = Timing(answer_s=2, late_s=0.05, reboot_s=0.02, first_wait_s=0.01, longest_wait_s=0.05, tick_s=0.01)
WAIT_S = 10.0

Payload = dict[str, Any]
Connect = Callable[..., Any]
_TIME = "2026-06-21T12:00:00Z"
# The library's enums are texts; a text does as well.
Word = Any


@dataclass
class CentralSystem:
    """What it heard, and what it answers.

    heard: (action, payload) of every call. token_status: of every token. boot_status: of every boot.
    refuses: lets nobody in. holds: actions that get no answer.
    """

    port: int = 0
    origin: str = "ws://127.0.0.1"
    heard: list[tuple[str, Payload]] = field(default_factory=list[tuple[str, Payload]])
    connections: list[ServerConnection] = field(default_factory=list[ServerConnection])
    logins: list[str] = field(default_factory=list[str])
    speaker: Any = None
    token_status: Word = "Accepted"
    boot_status: Word = "Accepted"
    boot_interval_s: int = 300
    refuses: bool = False
    holds: set[str] = field(default_factory=set[str])
    transactions: int = 0
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.origin}:{self.port}"

    def of(self, action: str) -> list[Payload]:
        return [payload for name, payload in self.heard if name == action]

    def events(self, event_type: str) -> list[Payload]:
        return [payload for payload in self.of("TransactionEvent") if payload["event_type"] == event_type]

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_so():
                await self.turn.wait()

    async def until_heard(self, action: str, times: int = 1) -> Payload:
        await self.until(lambda: len(self.of(action)) >= times)
        return self.of(action)[times - 1]

    async def call(self, payload: Any) -> Any:
        async with asyncio.timeout(WAIT_S):
            return await self.speaker.call(payload, suppress=False)

    def hang_up(self) -> None:
        self.connections[-1].transport.abort()

    def turned(self) -> None:
        self.turn.set()
        self.turn = asyncio.Event()


@asynccontextmanager
async def serving(
    central: CentralSystem,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    subprotocols: Sequence[str] = ("ocpp2.0.1", "ocpp1.6"),
) -> AsyncGenerator[CentralSystem]:
    def let_in(connection: ServerConnection, request: Request) -> Response | None:
        central.logins.append(base64.b64decode(request.headers["Authorization"].split()[1]).decode())
        return connection.respond(401, "no\n") if central.refuses else None

    async def attend(connection: ServerConnection) -> None:
        assert connection.request is not None
        central.connections.append(connection)
        is16 = connection.subprotocol == "ocpp1.6"
        speaker: Any = (v16.ChargePoint if is16 else v201.ChargePoint)(connection.request.path, connection)
        answers = _answers_16(central) if is16 else _answers_201(central)
        speaker.route_map = {
            action: {"_on_action": _hearing(central, action, answer)} for action, answer in answers.items()
        }
        central.speaker = speaker
        try:
            await speaker.start()
        except ConnectionClosed:
            central.turned()

    protocols = [Subprotocol(name) for name in subprotocols]
    listening = serve(attend, "127.0.0.1", port, ssl=tls, subprotocols=protocols, process_request=let_in)
    async with listening as server:
        central.port = next(iter(server.sockets)).getsockname()[1]
        yield central
        central.is_over.set()
        for connection in central.connections:
            connection.transport.abort()


def _hearing(central: CentralSystem, action: str, answer: Callable[[Payload], Any]) -> Callable[..., Any]:
    async def handler(**payload: Any) -> Any:
        central.heard.append((action, payload))
        central.turned()
        if action in central.holds:
            await central.is_over.wait()
        return answer(payload)

    return handler


def _answers_16(central: CentralSystem) -> Mapping[str, Callable[[Payload], Any]]:
    def start(_: Payload) -> Any:
        central.transactions += 1
        return result16.StartTransaction(central.transactions, token())

    def token() -> Any:
        return {"status": central.token_status}

    return {
        "BootNotification": lambda _: result16.BootNotification(_TIME, central.boot_interval_s, central.boot_status),
        "Heartbeat": lambda _: result16.Heartbeat(_TIME),
        "Authorize": lambda _: result16.Authorize(token()),
        "StartTransaction": start,
        "StopTransaction": lambda _: result16.StopTransaction(),
        "StatusNotification": lambda _: result16.StatusNotification(),
        "MeterValues": lambda _: result16.MeterValues(),
    }


def _answers_201(central: CentralSystem) -> Mapping[str, Callable[[Payload], Any]]:
    def event(payload: Payload) -> Any:
        return result201.TransactionEvent(id_token_info=token() if "id_token" in payload else None)

    def token() -> Any:
        return {"status": central.token_status}

    accepted: Word = "Accepted"
    return {
        "BootNotification": lambda _: result201.BootNotification(_TIME, central.boot_interval_s, central.boot_status),
        "Heartbeat": lambda _: result201.Heartbeat(_TIME),
        "Authorize": lambda _: result201.Authorize(token()),
        "TransactionEvent": event,
        "StatusNotification": lambda _: result201.StatusNotification(),
        "MeterValues": lambda _: result201.MeterValues(),
        "NotifyEVChargingNeeds": lambda _: result201.NotifyEVChargingNeeds(accepted),
    }


async def booted(point: ChargePoint) -> ChargePoint:
    async with asyncio.timeout(WAIT_S):
        await point.until(lambda: point.is_booted)
    return point
