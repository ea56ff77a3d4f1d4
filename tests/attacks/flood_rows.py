"""Clients that hold connections open, tried on a charger service of this checkout that may open 256 descriptors.

No charger of the stack is touched. Neither charger nor gateway is needed for what is looked at: whether the operator's
stop is still answered.
"""

import json
import os
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
from tests.attacks.attack_run import AttackRun
from tests.attacks.formatting import summarize, table
from tests.attacks.rows import Group, Observation, Row, RowSkippedError
from tests.attacks.transport_rows import find_error

from ev_service.connections import UVICORN_OPTIONS
from local_stack.environment import HOST, Ports, free_ports, select_system_variables
from local_stack.processes import Processes
from local_stack.stack import ROOT

PROGRAM = "import sys; from uvicorn.main import main; sys.exit(main())"
"""Starts the service."""
UNBOUNDED = f"""
from ev_service import connections
connections.descriptor_limit = lambda: 1 << 20
connections.ConnectionBounds.make_room = lambda self: False
{PROGRAM}
"""
"""Starts it with nothing but its settings to bound connections, also where no descriptor is left."""

_DESCRIPTORS, _STRANGERS, _STOPS = 256, 300, 3
_READY_S, _TIMEOUT_S = 120.0, 5.0
_HALF_HANDSHAKE = b"GET /CP-1 HTTP/1.1\r\nHost: x\r\n"
_HALF_BODY = (
    b"PUT /override HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
)
_STOP = {"kind": "stop", "minutes": 1, "reason": "tried"}
# More than there are descriptors: what remains is what the service keeps back by itself.
_SETTINGS = {
    "CHARGERS_OCPP_HANDSHAKES": "1000",
    "CHARGERS_OCPP_HANDSHAKES_PER_ADDRESS": "1000",
    "LISTENER_MAX_CONNECTIONS": "1000",
    "LISTENER_MAX_CONNECTIONS_PER_ADDRESS": "1000",
}


def rows() -> tuple[Row, ...]:
    """Every row, in order."""
    return table(
        Group.CHARGERS,
        (
            "half-handshakes",
            "operator's stop during 300 half OCPP handshakes, 256 descriptors",
            "200 each",
            _half_handshakes,
        ),
        (
            "slow-clients",
            "the same during 300 unfinished requests",
            "200 each",
            _slow_clients,
        ),
    )


def _half_handshakes(_: AttackRun) -> Observation:
    return _flood("ocpp", _HALF_HANDSHAKE)


def _slow_clients(_: AttackRun) -> Observation:
    return _flood("chargers", _HALF_BODY)


def _flood(port: str, sent: bytes) -> Observation:
    if os.name == "nt":
        raise RowSkippedError("Windows bounds no descriptors")
    ports = free_ports()
    with tempfile.TemporaryDirectory(prefix="ev-prove-flood-") as name, ExitStack() as stack:
        folder = Path(name)
        processes = stack.enter_context(Processes(folder, select_system_variables(os.environ)))
        _start(processes, ports, folder)
        for _ in range(_STRANGERS):
            stranger = socket.create_connection((HOST, getattr(ports, port)), _TIMEOUT_S)
            stack.enter_context(closing(stranger)).sendall(sent)
        answers = [_stop(ports) for _ in range(_STOPS)]
    return Observation(summarize(answers), f"{_STRANGERS} connections")


def _start(processes: Processes, ports: Ports, folder: Path) -> None:
    evse = {"evse_id": 1, "phases": [1, 2, 3], "max_current_a": 32}
    charger = {"charger_id": "CP-1", "feeder_id": "main", "password_sha256": "00" * 32, "evses": [evse]}
    installed = {"feeders": [{"feeder_id": "main", "limit_a": 100}], "chargers": [charger]}
    (folder / "chargers.json").write_text(json.dumps(installed), encoding="utf-8")
    settings: Mapping[str, str] = _SETTINGS | {
        "CHARGERS_FILE": str(folder / "chargers.json"),
        "CHARGERS_OCPP_PORT": str(ports.ocpp),
    }
    options = ["main:app", "--host", HOST, "--port", str(ports.chargers), *UVICORN_OPTIONS]
    limited = ["sh", "-c", f'ulimit -n {_DESCRIPTORS} && exec "$@"', "sh", sys.executable, "-c", PROGRAM, *options]
    processes.start("chargers", limited, settings, ROOT / "services" / "chargers")
    url = f"http://{HOST}:{ports.chargers}/livez"
    processes.wait_until_ready("the charger service", lambda: find_error(url), _READY_S)


def _stop(ports: Ports) -> str:
    try:
        url = f"http://{HOST}:{ports.chargers}/override"
        return str(httpx.put(url, json=_STOP, timeout=_TIMEOUT_S, trust_env=False).status_code)
    except httpx.TransportError:
        return "no answer"
