"""Prices over the broker that is shipped, beside the meter of the same service."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.integration.sensors.conftest import SITE

if TYPE_CHECKING:
    from tests.broker import Mosquitto
    from tests.integration.sensors.conftest import Running

pytestmark = [pytest.mark.anyio, pytest.mark.broker]

# The publisher is a device like any other: it writes under its own name alone.
TOPIC = f"{SITE}/prices/pv-1/telemetry"


async def test_retained_prices_are_found_at_the_start_and_both_connections_last(
    running: Running, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in broker.environment("prices-service").items():
        monkeypatch.setenv(f"GRID_PRICES_{name}", value)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    intervals = [
        {"interval_start": (hour + timedelta(hours=index)).isoformat(), "price_per_kwh": 0.1} for index in range(24)
    ]
    async with broker.client("pv-1") as market:
        await market.publish(TOPIC, json.dumps({"currency": "EUR", "intervals": intervals}), qos=1, retain=True)
    async with running("grid", broker, GRID_PRICES_SOURCE="mqtt", GRID_PRICES_TOPIC=TOPIC) as service:
        async with asyncio.timeout(20):
            while (answer := await service.get("/grid-prices")).status_code != 200:
                await asyncio.sleep(0.01)
        connected = await service.counted("mqtt_connected")

    assert (answer.json()["source"], answer.json()["intervals"][0]["import_price_per_kwh"]) == ("mqtt own", 0.1)
    assert "error" not in answer.json()
    assert connected == 1
