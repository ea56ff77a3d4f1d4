"""Devices of every shape at a real broker, over TLS, each under its own user: what becomes a reading."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import aiomqtt
import pytest
from tests.integration.sensors.conftest import SITE, ago, solar

if TYPE_CHECKING:
    from tests.broker import Mosquitto
    from tests.integration.sensors.conftest import Running

pytestmark = [pytest.mark.anyio, pytest.mark.broker]

ONLINE, OFFLINE = (f'{{"status": "{word}", "timestamp": "2026-06-21T16:00:00Z"}}' for word in ("online", "offline"))
STATUS, TELEMETRY = f"{SITE}/solar/pv-1/status", f"{SITE}/solar/pv-1/telemetry"


def _now() -> str:
    return datetime.now(UTC).isoformat()


@pytest.mark.parametrize(
    ("role", "device_id", "fields", "name", "value"),
    [
        ("solar", "pv-1", {"generation_kw": 41.5, "capacity_kwp": 100.0}, "generation_kw", 41.5),
        ("battery", "bess-1", {"soc_percent": 83.0, "active_power_kw": -4.0}, "soc_percent", 83.0),
        ("grid", "meter-1", {"load_kw": 61.0, "limit_kw": 100.0, "includes_charging": True}, "load_percent", 61.0),
    ],
)
async def test_a_device_that_speaks_as_we_do_is_read(
    running: Running, broker: Mosquitto, role: str, device_id: str, fields: dict[str, float], name: str, value: float
) -> None:
    async with running(role, broker) as service, broker.client(device_id) as device:
        await service.until_counted(1, "mqtt_connected")
        await device.publish(f"{SITE}/{role}/{device_id}/status", ONLINE, qos=1, retain=True)
        message = json.dumps({"timestamp": _now(), "sequence": 1, **fields})
        await device.publish(f"{SITE}/{role}/{device_id}/telemetry", message, qos=1)

        reading = await service.until_value(name, value)
        health = await service.health()

    assert (reading["source"], reading["site_id"], health.status_code) == ("mqtt", "greensboro", 200)
    assert fields.items() <= reading.items()


async def test_a_tasmota_meter_without_an_offset_speaks_the_sites_time(running: Running, broker: Mosquitto) -> None:
    async with running("grid", broker, GRID_MQTT_SHAPE="tasmota") as service, broker.client("meter-1") as device:
        await service.until_counted(1, "mqtt_connected")
        await device.publish("tele/meter-1/LWT", "Online", qos=1, retain=True)
        local = datetime.now(ZoneInfo("America/New_York")).replace(tzinfo=None).isoformat(timespec="seconds")
        sensor = {"Time": local, "ENERGY": {"Power": 42_000, "Total": 1234.5, "Voltage": 231}}
        await device.publish("tele/meter-1/SENSOR", json.dumps(sensor), qos=1)

        reading = await service.until_value("load_kw", 42.0)

    assert (reading["load_percent"], reading["export_kw"]) == (42.0, 0.0)


async def test_a_shelly_meter_that_gives_power_back_is_an_export(running: Running, broker: Mosquitto) -> None:
    async with running("grid", broker, GRID_MQTT_SHAPE="shelly") as service, broker.client("meter-1") as device:
        await service.until_counted(1, "mqtt_connected")
        for part in ({"wifi": {"rssi": -60}}, {"em:0": {"id": 0, "total_act_power": -7500.5}}):
            message = {"src": "shellypro3em-1", "method": "NotifyStatus", "params": {"ts": ago(0).timestamp(), **part}}
            await device.publish("meter-1/events/rpc", json.dumps(message), qos=1)

        reading = await service.until_value("export_kw", 7.5005)
        ignored = await service.counted("mqtt_messages_total", outcome="ignored")

    assert (reading["load_kw"], ignored) == (0.0, 1)


async def test_an_inverter_that_sends_sunspec_models_is_read(running: Running, broker: Mosquitto) -> None:
    async with running("solar", broker, SOLAR_MQTT_SHAPE="sunspec") as service, broker.client("pv-1") as device:
        await service.until_counted(1, "mqtt_connected")
        points = {"W": 4125, "W_SF": 1, "WH": 1_234_567, "WH_SF": 0}
        await device.publish("sunspec/pv-1/models", json.dumps({"timestamp": _now(), "models": {"103": points}}), qos=1)

        assert (await service.until_value("generation_kw", 41.25))["capacity_kwp"] == 100.0


async def test_a_retained_message_counts_by_its_own_timestamp(running: Running, broker: Mosquitto) -> None:
    measured_at = ago(20)
    async with broker.client("pv-1") as device:
        await device.publish(TELEMETRY, solar(1, at=measured_at), qos=1, retain=True)

    async with running("solar", broker) as service:
        reading = await service.until_value("generation_kw", 40.0)

    assert datetime.fromisoformat(reading["timestamp"]) == measured_at


async def test_what_the_broker_kept_for_hours_is_no_reading_and_no_fault(running: Running, broker: Mosquitto) -> None:
    async with broker.client("pv-1") as device:
        await device.publish(TELEMETRY, solar(1, at=ago(7200)), qos=1, retain=True)

    async with running("solar", broker) as service:
        await service.until_counted(1, "mqtt_messages_total", outcome="outdated")
        answer, health = await service.reading(), await service.health()
        quarantined = await service.counted("mqtt_messages_total", outcome="quarantined")

    assert (answer.status_code, health.status_code, quarantined) == (503, 503, 0)
    assert answer.json()["code"] == "source_unavailable"


async def test_a_device_whose_last_will_is_read_makes_its_service_unhealthy_until_it_is_back(
    running: Running, broker: Mosquitto
) -> None:
    will = aiomqtt.Will(STATUS, OFFLINE, qos=1, retain=True)

    async with running("solar", broker) as service:
        await service.until_counted(1, "mqtt_connected")
        # Another connection of the same name takes the first one's place, and the broker says its will.
        with suppress(aiomqtt.MqttError):
            async with broker.client("pv-1", identifier="pv-1", will=will) as device:
                await device.publish(STATUS, ONLINE, qos=1, retain=True)
                await device.publish(TELEMETRY, solar(1), qos=1)
                await service.until_healthy()
                async with broker.client("pv-1", identifier="pv-1") as device_again:
                    await service.until_failing("pv-1 is offline")
                    assert (await service.reading()).status_code == 200  # the last value, with its own timestamp
                    await device_again.publish(STATUS, ONLINE, qos=1, retain=True)
                    await service.until_healthy()


async def test_a_service_says_itself_that_it_is_there_and_that_it_goes(running: Running, broker: Mosquitto) -> None:
    async with broker.client("operator") as operator:
        await operator.subscribe(f"{SITE}/service/solar/status", qos=1)
        async with running("solar", broker) as service:
            born = await anext(operator.messages)
            await service.until_counted(1, "mqtt_connected")
        gone = await anext(operator.messages)

    said = [json.loads(bytes(message.payload))["status"] for message in (born, gone)]
    assert said == ["online", "offline"]


async def test_no_device_can_speak_for_another_or_listen(running: Running, broker: Mosquitto) -> None:
    async with (
        running("solar", broker) as service,
        broker.client("meter-1") as meter,
        broker.client("pv-1") as inverter,
    ):
        await service.until_counted(1, "mqtt_connected")
        await meter.subscribe("#", qos=1)
        await meter.publish(TELEMETRY, solar(1, 99.0), qos=1)
        await meter.publish(f"{SITE}/quarantine/solar/pv-1", "{}", qos=1)
        await inverter.publish(TELEMETRY, solar(1, 40.0), qos=1)
        await service.until_value("generation_kw", 40.0)

        assert await service.counted("mqtt_messages_total") == 1
        assert len(meter.messages) == 0
