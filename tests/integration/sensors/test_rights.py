"""Who may do what at the broker that is shipped: names, rights, and what outlives a restart."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import aiomqtt
import pytest
from tests.broker import DEVICES, SERVICES
from tests.integration.sensors.conftest import SITE, solar

if TYPE_CHECKING:
    from tests.broker import Mosquitto

pytestmark = [pytest.mark.anyio, pytest.mark.broker]

PRESENCE = f"{SITE}/service/chargers/status"
METER = f"{SITE}/grid/meter-1/telemetry"
METERS = (METER, f"{SITE}/grid/meter-1/status", "tele/meter-1/SENSOR", "meter-1/events/rpc", "sunspec/meter-1/models")


async def _receive_message(client: aiomqtt.Client) -> tuple[str, bytes]:
    async with asyncio.timeout(10):
        message = await anext(client.messages)
    return message.topic.value, bytes(message.payload)


@pytest.mark.parametrize("user", [*DEVICES, "grid-service", "operator"])
async def test_nobody_ends_the_charger_services_connection_by_taking_its_client_id(
    broker: Mosquitto, user: str
) -> None:
    async with (
        broker.client("chargers-service", identifier="chargers") as service,
        broker.client("meter-1", identifier="any") as meter,
    ):
        await service.subscribe(METER, qos=1)
        for identifier in ("chargers", "chargers-service"):
            # A device that is another one's namesake would end its own connection above.
            with suppress(aiomqtt.MqttError):
                async with broker.client(user, identifier=identifier) as thief:
                    await thief.publish(f"{SITE}/grid/{user}/telemetry", "{}", qos=1)
        if user == "meter-1":
            async with broker.client("meter-1") as again:
                await again.publish(METER, b"{}", qos=1)
        else:
            await meter.publish(METER, b"{}", qos=1)

        assert await _receive_message(service) == (METER, b"{}")


@pytest.mark.parametrize("user", [*DEVICES, *(name for name in SERVICES if name != "chargers-service"), "operator"])
async def test_nobody_else_says_that_the_charger_service_is_there(broker: Mosquitto, user: str) -> None:
    async with broker.client("chargers-service") as service, broker.client(user) as liar:
        await liar.publish(PRESENCE, b"a lie", qos=1, retain=True)
        await service.publish(PRESENCE, b"the truth", qos=1, retain=True)

    async with broker.client("operator") as operator:
        await operator.subscribe(PRESENCE, qos=1)
        assert await _receive_message(operator) == (PRESENCE, b"the truth")


async def test_the_charger_service_reads_the_meter_and_writes_nothing_in_its_name(broker: Mosquitto) -> None:
    async with (
        broker.client("grid-service") as grid,
        broker.client("chargers-service") as service,
        broker.client("meter-1") as meter,
    ):
        for topic in METERS:
            await grid.subscribe(topic, qos=1)
            await service.subscribe(topic, qos=1)
        for topic in METERS:
            await service.publish(topic, b"a lie", qos=1)
            await meter.publish(topic, b"the truth", qos=1)

        for client in (grid, service):
            assert [await _receive_message(client) for _ in METERS] == [(topic, b"the truth") for topic in METERS]


async def test_the_charger_service_hears_no_other_device_and_no_orders_of_others(broker: Mosquitto) -> None:
    async with broker.client("chargers-service") as service, broker.client("pv-1") as inverter:
        await service.subscribe("#", qos=1)
        await inverter.publish(f"{SITE}/solar/pv-1/telemetry", solar(1), qos=1)
        async with broker.client("meter-1") as meter:
            await meter.publish(METER, b"{}", qos=1)

        assert (await _receive_message(service))[0] == METER


async def test_a_user_that_connects_again_takes_its_own_place(broker: Mosquitto) -> None:
    with suppress(aiomqtt.MqttError):
        async with broker.client("pv-1", identifier="first") as first:
            async with broker.client("pv-1", identifier="second") as second:
                await second.publish(f"{SITE}/solar/pv-1/telemetry", solar(1), qos=1)
            with pytest.raises(aiomqtt.MqttError):
                await first.publish(f"{SITE}/solar/pv-1/telemetry", solar(2), qos=1)


async def test_what_is_retained_outlives_a_restart_of_the_broker(broker: Mosquitto) -> None:
    status, telemetry = f"{SITE}/solar/pv-1/status", f"{SITE}/solar/pv-1/telemetry"
    born = json.dumps({"status": "online", "timestamp": "2026-06-21T16:00:00Z"}).encode()
    async with broker.client("pv-1") as device:
        await device.publish(status, born, qos=1, retain=True)
        await device.publish(telemetry, solar(1), qos=1, retain=True)
        await device.publish(telemetry, solar(2), qos=1)

    broker.stop()
    broker.start()

    async with broker.client("solar-service") as service:
        await service.subscribe([(status, 1), (telemetry, 1)])
        heard = dict([await _receive_message(service), await _receive_message(service)])
    assert heard[status] == born
    assert json.loads(heard[telemetry])["sequence"] == 1
