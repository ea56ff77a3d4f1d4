"""A central system on loopback, what it reports, and chargers that write OCPP by hand and hold it to the schemas."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from typing import Any, cast

import pytest
from ocpp import messages
from prometheus_client import CollectorRegistry
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from charger_service.ocpp.central import CentralSystem
from charger_service.ocpp.connection import Timing
from charger_service.ocpp.metrics import OcppMetrics
from charger_service.ocpp.server import serving
from charger_service.ports import (
    ChargerCapabilities,
    ChargerModel,
    ChargingNeeds,
    KnownMethod,
    MeterReading,
    Quirks,
    SchemaViolation,
    TransactionEnded,
    TransactionStarted,
    TransactionUpdated,
)
from charger_service.settings import OcppSettings
from ev_service.charging import EvseState
from ev_service.clock import SteppedClock

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
EVSES = {"CP-16": (1, 2), "CP-201": (1,), "CP:colon": (1,)}
PASSWORD = "correct horse"
VERSIONS = {"CP-16": "1.6", "CP-201": "2.0.1"}
Answering = Callable[[dict[str, Any]], Any]


class RecordedEvents:
    """Everything that is reported, in order; `until` waits for a report."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.fails_with: Exception | None = None
        self.known_quirks: dict[str, Quirks] = {}
        self.on_status: Callable[[], None] = lambda: None
        self.on_started: Callable[[TransactionStarted], None] = lambda _: None
        self._changed = asyncio.Condition()

    def _add(self, *report: Any) -> None:
        self.events.append(report)

    async def until(self, *report: Any) -> None:
        async with asyncio.timeout(5):
            while report not in self.events:
                await asyncio.sleep(0.001)

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [report[1:] for report in self.events if report[0] == kind]

    def on_connect(self, charger_id: str, ocpp_version: str) -> None:
        self._add("connect", charger_id, ocpp_version)

    def on_disconnect(self, charger_id: str) -> None:
        self._add("disconnect", charger_id)

    def on_boot(self, charger_id: str, make: ChargerModel) -> None:
        self._add("boot", charger_id, make)

    def on_ready(self, charger_id: str, abilities: ChargerCapabilities) -> None:
        self._add("ready", charger_id, abilities)

    def quirks(self, charger_id: str) -> Quirks:
        return self.known_quirks.get(charger_id, Quirks())

    def on_limit_method(self, charger_id: str, known: KnownMethod | None) -> None:
        self._add("method", charger_id, known and known.method)

    def on_evse_state(self, charger_id: str, evse_id: int, state: EvseState, *, is_over: bool = False) -> None:
        self.on_status()
        if is_over:
            self._add("over", charger_id, evse_id)
        self._add("evse", charger_id, evse_id, state)

    def may_charge(self, id_token: str) -> bool:
        return id_token != "UNKNOWN"

    def on_transaction_updated(self, update: TransactionUpdated) -> bool:
        self._add("seen", update.charger_id, update.evse_id, update.transaction_id)
        return not update.is_stored

    async def on_transaction_started(self, started: TransactionStarted) -> bool:
        if self.fails_with is not None:
            raise self.fails_with
        self.on_started(started)
        await asyncio.sleep(0)
        self._add("started", started)
        return not started.is_stored

    async def on_transaction_ended(self, ended: TransactionEnded) -> bool:
        self._add("ended", ended)
        return True

    def on_charging_needs(self, charger_id: str, evse_id: int, needs: ChargingNeeds) -> None:
        self._add("needs", charger_id, evse_id, needs)

    def on_meter_values(self, charger_id: str, evse_id: int | None, reading: MeterReading) -> None:
        self._add("meter_values", charger_id, evse_id, reading)

    def on_schema_violation(self, charger_id: str, violation: SchemaViolation) -> None:
        self._add("violation", charger_id, violation)


class Numbers:
    """Numbers as the store gives them: the same beginning, the same number."""

    def __init__(self) -> None:
        self.given: dict[tuple[str, str], int] = {}

    async def number_of(self, charger_id: str, beginning: str) -> int:
        await asyncio.sleep(0)
        return self.given.setdefault((charger_id, beginning), len(self.given) + 1)


