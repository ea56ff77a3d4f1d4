"""Bad days at a real broker: away, refusing, or with devices that lie, flood, repeat themselves or fall silent."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from tests.integration.sensors.conftest import SITE, ago, solar

from ev_service.certificates import Server, make_servers
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, pem

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broker import Mosquitto
    from tests.integration.sensors.conftest import Running

pytestmark = [pytest.mark.anyio, pytest.mark.broker]

TELEMETRY = f"{SITE}/solar/pv-1/telemetry"
QUARANTINE = f"{SITE}/quarantine/+/+"


async def _receive_quarantined(operator: aiomqtt.Client) -> dict[str, Any]:
    async with asyncio.timeout(10):
        return json.loads(bytes((await anext(operator.messages)).payload))


async def test_a_broker_that_is_down_at_start_is_found_once_it_is_there(
    running: Running, stopped_broker: Mosquitto
) -> None:
    async with running("solar", stopped_broker) as service:
        await service.until_failing("no reading of pv-1 yet: the broker does not answer")
        assert (await service.reading()).status_code == 503

        stopped_broker.start()
        await service.until_counted(1, "mqtt_connected")
        async with stopped_broker.client("pv-1") as device:
            await device.publish(TELEMETRY, solar(1), qos=1)
            await service.until_healthy()


async def test_a_broker_that_goes_down_later_is_told_after_the_stated_time_and_found_again(
    running: Running, broker: Mosquitto
) -> None:
    async with running("solar", broker, SOLAR_MQTT_SILENT_AFTER_S="1") as service:
        await service.until_counted(1, "mqtt_connected")
        async with broker.client("pv-1") as device:
            await device.publish(TELEMETRY, solar(1), qos=1)
            await service.until_healthy()
        broker.stop()
        told = await service.until_failing("pv-1 has been silent for")
        assert "the broker does not answer" in told
        assert (await service.reading()).status_code == 200  # what is known holds until it is 60 s old

        broker.start()
        await service.until_counted(1, "mqtt_connected")
        async with broker.client("pv-1") as device:
            await device.publish(TELEMETRY, solar(2), qos=1)
            await service.until_healthy()
        failures = await service.counted("mqtt_connection_failures_total")

    assert failures >= 1


async def test_a_wrong_password_is_told_without_it(
    running: Running, broker: Mosquitto, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running("solar", broker, MQTT_PASSWORD="not-the-password") as service:
        told = await service.until_failing("refuses user and password")
        answer = await service.reading()

    assert answer.status_code == 503
    assert "not-the-password" not in told + answer.text + caplog.text + "".join(capsys.readouterr())


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_with_the_certificate_of_a_stranger_is_not_spoken_to_until_the_file_names_its_authority(
    running: Running, broker: Mosquitto, tmp_path: Path
) -> None:
    stranger, _ = make_servers("a stranger", [Server("localhost", ("localhost",))], datetime.now(UTC))
    file = replace_file(tmp_path / "stranger.pem", pem(stranger), PUBLIC)

    async with running("solar", broker, MQTT_CA_FILE=str(file)) as service:
        await service.until_failing("the broker's certificate cannot be verified")
        file.write_bytes(broker.secrets.ca_file.read_bytes())
        await service.until_failing("no message on")


async def test_nobody_is_let_in_without_a_name(broker: Mosquitto) -> None:
    plain = aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5, timeout=5)

    with pytest.raises(aiomqtt.MqttError, match="Not authorized"):
        await plain.__aenter__()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (lambda: solar(2, -12.0), "range"),
        (lambda: solar(2, 400.0), "range"),
        (lambda: solar(2, 41.0, capacity_kwp=900.0), "nominal"),
        (lambda: solar(2, 41.0, generation_w=41_000), "unit"),
        (lambda: solar(2, 41.0, at=ago(-7200)), "clock_ahead"),
        (lambda: solar(2, 41.0, at=ago(7200)), "too_old"),
        (lambda: solar(2, 41.0, at=ago(3)), "replayed"),
        (lambda: solar(0, 41.0), "sequence"),
        (lambda: "hello", "schema"),
        (lambda: "[" * 20_000, "too_large"),
    ],
    ids=lambda what: what if isinstance(what, str) else "",
)
async def test_what_a_lying_device_says_is_quarantined_with_its_reason_and_never_read(
    running: Running, broker: Mosquitto, message: Any, reason: str
) -> None:
    async with (
        running("solar", broker) as service,
        broker.client("operator") as operator,
        broker.client("pv-1") as device,
    ):
        await operator.subscribe(QUARANTINE, qos=1)
        await service.until_counted(1, "mqtt_connected")
        await device.publish(TELEMETRY, solar(1, 40.0, at=ago(1)), qos=1)
        await service.until_value("generation_kw", 40.0)
        sent = message()
        await device.publish(TELEMETRY, sent, qos=1)

        told = await _receive_quarantined(operator)
        answer = await service.reading()
        counted = await service.counted("mqtt_quarantined_total", reason=reason)

    assert (told["reason"], told["topic"], told["payload"]) == (reason, TELEMETRY, sent[:4096])
    assert (answer.json()["generation_kw"], counted) == (40.0, 1)


async def test_a_load_of_400_percent_never_reaches_the_agent(running: Running, broker: Mosquitto) -> None:
    async with running("grid", broker) as service, broker.client("meter-1") as device:
        await service.until_counted(1, "mqtt_connected")
        for sequence, load_kw in enumerate((40.0, 400.0, 41.0)):
            message = {"timestamp": ago(0).isoformat(), "sequence": sequence, "load_kw": load_kw}
            await device.publish(f"{SITE}/grid/meter-1/telemetry", json.dumps(message), qos=1)
            # One after the other: what comes faster than it is judged would be shed.
            await service.until_counted(sequence + 1, "mqtt_messages_total")

        assert (await service.until_value("load_kw", 41.0))["load_percent"] == 41.0
        assert await service.counted("mqtt_quarantined_total", reason="range") == 1


async def test_a_device_whose_clock_is_wrong_makes_its_service_unhealthy_and_is_named(
    running: Running, broker: Mosquitto
) -> None:
    async with running("solar", broker) as service, broker.client("pv-1") as device:
        await service.until_counted(1, "mqtt_connected")
        for sequence in (1, 2):
            await device.publish(TELEMETRY, solar(sequence, at=ago(-7200)), qos=1)
            await service.until_counted(sequence, "mqtt_quarantined_total", reason="clock_ahead")

        told = await service.until_failing("no reading of pv-1 yet")

    assert "2 messages refused, the last for clock_ahead" in told


async def test_a_message_delivered_again_counts_once(running: Running, broker: Mosquitto) -> None:
    async with running("solar", broker) as service, broker.client("pv-1") as device:
        await service.until_counted(1, "mqtt_connected")
        message = solar(1)
        for times in (1, 2, 3):
            await device.publish(TELEMETRY, message, qos=1)
            await service.until_counted(times, "mqtt_messages_total")

        assert await service.counted("mqtt_messages_total", outcome="accepted") == 1
        assert await service.counted("mqtt_messages_total", outcome="duplicate") == 2
        assert await service.counted("mqtt_messages_total", outcome="quarantined") == 0


async def test_under_a_flood_the_newest_value_wins_and_what_was_shed_is_counted(
    running: Running, broker: Mosquitto
) -> None:
    flood = 500
    async with running("solar", broker) as service, broker.client("pv-1") as device:
        await service.until_counted(1, "mqtt_connected")
        start = ago(1)
        messages = [
            solar(number, 20.0 + number / 1000, at=start + timedelta(milliseconds=number)) for number in range(flood)
        ]
        async with asyncio.TaskGroup() as sending:
            for message in messages:
                sending.create_task(device.publish(TELEMETRY, message, qos=1))

        await service.until_value("generation_kw", 20.0 + (flood - 1) / 1000)
        await service.until_counted(flood, "mqtt_messages_total")
        shed = await service.counted("mqtt_messages_total", outcome="shed")
        accepted = await service.counted("mqtt_messages_total", outcome="accepted")
        health = await service.health()

    assert (shed + accepted, health.status_code) == (flood, 200)
    assert shed > 0


async def test_a_device_that_falls_silent_makes_its_service_unhealthy_after_the_stated_time(
    running: Running, broker: Mosquitto
) -> None:
    async with (
        running("solar", broker, SOLAR_MQTT_SILENT_AFTER_S="30") as service,
        broker.client("pv-1") as device,
    ):
        await service.until_counted(1, "mqtt_connected")
        await device.publish(TELEMETRY, solar(1, at=ago(29)), qos=1)
        await service.until_healthy()

        assert await service.until_failing("pv-1 has been silent for") == "pv-1 has been silent for 30 s"
