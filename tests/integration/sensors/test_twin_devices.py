"""The twin's devices at a real Mosquitto, with the users and rights that are deployed: each fault does what it says."""

import asyncio
import gc
import json
from collections import defaultdict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import pytest
from fastapi import FastAPI
from tests.broker import Mosquitto

from ev_service.certificates import Server, make_servers
from ev_service.clock import SteppedClock, SystemClock
from ev_service.files import replace_file
from ev_service.key_files import PUBLIC, pem
from ev_service.settings import RunSettings, SiteSettings
from site_twin.app import AllSettings, create_app
from site_twin.devices.failing import CLOCK_WRONG_BY, FLOOD_MESSAGES, REPLAYED_MESSAGES, DeviceFault
from site_twin.settings import TwinSettings

pytestmark = [pytest.mark.broker, pytest.mark.anyio]

MORNING = datetime(2026, 6, 25, 14, tzinfo=UTC)
PERIOD_S = 5.0
WAIT_S = 20.0
SUN = "site/greensboro/solar/pv-1/telemetry"
BATTERY = "site/greensboro/battery/bess-1/telemetry"
METER = "site/greensboro/grid/meter-1/telemetry"
SUN_STATUS = "site/greensboro/solar/pv-1/status"


class Listener:
    """Hears what the devices publish."""

    def __init__(self, client: aiomqtt.Client, clock: SteppedClock) -> None:
        self._client, self._clock = client, clock
        self._others: defaultdict[str, deque[Any]] = defaultdict(deque)

    async def next(self, topic: str) -> Any:
        """The next message on a topic; those on others wait until they are asked for."""
        if self._others[topic]:
            return self._others[topic].popleft()
        async with asyncio.timeout(WAIT_S):
            async for message in self._client.messages:
                assert message.qos == 1
                said = json.loads(message.payload)  # pyright: ignore[reportArgumentType]
                if str(message.topic) == topic:
                    return said
                self._others[str(message.topic)].append(said)
        raise AssertionError("the broker has gone")

    async def after_a_period(self, topic: str) -> Any:
        """The first message on a topic once the clock has gone on by a period."""
        self._clock.advance(PERIOD_S)
        return await self.next(topic)


@dataclass(frozen=True)
class Ground:
    """The twin, somebody who listens, and the clock of both."""

    listener: Listener
    http: httpx.AsyncClient
    clock: SteppedClock

    async def order(self, kind: str, device: str = "pv-1", minutes: float = 60) -> None:
        """Let a device fail."""
        answer = await self.http.put(f"/faults/{device}", json={"kind": kind, "minutes": minutes})
        assert answer.status_code == 200


@pytest.fixture
async def ground(broker: Mosquitto) -> AsyncGenerator[Ground]:
    async with _ground(broker, SteppedClock(MORNING)) as ground:
        for topic in (SUN, METER):
            await ground.listener.next(topic)
        yield ground


def _twin(broker: Mosquitto, url: str, **more: Any) -> AllSettings:
    secrets = broker.secrets
    given: dict[str, Any] = {"ca_file": secrets.ca_file, "mqtt_period_s": PERIOD_S} | more
    twin = TwinSettings(mqtt_url=url, mqtt_passwords_dir=secrets.folder, **given)
    return AllSettings(twin, SiteSettings(), RunSettings())


@asynccontextmanager
async def _ground(broker: Mosquitto, clock: SteppedClock, **more: Any) -> AsyncGenerator[Ground]:
    app = create_app(_twin(broker, f"mqtts://localhost:{broker.tls_port}", **more), clock)
    async with broker.client("operator") as client:
        await client.subscribe("site/#", qos=1)
        async with _running(app) as http:
            yield Ground(Listener(client, clock), http, clock)


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://twin") as http,
    ):
        yield http