class Charger:
    """A charger that writes OCPP by hand; what it is asked is answered from `answers`, by action."""

    def __init__(self, websocket: ClientConnection, version: str) -> None:
        self.websocket = websocket
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = dict(_ANSWERS[version])
        self.heard: list[Any] = []
        self._version = version
        self._ids = count(1)
        self._waiting: dict[str, asyncio.Future[list[Any]]] = {}
        self._listening = asyncio.create_task(self._listen())

    async def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The payload of the central system's answer."""
        answer = await self.raw_call(action, payload)
        assert answer[0] == 3, answer
        result = cast(Any, messages).CallResult(answer[1], answer[2], action)
        await messages.validate_payload(result, self._version)
        return answer[2]

    async def raw_call(self, action: str, payload: Any) -> list[Any]:
        """The whole answer, be it an error."""
        unique_id = f"m{next(self._ids)}"
        self._waiting[unique_id] = asyncio.get_running_loop().create_future()
        await self.websocket.send(json.dumps([2, unique_id, action, payload]))
        async with asyncio.timeout(5):
            return await self._waiting[unique_id]

    async def raw_text(self, message_id: str, text: str) -> list[Any]:
        """Send a text, and wait for the answer to the id that it holds."""
        future = self._waiting[message_id] = asyncio.get_running_loop().create_future()
        await self.websocket.send(text)
        async with asyncio.timeout(5):
            return await future

    async def boot(self) -> dict[str, Any]:
        if self._version == "1.6":
            named: dict[str, Any] = {"chargePointVendor": "Acme", "chargePointModel": "One", "firmwareVersion": "1.2"}
        else:
            station = {"vendorName": "Acme", "model": "One", "firmwareVersion": "1.2"}
            named = {"reason": "PowerUp", "chargingStation": station}
        return await self.call("BootNotification", named)

    async def until_asked(self, action: str, times: int = 1) -> list[dict[str, Any]]:
        async with asyncio.timeout(5):
            while len(self.asked_for(action)) < times:
                await asyncio.sleep(0.001)
        return self.asked_for(action)

    def asked_for(self, action: str) -> list[dict[str, Any]]:
        return [payload for name, payload in self.asked if name == action]

    async def closed(self) -> int | None:
        """The code with which the connection was closed."""
        async with asyncio.timeout(5):
            await self.websocket.wait_closed()
        return self.websocket.close_code

    async def hang_up(self) -> None:
        await self.websocket.close()
        self._listening.cancel()

    async def _listen(self) -> None:
        try:
            async for text in self.websocket:
                await self._take(json.loads(text))
        except ConnectionClosed:
            pass

    async def _take(self, message: list[Any]) -> None:
        self.heard.append(message)
        if message[0] != 2:
            # What cannot be read is answered too, without anybody who waits.
            if message[1] in self._waiting:
                self._waiting[message[1]].set_result(message)
            return
        _, unique_id, action, payload = message
        await messages.validate_payload(cast(Any, messages).Call(unique_id, action, payload), self._version)
        self.asked.append((action, payload))
        answer = self.answers.get(action)
        answer = answer(payload) if callable(answer) else answer
        if isinstance(answer, str):
            await self.websocket.send(json.dumps([4, unique_id, answer, "", {}]))
        elif answer is not None:
            await self.websocket.send(json.dumps([3, unique_id, answer]))


def _variables(payload: dict[str, Any]) -> dict[str, Any]:
    known = {"ProfileStackLevel": "3", "RateUnit": "A,W", "Phases3to1": "true", "TxUpdatedInterval": "60"}
    return {
        "getVariableResult": [
            asked
            | (
                {"attributeStatus": "Accepted", "attributeValue": known[asked["variable"]["name"]]}
                if asked["variable"]["name"] in known
                else {"attributeStatus": "UnknownVariable"}
            )
            for asked in payload["getVariableData"]
        ]
    }


def _set(payload: dict[str, Any]) -> dict[str, Any]:
    named = [{name: asked[name] for name in ("component", "variable")} for asked in payload["setVariableData"]]
    return {"setVariableResult": [{"attributeStatus": "Accepted"} | item for item in named]}


