"""Meters of the field at a real broker: those that settings describe, several as one, and what is said of the rest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.integration.sensors.conftest import ago

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Mosquitto
    from tests.integration.sensors.conftest import Running

pytestmark = [pytest.mark.anyio, pytest.mark.broker]

VALUES = "power=tele/meter-1/SENSOR#/SML/curr_w W; time=#/Time iso; status=tele/meter-1/LWT Online/Offline"
RPC = "meter-1/events/rpc"


def _notify(**params: object) -> str:
    told = {"ts": ago(0).timestamp()} | {name.replace("_", ":"): part for name, part in params.items()}
    return json.dumps({"src": "shelly-1", "method": "NotifyStatus", "params": told})


async def test_the_walk_through_reads_an_infrared_head(running: Running, broker: Mosquitto) -> None:
    settings = {"GRID_MQTT_SHAPE": "json", "GRID_MQTT_VALUES": VALUES}
    async with running("grid", broker, **settings) as service, broker.client("meter-1") as device:
        await service.until_counted(1, "mqtt_connected")
        none = await service.until_failing("no reading of meter-1 yet: no message")
        await device.publish("tele/meter-1/LWT", "Online", qos=1, retain=True)
        await device.publish("tele/meter-1/SENSOR", '{"ANALOG": {"A0": 4}}', qos=1)
        told = await service.until_failing("1 message, none with power")
        sensor = {"Time": ago(0).isoformat(), "SML": {"curr_w": -3, "Total_in": 12345.6}}
        await device.publish("tele/meter-1/SENSOR", json.dumps(sensor), qos=1)

        reading, health = await service.until_value("export_kw", 0.003), await service.health()

    assert none == "no reading of meter-1 yet: no message on tele/meter-1/SENSOR"
    assert told == (
        "no reading of meter-1 yet: 1 message, none with power: tele/meter-1/SENSOR: nothing at /SML/curr_w (1)"
    )
    assert (reading["load_kw"], health.status_code) == (0.0, 200)


async def test_a_shelly_in_single_phase_profile_is_read_and_its_other_messages_are_named(
    running: Running, broker: Mosquitto
) -> None:
    async with running("grid", broker, GRID_MQTT_SHAPE="shelly") as service, broker.client("meter-1") as device:
        await service.until_counted(1, "mqtt_connected")
        for _ in range(2):
            await device.publish(RPC, _notify(wifi={"rssi": -60}), qos=1)
        told = await service.until_failing("none with power")
        channels = {"em1_0": {"id": 0, "act_power": 2240.6}, "em1_1": {"id": 1, "act_power": 420.1}}
        await device.publish(RPC, _notify(**channels), qos=1)
        await service.until_counted(1, "mqtt_messages_total", outcome="accepted")
        single = (await service.reading()).json()
        phases = {"a_act_power": 1000.0, "b_act_power": 900.0, "c_act_power": 800.0, "total_act_power": None}
        await device.publish(RPC, _notify(em_0={"id": 0, **phases}), qos=1)
        await service.until_counted(2, "mqtt_messages_total", outcome="accepted")
        three = (await service.reading()).json()

    assert f"{RPC}: no power in wifi" in told
    assert (single["load_kw"], three["load_kw"]) == pytest.approx((2.6607, 2.7))
    assert len(three["current_a"]) == 3


async def test_a_shelly_of_the_first_generation_is_read(running: Running, broker: Mosquitto) -> None:
    settings = {"GRID_MQTT_SHAPE": "shelly_gen1", "GRID_MQTT_CHANNELS": "0,1,2"}
    async with running("grid", broker, **settings) as service, broker.client("meter-1") as device:
        await service.until_counted(1, "mqtt_connected")
        for channel, power in enumerate(("1000.5", "-200.25", "0")):
            await device.publish(f"shellies/meter-1/emeter/{channel}/power", power, qos=1)

        reading = await service.until_value("load_kw", 0.80025)

    assert reading["current_a"][1] < 0


@pytest.mark.parametrize("points", [{"W": 32_768, "W_SF": 0}, {"W": 4125}])
async def test_a_sunspec_power_that_is_none_is_refused(
    running: Running, broker: Mosquitto, points: dict[str, int]
) -> None:
    async with running("solar", broker, SOLAR_MQTT_SHAPE="sunspec") as service, broker.client("pv-1") as device:
        await service.until_counted(1, "mqtt_connected")
        message = {"timestamp": ago(0).isoformat(), "models": {"103": points}}
        await device.publish("sunspec/pv-1/models", json.dumps(message), qos=1)
        told = await service.until_failing("1 messages refused, the last for schema: W")

        assert (await service.reading()).status_code == 503
    assert "W is not implemented by the device" in told or "the scale factor of W is missing" in told


async def test_several_inverters_make_up_one_and_a_silent_one_makes_it_unknown(
    running: Running, broker: Mosquitto, tmp_path: Path
) -> None:
    file = tmp_path / "devices.json"
    listed = [
        {"device_id": "pv-1", "shape": "sunspec", "capacity": 60},
        {"device_id": "meter-1", "shape": "json", "values": "power=tele/meter-1/SENSOR#/p kW", "capacity": 40},
    ]
    file.write_text(json.dumps(listed))
    async with (
        running("solar", broker, SOLAR_MQTT_DEVICES_FILE=str(file)) as service,
        broker.client("pv-1") as first,
        broker.client("meter-1") as second,
    ):
        await service.until_counted(1, "mqtt_connected")
        message = {"timestamp": ago(0).isoformat(), "models": {"103": {"W": 205, "W_SF": 2}}}
        await first.publish("sunspec/pv-1/models", json.dumps(message), qos=1)
        await service.until_counted(1, "mqtt_messages_total", outcome="accepted")
        told = await service.until_failing("no reading of meter-1 yet")
        unknown = await service.reading()
        await second.publish("tele/meter-1/SENSOR", '{"p": 10.25}', qos=1)

        whole = await service.until_value("generation_kw", 30.75)
        await service.until_healthy()
        await first.publish("sunspec/pv-1/status", '{"status": "offline", "timestamp": "2026-06-21T16:00:00Z"}', qos=1)
        gone = await service.until_failing("pv-1 is offline")

    assert "pv-1" not in told
    assert (unknown.status_code, whole["capacity_kwp"]) == (503, 100.0)
    assert "meter-1" not in gone
