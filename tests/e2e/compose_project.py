"""A Compose project for tests, with ports and passwords of its own, and a hand on its containers."""

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from local_stack.environment import HOST, Ports, find_free_ports, free_ports, make_passwords

ROOT = Path(__file__).resolve().parents[2]
UP_S = 120.0

JsonObject = dict[str, Any]


def settings_of(ports: Ports, base_image: str) -> dict[str, str]:
    """The .env of one project with the local gateway and simulated devices."""
    passwords = make_passwords()
    return {
        "COMPOSE_PROFILES": "local,simulation",
        "PYTHON_IMAGE": base_image,
        "WSO2_ADMIN_PASSWORD": passwords.admin,
        "EVAPP_PASSWORD": passwords.evapp,
        "ASSISTANT_PASSWORD": passwords.assistant,
        "OPERATOR_PASSWORD": passwords.operator,
        "WSO2_KEYSTORE_PASSWORD": secrets.token_hex(12),
        "WSO2_TRUSTSTORE_PASSWORD": secrets.token_hex(12),
        "AGENT_PORT": str(ports.agent),
        "GATEWAY_HTTPS_PORT": str(ports.gateway_https),
        "GATEWAY_HTTP_PORT": str(ports.gateway_http),
        "GATEWAY_MANAGEMENT_PORT": str(ports.management),
        "OCPP_TLS_PORT": str(ports.ocpp),
        "MQTT_TLS_PORT": str(next(find_free_ports())),
    }


@dataclass(frozen=True)
class Project:
    """One project; what it was given stands in a file `env` in its folder.

    files: Compose files besides the one that is shipped.
    """

    name: str
    folder: Path
    settings: Mapping[str, str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    files: tuple[Path, ...] = ()

    @property
    def agent_url(self) -> str:
        return f"http://{HOST}:{self.settings['AGENT_PORT']}"

    def command(self, *arguments: str) -> list[str]:
        files = [part for file in (ROOT / "compose.yaml", *self.files) for part in ("-f", str(file))]
        return ["docker", "compose", "-p", self.name, "--env-file", str(self.folder / "env"), *files, *arguments]

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.command(*arguments), self.environment)

    def up(self) -> None:
        done = self.compose("up", "-d", "--wait", "--wait-timeout", f"{UP_S:g}")
        assert done.returncode == 0, done.stderr[-3000:] + self.compose("logs", "--tail", "15").stdout

    def down(self, *arguments: str) -> None:
        done = self.compose("down", "--timeout", "15", "--remove-orphans", *arguments)
        assert done.returncode == 0, done.stderr

    def container(self, service: str) -> str:
        """Name of the service's container, running or not; empty where there is none."""
        return self.compose("ps", "--all", "--format", "{{.Name}}", service).stdout.strip()

    def inspect(self, service: str) -> JsonObject:
        return json.loads(docker("inspect", self.container(service)))[0]

    def python(self, service: str, program: str, *arguments: str) -> JsonObject:
        """Run a program inside the service's container; it prints JSON."""
        return json.loads(docker("exec", self.container(service), "python", "-c", program, *arguments))

    def volumes(self) -> set[str]:
        label = f"label=com.docker.compose.project={self.name}"
        return set(docker("volume", "ls", "--quiet", "--filter", label).split())

    def decide(self) -> JsonObject:
        answer = httpx.get(f"{self.agent_url}/optimize-charging", timeout=8, trust_env=False)
        assert answer.status_code == 200
        return answer.json()


def new_project(
    folder: Path, docker_environment: Mapping[str, str], settings: Mapping[str, str], *files: Path
) -> Project:
    """A project that nobody else has, with free ports; nothing is started.

    Args:
        folder: what it was given is kept there.
        docker_environment: what docker is run with.
        settings: besides those that every project has.
        files: Compose files besides the one that is shipped.
    """
    given = settings_of(free_ports(), docker_environment["PYTHON_IMAGE"]) | dict(settings)
    (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in given.items()), encoding="utf-8")
    (folder / "env").chmod(0o600)
    return Project(f"ev-test-{secrets.token_hex(4)}", folder, given, docker_environment, files)


def run(command: list[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=2 * UP_S, check=False
    )


def docker(*arguments: str) -> str:
    done = run(["docker", *arguments])
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment_of(container: JsonObject) -> dict[str, str]:
    parts = [line.partition("=") for line in container["Config"]["Env"]]
    return {name: value for name, _, value in parts}


REACHED = """
import concurrent.futures, json, socket, sys
def reach(host, port):
    try:
        socket.create_connection((host, port), 2).close()
    except socket.gaierror:
        return "unknown name"
    except OSError:
        return "no way"
    return "open"
wanted = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    found = pool.map(lambda place: reach(*place), wanted)
print(json.dumps({f"{host}:{port}": how for (host, port), how in zip(wanted, found)}))
"""
"""Program for inside: how each of a list of host and port is reached from there."""


def eventually(look: Callable[[], Any], timeout_s: float) -> Any:
    """What is seen as soon as something is."""
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)
    return seen
