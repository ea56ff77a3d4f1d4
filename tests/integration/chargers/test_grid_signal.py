"""The grid operator's signal over a real broker, to chargers over real OCPP: it lowers, ends, and survives a flood."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from charger_service.settings import GridSignalSettings, MeterSettings
from ev_service.settings import SiteSettings

if TYPE_CHECKING:
    from tests.broker import Mosquitto
    from tests.integration.chargers.charging_site import ChargingSite, OpenSite

pytestmark = [pytest.mark.anyio, pytest.mark.broker]

TOPIC = "site/greensboro/grid-signal"
NAMES = ["CP-1", "CP-2"]


@pytest.fixture
def broker_settings(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> Mosquitto:
    for name, value in broker.environment("chargers-service").items():
        monkeypatch.setenv(name, value)
    return broker


def message(site: ChargingSite, limit_kw: Any, seconds: float = 600.0) -> str:
    now = site.clock.now()
    limit = {
        "limit_kw": limit_kw,
        "applies_to": "charging",
        "valid_until": (now + timedelta(seconds=seconds)).isoformat(),
    }
    return json.dumps({"issued_at": now.isoformat(), "limits": [limit]})


async def charging(open_site: OpenSite, broker: Mosquitto, meter: MeterSettings | None = None) -> ChargingSite:
    """Two cars that charge."""
    site = await open_site(
        NAMES,
        answer_s=5.0,
        building_kw=0.0,
        site=SiteSettings(limit_kw=100.0),
        meter=meter,
        grid_signal=GridSignalSettings(
            mqtt_topic=TOPIC,
            mqtt_username="chargers-signal",
            mqtt_password_file=broker.secrets.password_file("chargers-signal"),
        ),
    )
    for name in NAMES:
        site.cars.plug(await site.connect(name, "2.0.1"))
    for name in NAMES:
        await site.until(lambda evse: evse["state"] == "charging" and evse["is_confirmed"], name)
    return site


async def until_warned(site: ChargingSite, words: str | None) -> None:
    """Wait until health has a warning with these words; None: no warning."""
    async with asyncio.timeout(20):
        while True:
            said = (await site.health()).get("warnings", {}).get("grid_signal")
            if said is None if words is None else words in (said or ""):
                return
            await asyncio.sleep(0.005)


def offered_kw(site: ChargingSite) -> float:
    return sum(site.offered_a(name) for name in NAMES) * 3 * 0.23


async def test_a_signal_lowers_cars_and_names_itself_and_what_cannot_be_used_is_told(
    open_site: OpenSite, broker_settings: Mosquitto
) -> None:
    site = await charging(open_site, broker_settings)
    await until_warned(site, None)
    assert {result["outcome"] for result in await site.limit(32, 600, *NAMES)} == {"applied"}
    async with broker_settings.client("grid-operator") as operator:
        await operator.publish(TOPIC, message(site, 12.6), qos=1)
        await site.until(lambda evse: evse.get("limited_by") == "grid_signal", "CP-2")
        async with asyncio.timeout(20):
            while offered_kw(site) > 12.6:
                await asyncio.sleep(0.005)

        await operator.publish(TOPIC, message(site, -1.0), qos=1)
        await until_warned(site, "limits.0.limit_kw")

        await operator.publish(TOPIC, json.dumps({"issued_at": site.clock.now().isoformat(), "limits": []}), qos=1)
        await until_warned(site, None)
    assert {result["outcome"] for result in await site.limit(32, 600, *NAMES)} == {"applied"}


async def test_a_retained_old_message_is_ignored_and_a_retained_one_in_force_counts(
    open_site: OpenSite, broker_settings: Mosquitto
) -> None:
    site = await charging(open_site, broker_settings)
    async with broker_settings.client("grid-operator") as operator:
        await operator.publish(TOPIC, message(site, 5.0, -1.0), qos=1, retain=True)
    await until_warned(site, "expired")
    assert {result["outcome"] for result in await site.limit(32, 600, *NAMES)} == {"applied"}
    broker_settings.stop()
    await until_warned(site, "the broker")
    broker_settings.start()
    async with broker_settings.client("grid-operator") as operator:
        await operator.publish(TOPIC, message(site, 12.6), qos=1, retain=True)

    await site.until(lambda evse: evse.get("limited_by") == "grid_signal", "CP-2")


async def test_of_thousands_of_messages_the_last_counts(open_site: OpenSite, broker_settings: Mosquitto) -> None:
    site = await charging(open_site, broker_settings)
    await until_warned(site, None)
    async with broker_settings.client("grid-operator") as operator:
        for number in range(3000):
            await operator.publish(TOPIC, message(site, 20.0 + number), qos=0)
        await operator.publish(TOPIC, message(site, 12.6), qos=1)

    await site.limit(32, 600, *NAMES)
    async with asyncio.timeout(20):
        while offered_kw(site) > 12.6:
            await asyncio.sleep(0.05)
    evse = await site.evse("CP-2")
    assert evse["limited_by"] == "grid_signal"


@pytest.mark.parametrize("user", ["meter-1", "operator"])
async def test_nobody_else_can_send_a_signal(open_site: OpenSite, broker_settings: Mosquitto, user: str) -> None:
    site = await charging(open_site, broker_settings)
    await until_warned(site, None)
    async with broker_settings.client(user) as liar:
        with suppress(aiomqtt.MqttError):
            await liar.publish(TOPIC, message(site, 0.0), qos=1)
    async with broker_settings.client("grid-operator") as operator:
        await operator.publish(TOPIC, b"{", qos=1)
    await until_warned(site, "refused")

    assert {result["outcome"] for result in await site.limit(32, 600, *NAMES)} == {"applied"}


async def test_the_service_reads_meter_and_signal_at_one_broker(
    open_site: OpenSite, broker_settings: Mosquitto
) -> None:
    site = await charging(open_site, broker_settings, MeterSettings(source="mqtt"))
    await until_warned(site, None)
    async with broker_settings.client("grid-operator") as operator, broker_settings.client("meter-1") as meter:
        for sequence in range(3):
            site.clock.advance(1)
            load = {"timestamp": site.clock.now().isoformat(), "sequence": sequence, "load_kw": 9.0, "limit_kw": 100.0}
            await meter.publish("site/greensboro/grid/meter-1/telemetry", json.dumps(load), qos=1)
            await operator.publish(TOPIC, message(site, 12.6), qos=1)
            async with asyncio.timeout(20):
                while "meter" in (await site.health()).get("failing", {}):
                    await asyncio.sleep(0.005)

    await site.limit(32, 600, *NAMES)
    assert offered_kw(site) <= 12.6
    await until_warned(site, None)
