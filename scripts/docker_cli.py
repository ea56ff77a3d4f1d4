"""Docker and Compose as far as `make up` needs them: are they there, and what do they say.

Standard library only, for any Python from 3.8 on. Every failure is a `Trouble` with one sentence that says what to do.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OLDEST_COMPOSE = (2, 20, 2)
"""The first that lets a service depend on one whose profile is off."""
NEEDED_BYTES = 4 << 30
# What Docker reports of 4 GiB once the kernel of its virtual machine has taken its part.
_REPORTED = 0.9


class Trouble(Exception):
    """Why the stack does not come up, in one sentence."""


@dataclass(frozen=True)
class State:
    """How one container is.

    said: `done`, `failed`, `healthy`, `unhealthy`, `starting`, `running`, or whatever else Docker calls it.
    """

    service: str
    said: str
    ports: tuple[int, ...]


class Docker:
    """The command line of Docker, for one project."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)

    def check(self) -> None:
        """Make sure that Docker, its daemon and a Compose that is new enough are there.

        Raises:
            Trouble: one is not.
        """
        if shutil.which("docker", path=self._environment.get("PATH")) is None:
            raise Trouble("Docker is not installed: install Docker Desktop or Docker Engine; `make run` needs none.")
        info = self.run(["info", "--format", "{{.MemTotal}}"])
        if info.returncode != 0 or not info.stdout.strip().isdigit() or int(info.stdout) == 0:
            raise Trouble(_daemon_trouble(info.stderr + info.stdout))
        version = self.run(["compose", "version", "--short"])
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", version.stdout)
        wanted = ".".join(map(str, OLDEST_COMPOSE))
        if version.returncode != 0 or found is None:
            raise Trouble(
                f"Docker has no Compose: install the plugin docker-compose-plugin, version {wanted} or newer."
            )
        if tuple(map(int, found.groups())) < OLDEST_COMPOSE:
            raise Trouble(f"Docker Compose {found[0]} is too old: version {wanted} or newer is needed.")

    def check_memory(self) -> None:
        """Make sure that Docker has the memory that WSO2 needs.

        Raises:
            Trouble: it has less.
        """
        has_bytes = int(self.run(["info", "--format", "{{.MemTotal}}"]).stdout)
        if has_bytes < NEEDED_BYTES * _REPORTED:
            raise Trouble(
                f"Docker has {has_bytes / (1 << 30):.1f} GiB of memory and WSO2 needs 4 GiB: give it more "
                "(Docker Desktop: Settings, Resources), or take the local gateway: make up GATEWAY=local"
            )

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run `docker …` and return what it said."""
        return subprocess.run(
            ["docker", *arguments],
            cwd=str(self._folder),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    def attach(self, arguments: Sequence[str]) -> int:
        """Run `docker …` on the caller's terminal."""
        return subprocess.call(["docker", *arguments], cwd=str(self._folder), env=self._environment)

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `docker compose …` and return what it said."""
        return self.run(["compose", *arguments])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `docker compose …`; what it says is read from `stdout`, errors too."""
        return subprocess.Popen(
            ["docker", "compose", *arguments],
            cwd=str(self._folder),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )

    def show(self, *arguments: str) -> int:
        """Run `docker compose …` on the caller's terminal."""
        return self.attach(["compose", *arguments])

    def states(self) -> dict[str, State]:
        """How each container of the project is, by service."""
        listed = self.compose("--profile", "*", "ps", "--all", "--format", "json").stdout
        return {state.service: state for state in map(_state, _objects(listed))}

    def last_words(self, service: str) -> str:
        """The last line in the log of a service."""
        lines = (
            self.compose("logs", "--no-log-prefix", "--no-color", "--tail", "5", service).stdout.strip().splitlines()
        )
        return lines[-1].strip() if lines else "it said nothing"


def is_taken(address: str, port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        # Otherwise a port that was just left counts as taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return True
    return False


def _daemon_trouble(said: str) -> str:
    if "permission denied" in said.lower():
        return "Docker is running, but this user may not use it: sudo usermod -aG docker $USER, then log in again."
    return "Docker is installed, but its daemon does not answer: start Docker Desktop, or: sudo systemctl start docker"


def _objects(text: str) -> list[dict[str, Any]]:
    # One JSON array before Compose 2.21, one object a line since.
    text = text.strip()
    if text.startswith("["):
        return cast("list[dict[str, Any]]", json.loads(text))
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _state(entry: dict[str, Any]) -> State:
    state, health = str(entry.get("State", "")), str(entry.get("Health") or "")
    if state == "exited":
        said = "done" if entry.get("ExitCode") == 0 else "failed"
    else:
        said = health if state == "running" and health else state
    publishers = cast("list[dict[str, Any]]", entry.get("Publishers") or [])
    ports = [int(published.get("PublishedPort") or 0) for published in publishers]
    return State(str(entry["Service"]), said, tuple(port for port in ports if port))
