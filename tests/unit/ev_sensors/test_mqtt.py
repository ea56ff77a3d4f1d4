"""A source that listens over MQTT, without a broker: how it ends, whatever its library does."""

import asyncio

import aiomqtt
import pytest

from ev_sensors.broker import Broker
from ev_sensors.mqtt import Member, MqttSource, ReconnectTiming, TopicIdentity
from ev_sensors.settings import MqttSettings
from ev_sensors.shapes.native import own_shape
from ev_service.clock import SystemClock
from ev_service.telemetry import SolarStatus
from solar_service.sources import solar_device

pytestmark = pytest.mark.anyio

NEVER_S = 3600.0


def _source(pace: ReconnectTiming | None = None) -> MqttSource[SolarStatus]:
    broker, device = Broker.of(MqttSettings(url="mqtt://127.0.0.1:1")), solar_device("x", 100.0)
    member = Member("pv-1", device, own_shape("solar", "x"), 30.0)
    return MqttSource(broker, device, [member], TopicIdentity("x", "solar"), SystemClock(), pace)


async def test_a_service_ends_though_its_library_answers_a_cancellation_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, listening = _source(), asyncio.Event()

    async def session() -> None:
        listening.set()
        try:
            await asyncio.sleep(NEVER_S)
        except asyncio.CancelledError:
            raise aiomqtt.MqttError("Operation timed out") from None

    monkeypatch.setattr(source, "_session", session)
    async with asyncio.timeout(5), source.running():
        await listening.wait()


async def test_whatever_breaks_a_session_it_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    source, again = _source(ReconnectTiming(first_pause_s=0.0)), asyncio.Event()
    breaks = [ZeroDivisionError("inverter 3"), aiomqtt.MqttError("refused")]

    async def session() -> None:
        if breaks:
            raise breaks.pop(0)
        again.set()
        await asyncio.sleep(NEVER_S)

    monkeypatch.setattr(source, "_session", session)
    async with asyncio.timeout(5), source.running():
        await again.wait()
        told = await source.health_error(SystemClock().now())

    assert told == "no reading of pv-1 yet: the broker does not answer"