async def test_every_device_is_born_and_tells_what_the_site_does(broker: Mosquitto) -> None:
    clock = SteppedClock(MORNING)
    async with _ground(broker, clock) as ground:
        birth, sun = await ground.listener.next(SUN_STATUS), await ground.listener.next(SUN)
        load = await ground.listener.after_a_period(METER)
        battery = await ground.listener.after_a_period(BATTERY)
        site = (await ground.http.get("/site")).json()

    assert birth == {"status": "online", "timestamp": "2026-06-25T14:00:00Z"}
    assert sun["timestamp"] == "2026-06-25T14:00:00Z"
    assert sun["generation_kw"] > 10
    assert (load["load_kw"], load["export_kw"]) == pytest.approx((site["load_kw"], site["export_kw"]), abs=0.5)
    assert battery["soc_percent"] == site["soc_percent"]


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_authority_that_was_replaced_is_trusted_by_the_next_connection(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger, _ = make_servers("a stranger", [Server("localhost", ("localhost",))], datetime.now(UTC))
    file = replace_file(tmp_path / "authority.pem", pem(stranger), PUBLIC)
    async with _ground(broker, SteppedClock(MORNING), ca_file=file) as ground, asyncio.timeout(WAIT_S):
        while not any("CERTIFICATE_VERIFY_FAILED" in getattr(record, "reason", "") for record in caplog.records):
            await asyncio.sleep(0.01)
        file.write_bytes(broker.secrets.ca_file.read_bytes())

        assert (await ground.listener.next(SUN_STATUS))["status"] == "online"
    gc.collect()


async def test_devices_that_are_stopped_say_goodbye(broker: Mosquitto) -> None:
    async with broker.client("operator") as client:
        await client.subscribe(SUN_STATUS, qos=1)
        clock = SteppedClock(MORNING)
        async with _running(create_app(_twin(broker, f"mqtts://localhost:{broker.tls_port}"), clock)):
            birth = await Listener(client, clock).next(SUN_STATUS)
        goodbye = await Listener(client, clock).next(SUN_STATUS)

    assert [birth["status"], goodbye["status"]] == ["online", "offline"]


async def test_a_jump_of_the_clock_is_told_at_once(ground: Ground) -> None:
    ground.clock.advance(300)

    assert (await ground.listener.next(SUN))["timestamp"] == "2026-06-25T14:05:00Z"


async def test_a_silent_device_says_nothing_until_it_may_again(ground: Ground) -> None:
    before = await ground.listener.after_a_period(SUN)
    await ground.order(DeviceFault.SILENT, minutes=1)

    for _ in range(3):
        await ground.listener.after_a_period(METER)
    ground.clock.advance(60)
    after = await ground.listener.next(SUN)

    assert after["sequence"] == before["sequence"] + 1
    assert after["timestamp"] == "2026-06-25T14:01:20Z"


async def test_a_device_that_loses_its_connection_leaves_its_will_and_comes_back(ground: Ground) -> None:
    await ground.order(DeviceFault.OFFLINE, minutes=1)
    ground.clock.advance(PERIOD_S)
    will = await ground.listener.next(SUN_STATUS)
    while will["status"] == "online":
        will = await ground.listener.next(SUN_STATUS)

    ground.clock.advance(60)

    assert (await ground.listener.next(SUN_STATUS))["status"] == "online"
    assert (await ground.listener.next(SUN))["timestamp"] == "2026-06-25T14:01:05Z"


async def test_a_stuck_device_repeats_its_value_with_new_times(ground: Ground) -> None:
    await ground.order(DeviceFault.STUCK)
    first = await ground.listener.after_a_period(SUN)
    ground.clock.advance(1800)
    later = await ground.listener.next(SUN)
    truth = (await ground.http.get("/solar-status")).json()

    assert later["generation_kw"] == first["generation_kw"] != truth["generation_kw"]
    assert later["timestamp"] == truth["timestamp"]


async def test_spikes_are_far_from_the_values_around_them(ground: Ground) -> None:
    await ground.order(DeviceFault.SPIKES, "meter-1")

    loads_kw = [(await ground.listener.after_a_period(METER))["load_kw"] for _ in range(3)]

    assert max(loads_kw) - sorted(loads_kw)[1] > 40
    assert sorted(loads_kw)[1] - min(loads_kw) < 5


async def test_a_lying_device_tells_what_can_not_be(ground: Ground) -> None:
    await ground.order(DeviceFault.LYING)
    await ground.order(DeviceFault.LYING, "meter-1")

    ground.clock.advance(PERIOD_S)
    sun, load = await ground.listener.next(SUN), None
    while load is None or load["load_percent"] != 400:
        load = await ground.listener.after_a_period(METER)

    assert sun["generation_kw"] < 0


async def test_a_wrong_clock_tells_times_two_hours_ahead(ground: Ground) -> None:
    await ground.order(DeviceFault.CLOCK_WRONG)

    sun = await ground.listener.after_a_period(SUN)

    assert datetime.fromisoformat(sun["timestamp"]) == ground.clock.now() + CLOCK_WRONG_BY


async def test_duplicates_come_with_the_same_number(ground: Ground) -> None:
    await ground.order(DeviceFault.DUPLICATES)

    first, second = await ground.listener.after_a_period(SUN), await ground.listener.next(SUN)

    assert first == second


async def test_a_replaying_device_sends_old_messages_again(ground: Ground) -> None:
    before = [await ground.listener.after_a_period(SUN) for _ in range(REPLAYED_MESSAGES)]
    await ground.order(DeviceFault.REPLAYS)

    again = [await ground.listener.after_a_period(SUN), *[await ground.listener.next(SUN) for _ in before]]

    assert again[:-1] == before
    assert again[-1]["sequence"] == before[-1]["sequence"] + 1


async def test_a_flood_comes_whole(ground: Ground) -> None:
    await ground.order(DeviceFault.FLOOD)

    first = await ground.listener.after_a_period(SUN)
    others = [await ground.listener.next(SUN) for _ in range(FLOOD_MESSAGES - 1)]

    assert others[-1]["sequence"] == first["sequence"] + FLOOD_MESSAGES - 1
    assert {message["timestamp"] for message in others} == {first["timestamp"]}


async def test_a_flood_leaves_the_other_devices_in_peace(ground: Ground) -> None:
    await ground.order(DeviceFault.FLOOD)

    ground.clock.advance(PERIOD_S)

    assert (await ground.listener.next(METER))["timestamp"] == "2026-06-25T14:00:05Z"


async def test_without_a_broker_the_twin_is_well_and_its_devices_come_when_there_is_one(
    stopped_broker: Mosquitto,
) -> None:
    clock = SteppedClock(MORNING)
    app = create_app(_twin(stopped_broker, f"mqtts://localhost:{stopped_broker.tls_port}"), clock)
    async with _running(app) as http:
        health = await http.get("/health")
        sun = (await http.get("/solar-status")).json()
        stopped_broker.start()
        async with stopped_broker.client("operator") as client:
            await client.subscribe("site/#", qos=1)
            # Its first message may have come before the subscription.
            told = await Listener(client, clock).after_a_period(SUN)

    assert health.status_code == 200
    assert told["generation_kw"] == pytest.approx(sun["generation_kw"], abs=0.5)


async def test_devices_come_back_to_a_broker_that_was_away(broker: Mosquitto) -> None:
    clock = SteppedClock(MORNING)
    async with _running(create_app(_twin(broker, f"mqtts://localhost:{broker.tls_port}"), clock)):
        async with broker.client("operator") as client:
            await client.subscribe("site/#", qos=1)
            before = await Listener(client, clock).after_a_period(SUN)
        broker.stop()
        clock.advance(PERIOD_S)
        broker.start()
        async with broker.client("operator") as client:
            await client.subscribe("site/#", qos=1)
            after = await Listener(client, clock).after_a_period(SUN)

    assert after["sequence"] > before["sequence"]


@pytest.mark.parametrize(
    ("role", "twin", "service", "field"),
    [
        ("solar", {}, {}, "generation_kw"),
        ("solar", {"inverter_shape": "sunspec"}, {"SOLAR_MQTT_SHAPE": "sunspec"}, "generation_kw"),
        ("battery", {}, {}, "soc_percent"),
        ("grid", {}, {}, "load_kw"),
        ("grid", {"meter_shape": "tasmota"}, {"GRID_MQTT_SHAPE": "tasmota"}, "load_kw"),
        ("grid", {"meter_shape": "shelly"}, {"GRID_MQTT_SHAPE": "shelly"}, "load_kw"),
    ],
    ids=["sun", "sunspec", "battery", "meter", "tasmota", "shelly"],
)
async def test_the_services_read_the_twins_devices(
    broker: Mosquitto, running: Any, role: str, twin: dict[str, str], service: dict[str, str], field: str
) -> None:
    settings = _twin(broker, f"mqtts://localhost:{broker.tls_port}", **twin)
    async with running(role, broker, **service) as reader, _running(create_app(settings, SystemClock())) as http:
        await reader.until_healthy()
        told, truth = (await reader.reading()).json(), (await http.get("/site")).json()

    assert told["source"] == "mqtt"
    # The sun moves between the two answers, and a SunSpec inverter tells tens of watts.
    assert told[field] == pytest.approx(truth[field], abs=0.1)
