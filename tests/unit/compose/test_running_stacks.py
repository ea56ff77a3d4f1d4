"""`make kill`, `make revive` and `make operate` act on whatever runs here, and install nothing on the way."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ev_service.certificates import Server, make_servers
from ev_service.key_files import pem, write_pair

if TYPE_CHECKING:
    from tests.unit.compose.conftest import Workplace

IN_VENV = """#!/bin/sh
echo "$@" >> "{calls}"
exit {code}
"""
GATEWAY_RUNS = "solar\ngateway\nagent\n"


class Machine:
    """A checkout on which a run, a stack in Docker, both or none are up."""

    def __init__(self, workplace: "Workplace") -> None:
        self.workplace = workplace
        self.root = workplace.root

    def has_a_venv(self, code: int = 0) -> None:
        python = self.root / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(IN_VENV.format(calls=self.root / "venv-calls", code=code))
        python.chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (self.workplace.bin / "answers.json").write_text(json.dumps(self.workplace.answers), encoding="utf-8")
        return subprocess.run(
            [sys.executable, self.root / "scripts" / "docker_stack", *arguments],
            env=self.workplace.environment | environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def acted_on_the_run(self) -> list[str]:
        calls = self.root / "venv-calls"
        return calls.read_text().splitlines() if calls.exists() else []

    @property
    def acted_in_docker(self) -> list[str]:
        return [call for call in self.workplace.calls if call.startswith("compose run")]


@pytest.fixture
def machine(workplace: "Workplace") -> Machine:
    return Machine(workplace)


class Answering(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Silent(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever only looks, leaves without a word."""


@contextmanager
def a_gateway(state: Path, *, known_by_the_state: bool = True) -> Generator[None]:
    """A gateway with the certificate of its own authority, written down as that of the run in `state` or not."""
    state.mkdir(exist_ok=True)
    authority, (server,) = make_servers("test", [Server("localhost", ("localhost",))], datetime.now(UTC))
    other, _ = make_servers("other", [Server("localhost", ("localhost",))], datetime.now(UTC))
    (state / "ca.pem").write_bytes(pem(authority if known_by_the_state else other))
    write_pair(state, "server", server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(state / "server.pem", state / "server-key.pem")
    listener = Silent(("127.0.0.1", 0), Answering)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    addresses = {
        "WSO2_MANAGEMENT_URL": f"https://localhost:{listener.server_address[1]}",
        "WSO2_CA_FILE": str(state / "ca.pem"),
    }
    (state / "addresses.json").write_text(json.dumps(addresses))
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def test_a_run_is_found_and_acted_on(machine: Machine) -> None:
    machine.has_a_venv()
    with a_gateway(machine.root / ".state"):
        done = machine.make("kill", "--device", "a")

    assert done.returncode == 0, done.stderr
    assert machine.acted_on_the_run == [f"{machine.root}/scripts/kill.py --device a"]
    assert machine.acted_in_docker == []


def test_a_stack_in_docker_is_found_and_acted_on_without_a_venv(machine: Machine) -> None:
    machine.workplace.says("ps --filter", GATEWAY_RUNS)
    machine.workplace.says("compose run")

    done = machine.make("kill", REASON="sensor fault")

    assert done.returncode == 0, done.stderr
    (call,) = machine.acted_in_docker
    assert call.endswith("bootstrap -m wso2_provisioning.switch kill")
    assert not (machine.root / ".venv").exists()


@pytest.mark.parametrize("command", ["kill", "revive", "operate"])
def test_where_both_run_both_are_acted_on_and_each_is_named(machine: Machine, command: str) -> None:
    machine.has_a_venv()
    machine.workplace.says("ps --filter", GATEWAY_RUNS)
    machine.workplace.says("compose run")
    with a_gateway(machine.root / ".state"):
        done = machine.make(command)

    assert done.returncode == 0, done.stderr
    assert (len(machine.acted_on_the_run), len(machine.acted_in_docker)) == (1, 1)
    assert "make run" in done.stderr
    assert "make up" in done.stderr


def test_one_of_two_that_fails_is_the_exit_code_and_keeps_the_other_from_nothing(machine: Machine) -> None:
    machine.has_a_venv(code=1)
    machine.workplace.says("ps --filter", GATEWAY_RUNS)
    machine.workplace.says("compose run")
    with a_gateway(machine.root / ".state"):
        done = machine.make("kill")

    assert done.returncode == 1
    assert (len(machine.acted_on_the_run), len(machine.acted_in_docker)) == (1, 1)


@pytest.mark.parametrize(("stack", "acted"), [("run", (1, 0)), ("compose", (0, 1))])
def test_one_of_two_can_be_named(machine: Machine, stack: str, acted: tuple[int, int]) -> None:
    machine.has_a_venv()
    machine.workplace.says("ps --filter", GATEWAY_RUNS)
    machine.workplace.says("compose run")
    with a_gateway(machine.root / ".state"):
        machine.make("kill", STACK=stack)

    assert (len(machine.acted_on_the_run), len(machine.acted_in_docker)) == acted


def test_another_gateway_on_the_port_of_an_old_run_is_not_taken_for_that_run(machine: Machine) -> None:
    machine.has_a_venv()
    machine.workplace.says("ps --filter", GATEWAY_RUNS)
    machine.workplace.says("compose run")
    with a_gateway(machine.root / ".state", known_by_the_state=False):
        machine.make("kill")

    assert (machine.acted_on_the_run, len(machine.acted_in_docker)) == ([], 1)


@pytest.mark.parametrize(
    ("services", "code"), [("", 0), ("broker\nagent\n", 0), ("Cannot connect to the Docker daemon", 1)]
)
def test_where_nothing_runs_it_says_what_could_be_meant(machine: Machine, services: str, code: int) -> None:
    machine.workplace.says("ps --filter", services, code=code)

    done = machine.make("kill")

    assert done.returncode == 1
    assert "no stack runs on this machine" in done.stderr
    assert machine.acted_in_docker == []


def test_variables_name_the_stack_before_anything_is_looked_for(machine: Machine) -> None:
    machine.has_a_venv()
    machine.workplace.says("ps --filter", GATEWAY_RUNS)

    machine.make("kill", WSO2_ADMIN_PASSWORD="one-of-mine")

    assert (len(machine.acted_on_the_run), machine.acted_in_docker) == (1, [])


def test_an_unknown_stack_is_refused(machine: Machine) -> None:
    done = machine.make("revive", STACK="Compose")

    assert done.returncode == 1
    assert "take STACK=run or STACK=compose" in done.stderr


def test_help_needs_no_stack(machine: Machine) -> None:
    machine.has_a_venv()

    assert machine.make("operate", "--help").returncode == 0
    assert machine.acted_on_the_run == [f"{machine.root}/scripts/operate.py --help"]
