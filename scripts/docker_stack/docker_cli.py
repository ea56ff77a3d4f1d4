"""The commands `docker` and `docker compose`, for one project."""

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


class DockerStackError(Exception):
    """Why a command on the stack fails, and what to do, in one sentence."""


@dataclass(frozen=True)
class Container:
    """One container of the project."""

    service: str
    """Service of the Compose file."""
    has_failed: bool
    """Whether it ended with an exit code other than 0."""
    ports: tuple[int, ...]
    """Published ports."""


class Docker:
    """The command line of Docker, for one project.

    Args:
        folder: folder of compose.yaml.
        environment: variables of every command.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)

    def check(self) -> None:
        """Make sure that Docker, its daemon and a Compose that is new enough are there.

        Raises:
            DockerStackError: one is not.
        """
        if shutil.which("docker", path=self._environment.get("PATH")) is None:
            raise DockerStackError(
                "Docker is not installed: install Docker Desktop or Docker Engine; `make run` needs none."
            )
        info = self.run(["info", "--format", "{{.MemTotal}}"])
        if info.returncode != 0 or not info.stdout.strip().isdigit() or int(info.stdout) == 0:
            raise DockerStackError(_describe_daemon_error(info.stderr + info.stdout))
        version = self.run(["compose", "version", "--short"])
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", version.stdout)
        wanted = ".".join(map(str, OLDEST_COMPOSE))
        if version.returncode != 0 or found is None:
            raise DockerStackError(
                f"Docker has no Compose: install the plugin docker-compose-plugin, version {wanted} or newer."
            )
        if tuple(map(int, found.groups())) < OLDEST_COMPOSE:
            raise DockerStackError(f"Docker Compose {found[0]} is too old: version {wanted} or newer is needed.")

    def check_memory(self) -> None:
        """Make sure that Docker has the memory that WSO2 needs.

        Raises:
            DockerStackError: it has less.
        """
        has_bytes = int(self.run(["info", "--format", "{{.MemTotal}}"]).stdout)
        if has_bytes < NEEDED_BYTES * _REPORTED:
            raise DockerStackError(
                f"Docker has {has_bytes / (1 << 30):.1f} GiB of memory and WSO2 needs 4 GiB: give it more "
                "(Docker Desktop: Settings, Resources), or take the local gateway: make up GATEWAY=local"
            )

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run `docker …` and return its output."""
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

    def run_attached(self, arguments: Sequence[str]) -> int:
        """Run `docker …` on the caller's terminal and return the exit code."""
        return subprocess.call(["docker", *arguments], cwd=str(self._folder), env=self._environment)

    def run_compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `docker compose …` and return its output."""
        return self.run(["compose", *arguments])

    def run_compose_attached(self, *arguments: str) -> int:
        """Run `docker compose …` on the caller's terminal and return the exit code."""
        return self.run_attached(["compose", *arguments])

    def start_compose(self, *arguments: str, output: int | None) -> subprocess.Popen[str]:
        """Start `docker compose …`.

        Args:
            arguments: of the command.
            output: where its output and errors go, as the `stdout` of `Popen`; None: to the caller's standard output.
        """
        return subprocess.Popen(
            ["docker", "compose", *arguments],
            cwd=str(self._folder),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )

    def list_containers(self) -> dict[str, Container]:
        """Return the containers of the project by service, those that have ended included."""
        listed = self.run_compose("--profile", "*", "ps", "--all", "--format", "json").stdout
        return {container.service: container for container in map(_parse_container, _parse_objects(listed))}

    def read_last_log_line(self, service: str) -> str:
        """Return the last line in the log of a service."""
        log = self.run_compose("logs", "--no-log-prefix", "--no-color", "--tail", "5", service).stdout
        lines = log.strip().splitlines()
        return lines[-1].strip() if lines else "it logged nothing"


def is_port_taken(address: str, port: int) -> bool:
    """Return whether a process listens on a port of this machine."""
    with socket.socket() as probe:
        # Without it a port counts as taken for a minute after its listener has ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return True
    return False


def _describe_daemon_error(output: str) -> str:
    if "permission denied" in output.lower():
        return "Docker is running, but this user may not use it: sudo usermod -aG docker $USER, then log in again."
    return "Docker is installed, but its daemon does not answer: start Docker Desktop, or: sudo systemctl start docker"


def _parse_objects(text: str) -> list[dict[str, Any]]:
    # One JSON array before Compose 2.21, one object per line since.
    text = text.strip()
    if text.startswith("["):
        return cast("list[dict[str, Any]]", json.loads(text))
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _parse_container(entry: dict[str, Any]) -> Container:
    publishers = cast("list[dict[str, Any]]", entry.get("Publishers") or [])
    ports = [int(published.get("PublishedPort") or 0) for published in publishers]
    has_failed = entry.get("State") == "exited" and entry.get("ExitCode") != 0
    return Container(str(entry["Service"]), has_failed, tuple(port for port in ports if port))
