"""The whole charger service on loopback, and charge points of the twin connected to it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from charger_service.app import create_app
from charger_service.ocpp.central import CentralSystem
from charger_service.settings import ChargerSettings, GridSignalSettings, MeterSettings, OcppSettings, ServiceSettings
from ev_service.clock import SteppedClock
from ev_service.settings import RunSettings, SiteSettings
from site_twin.charge_points import ChargePoint, ParkedCars, Timing

NOON = datetime(2026, 6, 21, 12, tzinfo=UTC)
PASSWORD = "a-password-of-the-test"
HASTE = Timing(answer_s=5, late_s=1.3, reboot_s=0.02, first_wait_s=0.01, longest_wait_s=0.05, tick_s=0.01)
A_CROWD = 20
WAIT_S = 45.0


class ChargingSite:
    """The service as it runs, who is connected to it, and the clock by which all live."""

    def __init__(
        self,
        folder: Path,
        charger_ids: list[str],
        *,
        site: SiteSettings | None = None,
        meter: MeterSettings | None = None,
        grid_signal: GridSignalSettings | None = None,
        **settings: Any,
    ) -> None:
        self.certificate: dict[str, Path] = {}
        self.clock = SteppedClock(NOON)
        self.cars = ParkedCars(self.clock)
        self.points: dict[str, ChargePoint] = {}
        self.url = self.tls_url = ""
        self.central: CentralSystem | None = None
        self._client: httpx.AsyncClient | None = None
        # Each charge point looks at its car so often: a crowd in one process looks less often, or nothing else is done.
        self._timing = HASTE if len(charger_ids) < A_CROWD else replace(HASTE, tick_s=0.5)
        self._folder = folder
        self._service, self._connected = AsyncExitStack(), AsyncExitStack()
        file = folder / "chargers.json"
        evse = {"evse_id": 1, "phases": [1, 2, 3], "max_current_a": 32}
        named = {"feeder_id": "main", "password_sha256": sha256(PASSWORD.encode()).hexdigest(), "evses": [evse]}
        chargers = [{"charger_id": charger_id} | named for charger_id in charger_ids]
        file.write_text(json.dumps({"feeders": [{"feeder_id": "main", "limit_a": 10_000}], "chargers": chargers}))
        given: dict[str, Any] = {
            "file": file,
            "state_dir": folder / "state",
            "building_kw": 50.0,
            # A busy machine lets a charger that answers at once take seconds.
            "answer_s": 6.0,
        } | settings
        self._settings = ChargerSettings(**given)
        self._site = site or SiteSettings(limit_kw=1000.0)
        self._meter = meter or MeterSettings()
        self._grid_signal = grid_signal or GridSignalSettings()

    async def start(self, port: int = 0) -> int:
        """Start the service; returns its port for chargers."""
        tls: dict[str, Any] = self.certificate
        ocpp = OcppSettings(ocpp_port=port, ocpp_tls_port=0, **tls)
        settings = ServiceSettings(
            self._settings, RunSettings(), self._site, ocpp, self._meter, grid_signal=self._grid_signal
        )
        app = create_app(settings, self.clock)
        self._service = AsyncExitStack()
        await self._service.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app)
        self._client = await self._service.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://service")
        )
        self.central = app.state.central
        self.url = f"ws://127.0.0.1:{app.state.ocpp_ports.plain}"
        self.tls_url = f"wss://127.0.0.1:{app.state.ocpp_ports.tls}"
        return int(app.state.ocpp_ports.plain)

    async def stop(self) -> None:
        await self._service.aclose()

    async def connect(self, charger_id: str, version: Any, *quirks: Any) -> ChargePoint:
        """A charge point that is connected and set up."""
        point = ChargePoint(
            charger_id, self.url, PASSWORD, version=version, cars=self.cars, quirks=quirks, timing=self._timing
        )
        await self._connected.enter_async_context(point.running())
        self.points[charger_id] = point
        return point

    async def disconnect(self) -> None:
        await self._connected.aclose()

    async def charger(self, charger_id: str = "CP-1") -> dict[str, Any]:
        assert self._client is not None
        answer = await self._client.get(f"/chargers/{charger_id}")
        return answer.raise_for_status().json()

    async def health(self) -> dict[str, Any]:
        assert self._client is not None
        return (await self._client.get("/health")).json()

    async def evse(self, charger_id: str = "CP-1") -> dict[str, Any]:
        return (await self.charger(charger_id))["evses"][0]

    async def limit(self, limit_a: float, seconds: float = 45, *charger_ids: str) -> list[dict[str, Any]]:
        """Set the same limit for these chargers; what came of each."""
        assert self._client is not None
        until = (self.clock.now() + timedelta(seconds=seconds)).isoformat()
        named = charger_ids or ("CP-1",)
        limits = [{"charger_id": name, "evse_id": 1, "limit_a": limit_a, "valid_until": until} for name in named]
        answer = await self._client.put("/limits?commander=test", json=limits)
        return answer.raise_for_status().json()["results"]

    async def order(self, path: str, **said: Any) -> dict[str, Any]:
        """What an operator orders, and the answer."""
        assert self._client is not None
        return (await self._client.put(path, json=said)).raise_for_status().json()

    def offered_a(self, charger_id: str = "CP-1") -> float:
        """What the car there is offered."""
        return self.points[charger_id].compute_offer(1, self.clock.now()).limit_a

    async def until_offered(self, limit_a: float, charger_id: str = "CP-1") -> None:
        async with asyncio.timeout(WAIT_S):
            while self.offered_a(charger_id) != limit_a:
                await asyncio.sleep(0.005)

    async def until(self, is_so: Callable[[dict[str, Any]], Any], charger_id: str = "CP-1") -> dict[str, Any]:
        """Wait until the service says so of the EVSE."""
        async with asyncio.timeout(WAIT_S):
            while not is_so(evse := await self.evse(charger_id)):
                await asyncio.sleep(0.005)
        return evse


OpenSite = Callable[..., Awaitable[ChargingSite]]