_ACCEPTED = {"status": "Accepted"}
_ANSWERS: dict[str, dict[str, Any]] = {
    "1.6": {
        "GetConfiguration": {
            "configurationKey": [
                {"key": "ChargeProfileMaxStackLevel", "readonly": True, "value": "5"},
                {"key": "ChargingScheduleAllowedChargingRateUnit", "readonly": True, "value": "Current"},
                {"key": "MeterValueSampleInterval", "readonly": False, "value": "60"},
                {"key": "MeterValuesSampledData", "readonly": False, "value": "Energy.Active.Import.Register"},
            ],
            "unknownKey": ["ConnectorSwitch3to1PhaseSupported"],
        },
        "ChangeConfiguration": _ACCEPTED,
        "TriggerMessage": _ACCEPTED,
        "SetChargingProfile": _ACCEPTED,
        "ClearChargingProfile": _ACCEPTED,
        "RemoteStartTransaction": _ACCEPTED,
        "RemoteStopTransaction": _ACCEPTED,
        "Reset": _ACCEPTED,
        "GetCompositeSchedule": {
            "status": "Accepted",
            "connectorId": 1,
            "scheduleStart": "2026-06-21T12:00:00Z",
            "chargingSchedule": {
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9.5}],
            },
        },
    },
    "2.0.1": {
        "GetVariables": _variables,
        "SetVariables": _set,
        "TriggerMessage": _ACCEPTED,
        "SetChargingProfile": _ACCEPTED,
        "ClearChargingProfile": _ACCEPTED,
        "RequestStartTransaction": _ACCEPTED,
        "RequestStopTransaction": _ACCEPTED,
        "Reset": {"status": "Scheduled"},
        "GetCompositeSchedule": {
            "status": "Accepted",
            "schedule": {
                "evseId": 1,
                "duration": 60,
                "scheduleStart": "2026-06-21T12:00:00Z",
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9.5}],
            },
        },
    },
}


@dataclass
class OcppSite:
    """A central system that serves, and what belongs to it."""

    central: CentralSystem
    heard: RecordedEvents
    numbers: Numbers
    clock: SteppedClock
    registry: CollectorRegistry
    port: int
    connected: list[Charger] = field(default_factory=list[Charger])

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}/{path}"

    async def connect(
        self, charger_id: str, password: str = PASSWORD, version: str | None = None, user: str | None = None
    ) -> Charger:
        version = version or VERSIONS.get(charger_id, "1.6")
        websocket = await connect(
            self.url(charger_id),
            subprotocols=[Subprotocol(f"ocpp{version}")],
            additional_headers={"Authorization": basic(user or charger_id, password)},
            compression=None,
        )
        charger = Charger(websocket, version)
        self.connected.append(charger)
        return charger

    async def booted(self, charger_id: str) -> Charger:
        """A charger that is connected and set up, with its questions forgotten."""
        charger = await self.connect(charger_id)
        await charger.boot()
        await charger.until_asked("TriggerMessage", 4 if charger_id == "CP-16" else 2)
        charger.asked.clear()
        return charger

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def timing() -> Timing:
    return Timing(answer_s=5, silence_s=5)


OpenSite = Callable[..., Awaitable[OcppSite]]


@pytest.fixture
async def open_site(anyio_backend: str, timing: Timing) -> AsyncIterator[OpenSite]:
    """Opens central systems; what is theirs is closed behind the test."""
    async with AsyncExitStack() as stack:

        async def opened(evses: dict[str, tuple[int, ...]] = EVSES, port: int = 0, **settings: Any) -> OcppSite:
            heard, numbers, clock, registry = RecordedEvents(), Numbers(), SteppedClock(NOON), CollectorRegistry()
            central = CentralSystem(evses, heard, numbers, clock, OcppMetrics(registry), timing)
            digest = sha256(PASSWORD.encode()).hexdigest()
            ports = await stack.enter_async_context(
                serving(central, dict.fromkeys(evses, digest), OcppSettings(ocpp_port=port, **settings))
            )
            site = OcppSite(central, heard, numbers, clock, registry, ports.plain)
            stack.push_async_callback(_close, site)
            return site

        yield opened


@pytest.fixture
async def site(open_site: OpenSite) -> OcppSite:
    return await open_site()


async def _close(site: OcppSite) -> None:
    for charger in site.connected:
        await charger.hang_up()
