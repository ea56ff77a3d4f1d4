"""The three reading services listening to a real broker, each in process, and devices that speak as real ones do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.broker import Mosquitto

import battery_service.app
import grid_service.app
import solar_service.app

APPS = {
    "solar": (solar_service.app.create_app, "/solar-status"),
    "battery": (battery_service.app.create_app, "/battery-status"),
    "grid": (grid_service.app.create_app, "/grid-load"),
}
SITE = "site/greensboro"
_SEEN_S = 20.0


class RunningService:
    """A running service."""

    def __init__(self, http: httpx.AsyncClient, path: str) -> None:
        self._http, self._path = http, path

    async def reading(self) -> httpx.Response:
        return await self._http.get(self._path)

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(path)

    async def health(self) -> httpx.Response:
        return await self._http.get("/health")

    async def counted(self, name: str, **labels: str) -> float:
        text = (await self._http.get("/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def until_value(self, name: str, value: float) -> dict[str, Any]:
        """Wait for a reading with this value."""
        async with asyncio.timeout(_SEEN_S):
            while True:
                answer = await self.reading()
                if answer.status_code == 200 and answer.json()[name] == value:
                    return answer.json()
                await asyncio.sleep(0.005)

    async def until_counted(self, count: float, name: str, **labels: str) -> None:
        async with asyncio.timeout(_SEEN_S):
            while await self.counted(name, **labels) < count:
                await asyncio.sleep(0.005)

    async def until_healthy(self) -> None:
        async with asyncio.timeout(_SEEN_S):
            while (await self.health()).status_code != 200:
                await asyncio.sleep(0.005)

    async def until_failing(self, reason: str) -> str:
        """Wait until health names a reason that holds this text."""
        async with asyncio.timeout(_SEEN_S):
            while True:
                told = (await self.health()).json().get("failing", {}).get("source", "")
                if reason in told:
                    return told
                await asyncio.sleep(0.005)


class Running(Protocol):
    """Starts a service that listens to a broker; settings go in as keywords, as variables are called."""

    def __call__(
        self, role: str, broker: Mosquitto, **settings: str
    ) -> AbstractAsyncContextManager[RunningService]: ...


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    @asynccontextmanager
    async def start(role: str, broker: Mosquitto, **settings: str) -> AsyncGenerator[RunningService]:
        given = {f"{role.upper()}_SOURCE": "mqtt", **broker.environment(f"{role}-service"), **settings}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        create_app, path = APPS[role]
        app = create_app(None, None)
        transport = httpx.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as http,
        ):
            yield RunningService(http, path)

    return start


def solar(sequence: int, generation_kw: float = 40.0, *, at: datetime | None = None, **more: Any) -> str:
    """A message of the inverter in our own shape."""
    moment = at or datetime.now(UTC)
    return json.dumps({"timestamp": moment.isoformat(), "sequence": sequence, "generation_kw": generation_kw, **more})


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)
