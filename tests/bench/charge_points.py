"""The charger service as a central system, beside a bare `ocpp` program that only answers and sends.

Both serve the same thousand charge points of OCPP 1.6 over the same `ocpp` and `websockets`, each as a process of its
own with its own process of clients, in rounds that alternate. The service does what it always does besides: passwords,
states, sessions, limits, metrics; the bare program answers and forgets. Run it: `python tests/bench/charge_points.py`.
"""

import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path

import httpx

from local_stack.environment import find_free_ports

CONNECTIONS = 1000
TALKING = 64
# So many that no feeder's limit binds.
FEEDERS = 8
ROUNDS = 5
ROUND_S = 3.0
PASSWORD = "bench-password"
# The service's loop and the bare program's are of one kind: both run under uvicorn.
BARE = """
import asyncio, contextlib, os
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result
from ocpp.v16.datatypes import ChargingProfile, ChargingSchedule, ChargingSchedulePeriod
from websockets.asyncio.server import serve
NOW = "2026-06-21T12:00:00Z"
POINTS = {}
class Point(ChargePoint):
    @on("BootNotification")
    def on_boot(self, **_):
        return call_result.BootNotification(current_time=NOW, interval=60, status="Accepted")
    @on("Heartbeat")
    def on_heartbeat(self, **_):
        return call_result.Heartbeat(current_time=NOW)
    @on("StatusNotification")
    def on_status(self, **_):
        return call_result.StatusNotification()
    @on("Authorize")
    def on_authorize(self, **_):
        return call_result.Authorize(id_tag_info={"status": "Accepted"})
    @on("StartTransaction")
    def on_start(self, **_):
        return call_result.StartTransaction(transaction_id=1, id_tag_info={"status": "Accepted"})
    @on("StopTransaction")
    def on_stop(self, **_):
        return call_result.StopTransaction()
    @on("MeterValues")
    def on_meter(self, **_):
        return call_result.MeterValues()
async def attend(connection):
    name = connection.request.path[1:]
    POINTS[name] = Point(name, connection)
    with contextlib.suppress(Exception):
        await POINTS[name].start()
async def limit(point):
    periods = [ChargingSchedulePeriod(start_period=0, limit=10.0)]
    profile = ChargingProfile(
        charging_profile_id=3, transaction_id=1, stack_level=1, charging_profile_purpose="TxProfile",
        charging_profile_kind="Relative", valid_to="2026-06-21T12:00:45Z",
        charging_schedule=ChargingSchedule(charging_rate_unit="A", charging_schedule_period=periods),
    )
    request = call.SetChargingProfile(connector_id=1, cs_charging_profiles=profile)
    assert (await point.call(request)).status == "Accepted"
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        port = int(os.environ["CHARGERS_OCPP_PORT"])
        async with serve(attend, "127.0.0.1", port, subprotocols=["ocpp1.6"], compression=None):
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        await asyncio.gather(*map(limit, POINTS.values()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""
CLIENTS = """
import asyncio, base64, json, sys
from websockets.asyncio.client import connect
port, number, password = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
BOOT = {"chargePointVendor": "bench", "chargePointModel": "bench"}
START = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": "2026-06-21T12:00:00Z"}
CURRENTS = [{"value": "15.9", "measurand": "Current.Import", "phase": f"L{n}", "unit": "A"} for n in (1, 2, 3)]
SAMPLES = CURRENTS + [
    {"value": "10900", "measurand": "Power.Active.Import", "unit": "W"},
    {"value": "7500", "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
]
METER = {"connectorId": 1, "meterValue": [{"timestamp": "2026-06-21T12:00:00Z", "sampledValue": SAMPLES}]}
class Point:
    def __init__(self, name):
        self.name, self.count, self.waiting, self.asked = name, 0, None, 0
    async def run(self, slots):
        token = base64.b64encode(f"{self.name}:{password}".encode()).decode()
        async with slots:
            self.websocket = await connect(
                f"ws://127.0.0.1:{port}/{self.name}", subprotocols=["ocpp1.6"], compression=None, ping_interval=None,
                additional_headers={"Authorization": f"Basic {token}"},
            )
            self.reading = asyncio.create_task(self.read())
            await self.call("BootNotification", BOOT)
    async def read(self):
        async for text in self.websocket:
            message = json.loads(text)
            if message[0] == 3:
                self.waiting.set_result(message)
            elif message[0] == 2:
                self.asked += 1
                known = {"configurationKey": []} if message[2] == "GetConfiguration" else {"status": "Accepted"}
                await self.websocket.send(json.dumps([3, message[1], known]))
    async def call(self, action, payload):
        self.count += 1
        self.waiting = asyncio.get_running_loop().create_future()
        await self.websocket.send(json.dumps([2, str(self.count), action, payload]))
        answer = await self.waiting
        assert answer[1] == str(self.count), answer
        return answer[2]
    async def talk(self, until, meter):
        loop, told = asyncio.get_running_loop(), 0
        while loop.time() < until:
            await self.call("MeterValues", meter)
            told += 1
        return told
async def main():
    loop = asyncio.get_running_loop()
    points, slots = [Point(f"CP-{index}") for index in range(number)], asyncio.Semaphore(50)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        words = line.split()
        if words[0] == "connect":
            await asyncio.gather(*(point.run(slots) for point in points))
            while True:
                asked = sum(point.asked for point in points)
                await asyncio.sleep(1)
                if asked == sum(point.asked for point in points):
                    break
            print("ok", flush=True)
        elif words[0] == "start":
            await asyncio.gather(*(point.call("StartTransaction", START) for point in points))
            print("ok", flush=True)
        elif words[0] == "talk":
            began, until = loop.time(), loop.time() + float(words[2])
            told = await asyncio.gather(*(point.talk(until, METER) for point in points[: int(words[1])]))
            print(sum(told) / (loop.time() - began), flush=True)
asyncio.run(main())
"""


@dataclass(frozen=True)
class Program:
    """A central system and the clients that are connected to it."""

    server: subprocess.Popen[bytes]
    clients: subprocess.Popen[bytes]
    url: str

    def say(self, *words: object) -> str:
        """Have the clients do something; what they say of it."""
        assert self.clients.stdin is not None
        assert self.clients.stdout is not None
        self.clients.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.clients.stdin.flush()
        said = self.clients.stdout.readline().decode().strip()
        if not said:
            raise RuntimeError("the clients ended")
        return said

    def memory_kb(self) -> float:
        """Resident memory of the central system [kB]."""
        told = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.server.pid)], capture_output=True, text=True, check=True
        )
        return float(told.stdout)


def measure(
    connections: int = CONNECTIONS, talking: int = TALKING, rounds: int = ROUNDS, round_s: float = ROUND_S
) -> dict[str, float]:
    """Meter values a second and memory per idle charge point, of the service and of the bare program.

    Args:
        connections: charge points that are connected.
        talking: how many of them send meter values, one at a time each.
        rounds: how often, alternating; the median counts.
        round_s: length of a round [s].

    Returns:
        Each `service_` and `bare_`: `meter_values_per_s` [1/s], `idle_kb` [kB] and `limits_s`, the time in which all
        have acknowledged a limit [s]; and the ratios.
    """
    # A connection is an open file, and many systems begin with 256 or 1,024.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (min(most, connections + 1000) if most > 0 else connections + 1000, most)
    )
    with ExitStack() as running, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = {
            "service": running.enter_context(_service(folder, connections)),
            "bare": running.enter_context(_bare(folder, connections)),
        }
        idle_kb: dict[str, float] = {}
        for which, program in programs.items():
            before_kb = program.memory_kb()
            program.say("connect")
            idle_kb[which] = (program.memory_kb() - before_kb) / connections
        rates: dict[str, list[float]] = {which: [] for which in programs}
        for _ in range(rounds):
            for which, program in programs.items():
                rates[which].append(float(program.say("talk", talking, round_s)))
        limits_s = _limits_s(programs, connections, rounds)
        per_s = {which: statistics.median(found) for which, found in rates.items()}
        return {
            "service_meter_values_per_s": per_s["service"],
            "bare_meter_values_per_s": per_s["bare"],
            "meter_values_ratio": per_s["service"] / per_s["bare"],
            "service_idle_kb": idle_kb["service"],
            "bare_idle_kb": idle_kb["bare"],
            "idle_memory_ratio": idle_kb["service"] / idle_kb["bare"],
            "service_limits_s": limits_s["service"],
            "bare_limits_s": limits_s["bare"],
            "limits_ratio": limits_s["service"] / limits_s["bare"],
        }


def _limits_s(programs: Mapping[str, Program], connections: int, rounds: int) -> dict[str, float]:
    """How long it takes until every charge point has acknowledged a limit on its transaction [s], the median."""
    for program in programs.values():
        program.say("start")
    found: dict[str, list[float]] = {which: [] for which in programs}
    with httpx.Client(timeout=60) as client:
        for number in range(rounds):
            limits = _limits(connections, 10.0 + number)
            began = time.perf_counter()
            answer = client.put(f"{programs['service'].url}/limits?commander=bench", json=limits)
            found["service"].append(time.perf_counter() - began)
            outcomes = {result["outcome"] for result in answer.raise_for_status().json()["results"]}
            if outcomes != {"applied"}:
                raise RuntimeError(f"not every limit was applied: {outcomes}")
            began = time.perf_counter()
            client.get(programs["bare"].url).raise_for_status()
            found["bare"].append(time.perf_counter() - began)
    return {which: statistics.median(seconds) for which, seconds in found.items()}


def _limits(connections: int, limit_a: float) -> list[dict[str, object]]:
    until = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    named = (f"CP-{index}" for index in range(connections))
    return [{"charger_id": name, "evse_id": 1, "limit_a": limit_a, "valid_until": until} for name in named]


@contextmanager
def _service(folder: Path, connections: int) -> Generator[Program]:
    evse = {"evse_id": 1, "phases": [1, 2, 3], "max_current_a": 32}
    digest = sha256(PASSWORD.encode()).hexdigest()
    installed = {
        "feeders": [{"feeder_id": f"feeder-{number}", "limit_a": 10_000} for number in range(FEEDERS)],
        "chargers": [
            {
                "charger_id": f"CP-{index}",
                "feeder_id": f"feeder-{index % FEEDERS}",
                "password_sha256": digest,
                "evses": [evse],
            }
            for index in range(connections)
        ],
    }
    file = folder / "chargers.json"
    file.write_text(json.dumps(installed), encoding="utf-8")
    settings = {
        "CHARGERS_FILE": str(file),
        "CHARGERS_STATE_DIR": str(folder / "state"),
        "SITE_LIMIT_KW": "100000",
        "LOG_LEVEL": "WARNING",
    }
    with _program(folder, ["charger_service.app:create_app", "--factory"], settings, connections) as program:
        yield program


@contextmanager
def _bare(folder: Path, connections: int) -> Generator[Program]:
    (folder / "bare.py").write_text(BARE, encoding="utf-8")
    with _program(folder, ["bare:app", "--app-dir", str(folder)], {}, connections) as program:
        yield program


@contextmanager
def _program(folder: Path, application: list[str], settings: dict[str, str], connections: int) -> Generator[Program]:
    port, ocpp_port = islice(find_free_ports(), 2)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG")}
    environment = kept | settings | {"CHARGERS_OCPP_PORT": str(ocpp_port)}
    serve = [sys.executable, "-m", "uvicorn", *application, "--port", str(port), "--log-level", "warning"]
    clients_file = folder / "clients.py"
    clients_file.write_text(CLIENTS, encoding="utf-8")
    pipe = subprocess.PIPE
    with subprocess.Popen([*serve, "--no-access-log"], env=environment, cwd=folder) as server:
        try:
            _await_port(ocpp_port, server)
            arguments = [str(ocpp_port), str(connections), PASSWORD]
            clients = subprocess.Popen([sys.executable, clients_file, *arguments], stdin=pipe, stdout=pipe, env=kept)
            with clients:
                try:
                    yield Program(server, clients, f"http://127.0.0.1:{port}")
                finally:
                    clients.terminate()
        finally:
            server.terminate()


def _await_port(port: int, server: subprocess.Popen[bytes], within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("a central system did not start")


if __name__ == "__main__":
    for figure, value in measure().items():
        print(f"{figure:34} {value:12,.3f}")
