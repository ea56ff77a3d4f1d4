"""The meter at a real broker and chargers over real OCPP: an overload is over soon, with no gateway and no agent."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from charger_service.settings import MeterSettings
from ev_service.settings import SiteSettings

if TYPE_CHECKING:
    import aiomqtt
    from tests.broker import Mosquitto
    from tests.integration.chargers.charging_site import ChargingSite, OpenSite

pytestmark = [pytest.mark.anyio, pytest.mark.broker]

NAMES = ["CP-1", "CP-2", "CP-3"]
USER = "chargers-service"
TELEMETRY = "site/greensboro/grid/meter-1/telemetry"
# Messages of the test come one after the other within a minute of the site's clock.
_LATEST_S = 2.0


class Meter:
    """The meter of the connection, which sees the building and what each car is offered."""

    def __init__(self, site: ChargingSite, client: aiomqtt.Client, limit_kw: float) -> None:
        self._site, self._client, self._limit_kw = site, client, limit_kw
        self._sequence = 0
        self.building_a = [29.0, 29.0, 29.0]

    def current_a(self) -> list[float]:
        cars_a = sum(self._site.offered_a(name) for name in self._site.points)
        return [current_a + cars_a for current_a in self.building_a]

    async def send(self, **more: Any) -> None:
        self._site.clock.advance(1)
        self._sequence += 1
        lines = self.current_a()
        message = {
            "timestamp": self._site.clock.now().isoformat(),
            "sequence": self._sequence,
            "load_kw": sum(lines) * 0.23,
            "limit_kw": self._limit_kw,
            "current_a": lines,
        }
        await self._client.publish(TELEMETRY, json.dumps(message | more), qos=1)

    async def until_below(self, limit_a: float) -> float:
        """Wait until the connection carries no more than this [A]; how long that took [s]."""
        began_s = time.monotonic()
        async with asyncio.timeout(20):
            while max(self.current_a()) > limit_a:
                await asyncio.sleep(0.005)
        return time.monotonic() - began_s


@pytest.fixture
def broker_settings(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> Mosquitto:
    for name, value in broker.environment(USER).items():
        monkeypatch.setenv(name, value)
    return broker


async def charging(open_site: OpenSite, names: list[str], limit_kw: float) -> ChargingSite:
    """Cars that charge at their fallback, at chargers of both versions."""
    site = await open_site(
        names, answer_s=5.0, building_kw=0.0, site=SiteSettings(limit_kw=limit_kw), meter=MeterSettings(source="mqtt")
    )
    for index, name in enumerate(names):
        site.cars.plug(await site.connect(name, "1.6" if index % 2 else "2.0.1"))
    for name in names:
        await site.until(lambda evse: evse["state"] == "charging" and evse["is_confirmed"], name)
    return site


async def until_read(site: ChargingSite) -> None:
    async with asyncio.timeout(20):
        while "meter" in (await site.health()).get("failing", {}):
            await asyncio.sleep(0.005)


async def until_connected(site: ChargingSite) -> None:
    async with asyncio.timeout(20):
        while (await site.health())["failing"]["meter"].split(": ")[1].split(";")[0] != "no reading of meter-1 yet":
            await asyncio.sleep(0.005)


async def test_a_building_that_rises_by_30_kw_lowers_cars_at_once(
    open_site: OpenSite, broker_settings: Mosquitto
) -> None:
    site = await charging(open_site, NAMES, 100.0)
    async with broker_settings.client("meter-1") as client:
        meter = Meter(site, client, 100.0)
        await until_connected(site)
        await meter.send()
        await until_read(site)
        assert {result["outcome"] for result in await site.limit(32, 600, *NAMES)} == {"applied"}
        await meter.send()

        meter.building_a = [29.0 + 43.5] * 3
        assert meter.current_a()[0] > 145
        await meter.send()
        took_s = await meter.until_below(145)

    assert took_s < _LATEST_S
    evse = await site.until(lambda evse: evse.get("limited_by") == "protection", "CP-3")
    assert evse["limit_a"] == site.offered_a("CP-3") < 32
    assert (site.offered_a("CP-1"), site.offered_a("CP-2")) == (32, 32)


async def test_one_phase_alone_is_protected_too(open_site: OpenSite, broker_settings: Mosquitto) -> None:
    site = await charging(open_site, NAMES[:2], 24.0)
    async with broker_settings.client("meter-1") as client:
        meter = Meter(site, client, 24.0)
        meter.building_a = [0.0, 0.0, 0.0]
        await until_connected(site)
        await meter.send()
        await until_read(site)
        assert {result["outcome"] for result in await site.limit(11.7, 600, *NAMES[:2])} == {"applied"}
        await meter.send()

        # 41.4 of 34.8 A on L1, and two thirds of the connection in all.
        meter.building_a = [18.0, 0.0, 0.0]
        await meter.send()
        took_s = await meter.until_below(34.8)

    assert took_s < _LATEST_S
    assert site.offered_a("CP-1") == 11.7
    assert site.offered_a("CP-2") == 0


async def test_an_implausible_or_silent_meter_allows_no_raise(open_site: OpenSite, broker_settings: Mosquitto) -> None:
    site = await charging(open_site, NAMES[:1], 100.0)
    (result,) = await site.limit(16, 600)
    assert (result["limited_by"], site.offered_a()) == ("meter_lost", 6)
    async with broker_settings.client("meter-1") as client:
        meter = Meter(site, client, 100.0)
        await until_connected(site)
        await meter.send()
        await until_read(site)
        assert (await site.limit(10, 600))[0]["outcome"] == "applied"

        site.clock.advance(20)
        await meter.send(load_kw=2000.0)

        assert (await site.limit(16, 600))[0]["limited_by"] == "meter_lost"
        assert "meter" in (await site.health())["failing"]
        await meter.send()
        await until_read(site)
        assert (await site.limit(16, 600))[0]["outcome"] == "applied"
