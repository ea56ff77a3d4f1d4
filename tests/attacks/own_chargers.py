"""A charger service of this checkout with charge points of its own: what is commanded there moves no car of anybody.

In one process: the service is asked with assertions of a gateway of its own, and the charge points are connected by
OCPP, on a free port of loopback.
"""

import asyncio
import hashlib
import json
import logging
import secrets
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import httpx
from joserfc.jwk import RSAKey
from tests.attacks import forging

import charger_service.app
from charger_service.app import create_app
from charger_service.settings import ChargerSettings, OcppSettings, ServiceSettings
from ev_service.assertion import APPLICATION_CLAIM, HEADER
from ev_service.clock import SystemClock
from ev_service.settings import RunSettings, SiteSettings
from ev_service.sources import Source, UpdateSignal
from ev_service.telemetry import GridLoad
from ev_service.units import utc_text
from local_gateway.keys import prepare_key_files
from local_stack.environment import HOST
from site_twin.charge_points import ChargePoint, ParkedCars

CHARGERS = ("CP-1", "CP-2")
MAX_A = 32.0
SITE_LIMIT_KW = 25.0
"""Three phases of 36 A: room for one charger at its most, and not for two."""
HAS_METER = True
"""Whether the service reads the meter of the connection, where a scenario has one."""
VOLTAGE_V = 230.0
_CONTEXT, _READ_CONTEXT, _SITE_CONTEXT = "/charger-control/1.0.0", "/chargers/1.0.0", "/site/1.0.0"
_READY_S = 60.0

T = TypeVar("T")


class OwnMeter(Source[GridLoad]):
    """The meter of a connection at which a building draws, and nobody commands.

    building_a: what it draws on each phase [A]. cars_a: tells what cars draw on each [A].
    """

    def __init__(self) -> None:
        self.building_a = 0.0
        self.cars_a: Callable[[], float] = lambda: 0.0
        self._updates = UpdateSignal()

    @property
    def phase_a(self) -> float:
        """What each phase carries [A]."""
        return self.building_a + self.cars_a()

    def send(self) -> None:
        """Have the meter speak."""
        self._updates.send()

    async def read(self, now: datetime) -> GridLoad:
        load_kw = 3 * self.phase_a * VOLTAGE_V / 1000
        return GridLoad(
            site_id=SiteSettings().id,
            timestamp=now,
            source="own",
            load_percent=load_kw / SITE_LIMIT_KW * 100,
            load_kw=load_kw,
            limit_kw=SITE_LIMIT_KW,
            current_a=(self.phase_a,) * 3,
        )

    async def wait_for_update(self) -> None:
        await self._updates.wait()


def limit(charger_id: str, limit_a: float, now: datetime, ahead_s: float = 60.0) -> dict[str, Any]:
    """A limit as `PUT /limits` takes it; ahead_s [s]: when it lapses."""
    until = utc_text(now + timedelta(seconds=ahead_s))
    return {"charger_id": charger_id, "evse_id": 1, "limit_a": limit_a, "valid_until": until}


