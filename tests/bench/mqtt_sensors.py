"""What reading a device over MQTT costs: how soon a message is seen, and how many a second are judged.

Beside it a bare aiomqtt subscriber that reads each message as JSON, at the same broker in the same run, in rounds that
alternate; messages come from mosquitto_pub. Needs Mosquitto and its clients.
Run it: `python tests/bench/mqtt_sensors.py`.
"""

import asyncio
import getpass
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
import httpx
from prometheus_client import CollectorRegistry

from ev_sensors.broker import Broker
from ev_sensors.mqtt import Member, MqttSource, ReconnectTiming, TopicIdentity
from ev_sensors.settings import MqttSettings
from ev_sensors.shapes.native import own_shape
from ev_service.clock import SystemClock
from local_stack.environment import find_free_ports
from solar_service.sources import solar_device

_ROUNDS, _MESSAGES = 3, 8000
_SEEN, _WARM_UP = 200, 20
_BASE = "site/greensboro/solar/pv-1"
_TOPIC = f"{_BASE}/telemetry"
_SERVICE = Path(__file__).resolve().parents[2] / "services" / "solar"


def measure() -> dict[str, float]:
    """From publishing to seeing [ms], messages a second, and the ratios."""
    with _mosquitto() as port:
        return _measure_latency(port) | asyncio.run(_rates(port))


def _measure_latency(port: int) -> dict[str, float]:
    """From just before publishing until `GET /solar-status` of a service in a process of its own shows the value."""
    with _service(port) as url:
        seen_ms = sorted(asyncio.run(_publish_and_look(port, f"{url}/solar-status")))
    return {"seen_p50_ms": round(statistics.median(seen_ms), 2), "seen_p95_ms": round(seen_ms[-len(seen_ms) // 20], 2)}


async def _publish_and_look(port: int, url: str) -> list[float]:
    seen_ms: list[float] = []
    chance = random.Random(7)
    async with (
        aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as device,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        for number in range(_WARM_UP + _SEEN):
            # No device sends in step with whoever reads it.
            await asyncio.sleep(chance.uniform(0.0, 0.05))
            generation_kw = 20.0 + number / 1000
            started = time.perf_counter()
            await device.publish(_TOPIC, _message(number, generation_kw, datetime.now(UTC)), qos=1)
            while (await http.get(url)).json().get("generation_kw") != generation_kw:
                pass
            seen_ms.append((time.perf_counter() - started) * 1000)
    return seen_ms[_WARM_UP:]


async def _rates(port: int) -> dict[str, float]:
    rounds: dict[str, list[float]] = {"bare": [], "judged": [], "flooded": []}
    for _ in range(_ROUNDS):
        rounds["bare"].append(await _rate(port, _bare))
        rounds["judged"].append(await _rate(port, lambda at: _ours(at, ReconnectTiming(rest_s=0.0))))
        rounds["flooded"].append(await _rate(port, lambda at: _ours(at, ReconnectTiming())))
    bare, judged, flooded = (statistics.median(rates) for rates in rounds.values())
    return {
        "bare_per_s": round(bare),
        "judged_per_s": round(judged),
        "ratio": round(judged / bare, 3),
        "flooded_per_s": round(flooded),
        "flooded_ratio": round(flooded / bare, 3),
    }


async def _rate(port: int, reader: Callable[[int], AbstractAsyncContextManager[Callable[[], float]]]) -> float:
    """Messages a second of one reader, from the first that it counts to the last."""
    async with reader(port) as count:
        publishing = await asyncio.create_subprocess_exec(
            *("mosquitto_pub", "-p", str(port), "-V", "mqttv5", "-q", "1", "-t", _TOPIC, "-l"),
            stdin=asyncio.subprocess.PIPE,
        )
        start = datetime.now(UTC) - timedelta(seconds=20)
        lines = [_message(number, 40.0, start + timedelta(milliseconds=number)) for number in range(_MESSAGES)]
        sending = asyncio.create_task(publishing.communicate("\n".join(lines).encode()))
        while (first := count()) == 0:
            await asyncio.sleep(0.002)
        started = time.perf_counter()
        while count() < _MESSAGES:
            await asyncio.sleep(0.002)
        took_s = time.perf_counter() - started
        await sending
    return (_MESSAGES - first) / took_s


@asynccontextmanager
async def _bare(port: int) -> AsyncGenerator[Callable[[], float]]:
    count = 0

    async def read(client: aiomqtt.Client) -> None:
        nonlocal count
        async for message in client.messages:
            json.loads(bytes(message.payload))
            count += 1

    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(_TOPIC, qos=1)
        reading = asyncio.create_task(read(client))
        yield lambda: count
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


@asynccontextmanager
async def _ours(port: int, pace: ReconnectTiming) -> AsyncGenerator[Callable[[], float]]:
    broker = Broker.of(MqttSettings(url=f"mqtt://127.0.0.1:{port}"))
    device, place = solar_device("greensboro", 100.0), TopicIdentity("greensboro", "solar")
    member = Member("pv-1", device, own_shape("solar", _BASE), 30.0)
    source = MqttSource(broker, device, [member], place, SystemClock(), pace)
    registry = CollectorRegistry()
    for metric in source.metrics():
        registry.register(metric)

    def count() -> float:
        outcomes = ("accepted", "shed")
        return sum(registry.get_sample_value("mqtt_messages_total", {"outcome": word}) or 0 for word in outcomes)

    async with source.running():
        while registry.get_sample_value("mqtt_connected") != 1:
            await asyncio.sleep(0.002)
        yield count


def _message(number: int, generation_kw: float, moment: datetime) -> str:
    return json.dumps({"timestamp": moment.isoformat(), "sequence": number, "generation_kw": generation_kw})


@contextmanager
def _mosquitto() -> Generator[int]:
    """A broker without users and without limits, so that it is in nobody's way."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    assert found is not None, "there is no Mosquitto on the PATH"
    port = next(find_free_ports())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mosquitto.conf"
        lines = (
            f"listener {port} 127.0.0.1",
            "allow_anonymous true",
            "max_queued_messages 0",
            f"user {getpass.getuser()}",
        )
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with _running([found, "-c", str(file)], port):
            yield port


@contextmanager
def _service(broker_port: int) -> Generator[str]:
    port = next(find_free_ports())
    given = {"SOLAR_SOURCE": "mqtt", "MQTT_URL": f"mqtt://127.0.0.1:{broker_port}", "LOG_LEVEL": "WARNING"}
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "main:app",
        "--port",
        str(port),
        "--log-level",
        "warning",
        "--no-access-log",
    ]
    with _running(command, port, _SERVICE, dict(os.environ) | given):
        url = f"http://127.0.0.1:{port}"
        while "mqtt_connected 1.0" not in httpx.get(f"{url}/metrics", trust_env=False).text:
            time.sleep(0.02)
        yield url


@contextmanager
def _running(
    command: list[str], port: int, folder: Path | None = None, environment: dict[str, str] | None = None
) -> Generator[None]:
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        last = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < last, f"{command[0]} does not listen"
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
