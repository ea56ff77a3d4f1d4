"""The charger service as a process with few file descriptors, and clients that hold connections open."""

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from ev_service.connections import UVICORN_OPTIONS
from local_stack.environment import free_ports

ROOT = Path(__file__).resolve().parents[3]
FLEET = """{"feeders": [{"feeder_id": "main", "limit_a": 100}], "chargers": [{"charger_id": "CP-1", "feeder_id": "main",
"password_sha256": "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4",
"evses": [{"evse_id": 1, "phases": [1, 2, 3], "max_current_a": 32}]}]}"""
DESCRIPTORS = 256
READY_S = 120.0
STOP = {"kind": "stop", "minutes": 1, "reason": "a flood"}

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows bounds no descriptors"),
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[int, int]]:
    """REST and OCPP ports of a charger service that may open 256 descriptors."""
    rest, ocpp = (ports := free_ports()).chargers, ports.ocpp
    folder = tmp_path_factory.mktemp("charger-service")
    (folder / "chargers.json").write_text(FLEET)
    command = [sys.executable, "-m", "uvicorn", "main:app", "--port", str(rest), "--log-level", "warning"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "CHARGERS_FILE": str(folder / "chargers.json"),
        "CHARGERS_OCPP_PORT": str(ocpp),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$@"', "sh", *command, *UVICORN_OPTIONS],
            cwd=ROOT / "services" / "chargers",
            env=environment,
            stderr=log,
        )
    try:
        deadline_s = time.monotonic() + READY_S
        while not is_up(rest):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        yield rest, ocpp
    finally:
        process.terminate()
        process.wait(20)


def is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def hold(held: ExitStack, port: int, sent: bytes, times: int) -> None:
    for _ in range(times):
        client = held.enter_context(closing(socket.create_connection(("127.0.0.1", port), 5)))
        client.settimeout(5)
        client.sendall(sent)


def stop(port: int) -> int:
    return httpx.put(f"http://127.0.0.1:{port}/override", json=STOP, timeout=10, trust_env=False).status_code


@pytest.mark.parametrize("times", [300, 600])
def test_half_handshakes_of_chargers_do_not_keep_the_stop_from_getting_through(
    ports: tuple[int, int], times: int
) -> None:
    with ExitStack() as held:
        hold(held, ports[1], b"GET /CP-1 HTTP/1.1\r\nHost: x\r\n", times)

        assert [stop(ports[0]) for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"PUT /override HTTP/1.1\r\nHost: localhost\r\n",
        b"PUT /override HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40,
    ],
    ids=["silent", "half a head", "half a body", "idle", "unread answers"],
)
def test_clients_of_rest_do_not_keep_the_stop_from_getting_through(ports: tuple[int, int], sent: bytes) -> None:
    with ExitStack() as held:
        hold(held, ports[0], sent, 150)
        hold(held, ports[1], b"", 150)

        assert [stop(ports[0]) for _ in range(3)] == [200, 200, 200]