class Commanders:
    """Whoever commands the own charger service."""

    def __init__(
        self, service: httpx.AsyncClient, key: RSAKey, points: Mapping[str, ChargePoint], cars: ParkedCars
    ) -> None:
        self._service = service
        self._key = key
        self.points = points
        self.cars = cars

    async def put(self, *limits: dict[str, Any], by: str = "EVApp", commander: str | None = None) -> httpx.Response:
        """Set limits.

        Args:
            limits: as `limit` makes them.
            by: the application in whose name the gateway passes the call on.
            commander: what the application calls itself; None leaves it out.
        """
        query = {} if commander is None else {"commander": commander}
        headers = self._through(_CONTEXT, by)
        return await self._service.put("/limits", params=query, json=limits, headers=headers)

    async def order(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Order something of the site, as an operator."""
        return await self._service.put(path, json=body, headers=self._through(_SITE_CONTEXT, "Operator"))

    async def read(self) -> httpx.Response:
        """Read all chargers."""
        return await self._service.get("/chargers", headers=self._through(_READ_CONTEXT, "EVApp"))

    async def evse(self, charger_id: str) -> dict[str, Any]:
        """What is told of a charger's EVSE; empty where nothing is answered."""
        answer = await self.read()
        chargers: list[dict[str, Any]] = answer.json()["chargers"] if answer.status_code == 200 else []
        empty: dict[str, Any] = {}
        return next((one["evses"][0] for one in chargers if one["charger_id"] == charger_id), empty)

    def _through(self, context: str, application: str) -> dict[str, str]:
        claims: dict[str, Any] = {APPLICATION_CLAIM: application}
        return {HEADER: forging.assertion(context, SystemClock().now(), self._key, **claims)}


def run_scenario(
    scenario: Callable[[Commanders], Awaitable[T]], meter: OwnMeter | None = None, site_limit_kw: float | None = None
) -> T:
    """Start a charger service with its charge points, let a scenario command it, and end all of it.

    Args:
        scenario: what happens.
        meter: at the connection, where there is one.
        site_limit_kw: what the connection may carry [kW]; None: SITE_LIMIT_KW.
    """

    async def run() -> T:
        with tempfile.TemporaryDirectory(prefix="ev-prove-chargers-") as folder:
            limit_kw = SITE_LIMIT_KW if site_limit_kw is None else site_limit_kw
            async with _standing(Path(folder), meter, limit_kw) as commanders:
                return await scenario(commanders)

    # What it says of itself is not what is looked at.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        return asyncio.run(run())
    finally:
        logging.disable(before)


@asynccontextmanager
async def _standing(folder: Path, meter: OwnMeter | None, limit_kw: float) -> AsyncGenerator[Commanders]:
    files, passwords = prepare_key_files(folder, SystemClock().now()), {name: secrets.token_hex(8) for name in CHARGERS}
    installed = folder / "chargers.json"
    installed.write_text(json.dumps(_installation(passwords)), encoding="utf-8")
    settings = ServiceSettings(
        _as_shipped(file=installed),
        RunSettings(gateway_cert_file=files.signing, sim_clock_file=None),
        SiteSettings(limit_kw=limit_kw, phases=3, voltage_v=VOLTAGE_V),
        OcppSettings(ocpp_port=0, tls_cert_file=None, tls_key_file=None),
    )
    clock, points = SystemClock(), dict[str, ChargePoint]()
    cars = ParkedCars(clock)
    source = meter if HAS_METER else None
    with patch.object(charger_service.app, "make_meter_source", return_value=source):
        app = create_app(settings, clock)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        url = f"ws://{HOST}:{app.state.ocpp_ports.plain}"
        for name, password in passwords.items():
            point = await stack.enter_async_context(ChargePoint(name, url, password, cars=cars).running())
            await asyncio.wait_for(point.until(lambda point=point: point.is_booted), _READY_S)
            points[name] = point
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        service = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://localhost"))
        yield Commanders(service, RSAKey.import_key(files.signing_key.read_bytes()), points, cars)


def _as_shipped(file: Path) -> ChargerSettings:
    """Settings that no variable of this process changes."""
    shipped: dict[str, Any] = {name: field.default for name, field in ChargerSettings.model_fields.items()}
    shipped["file"] = file
    return ChargerSettings(**shipped)


def _installation(passwords: dict[str, str]) -> dict[str, Any]:
    evse = {"evse_id": 1, "phases": [1, 2, 3], "max_current_a": MAX_A}
    return {
        "feeders": [{"feeder_id": "main", "limit_a": 125.0}],
        "chargers": [
            {
                "charger_id": name,
                "feeder_id": "main",
                "password_sha256": hashlib.sha256(password.encode()).hexdigest(),
                "evses": [evse],
            }
            for name, password in passwords.items()
        ],
    }
