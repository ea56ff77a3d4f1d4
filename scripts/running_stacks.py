"""`make kill`, `make revive`, `make operate`: finds the stacks that run on this machine and acts on each of them.

Standard library only, for any Python from 3.8 on: nothing is installed or built before an order is carried out.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import env_file
from whereabouts import GATEWAYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".state"
RUN, COMPOSE = "run", "compose"
STACKS = {RUN: "the stack of make run", COMPOSE: "the stack of make up"}

_CONNECT_S = 2.0
_DOCKER_S = 4.0


class UnusableStackError(Exception):
    """No stack can be acted on; says what to do."""


class Program(NamedTuple):
    """What carries the order out on one stack, and what that stack is called."""

    stack: str
    command: tuple[str, ...]


def main(arguments: Sequence[str]) -> int:
    """Carry out one order on every stack that runs here; 0 when each of them did it."""
    command, *rest = arguments
    try:
        programs = choose_programs(command, os.environ, asks_for_help=bool({"-h", "--help"} & set(rest)))
    except UnusableStackError as error:
        print(f"make {command}: nothing is done: {error}", file=sys.stderr)
        return 1
    codes: list[int] = []
    for program in programs:
        if len(programs) > 1:
            print(f"--- {program.stack}", file=sys.stderr, flush=True)
        codes.append(_run([*program.command, *rest]))
    return max(codes)


def choose_programs(command: str, environment: Mapping[str, str], *, asks_for_help: bool) -> list[Program]:
    """What has to be run: one program for each stack that runs, or for the one that the caller names.

    Args:
        command: kill, revive or operate.
        environment: `STACK` names one stack; with `WSO2_ADMIN_PASSWORD` the variables do, as for the bootstrap.
        asks_for_help: any program will do, whether a stack runs or not.

    Raises:
        UnusableStackError: nothing runs, or what runs cannot be acted on.
    """
    wanted = environment.get("STACK", "")
    if wanted and wanted not in STACKS:
        raise UnusableStackError(f"STACK={wanted} is unknown: take STACK=run or STACK=compose, or leave it out")
    in_venv = Program(STACKS[RUN], (venv_python(), str(ROOT / "scripts" / f"{command}.py")))
    in_docker = Program(STACKS[COMPOSE], (sys.executable, str(ROOT / "scripts" / "up.py"), command))
    is_named_by_variables = not wanted and any(
        environment.get(name) for name in ("WSO2_ADMIN_PASSWORD", "WSO2_ADMIN_PASSWORD_FILE")
    )
    if wanted == COMPOSE:
        return [in_docker]
    if wanted == RUN or is_named_by_variables or (asks_for_help and Path(venv_python()).exists()):
        return [_usable(in_venv)]
    found = [_usable(in_venv)] if is_run_up(STATE) else []
    found += [in_docker] if is_compose_up(environment) else []
    if not found:
        raise UnusableStackError(
            "no stack runs on this machine: neither one of make run, nor one of make up in Docker. To act on another "
            "one set WSO2_ADMIN_PASSWORD and the other variables of .env.example"
        )
    return found


def is_run_up(state: Path) -> bool:
    """Whether the gateway of the run that keeps its state in a folder answers, known by that run's own authority.

    An authority of its own tells it from another gateway on the same port, such as that of the stack in Docker.
    """
    try:
        addresses: dict[str, str] = json.loads((state / "addresses.json").read_text(encoding="utf-8"))
        management = urlsplit(addresses["WSO2_MANAGEMENT_URL"])
        host = management.hostname or ""
        context = ssl.create_default_context(cafile=addresses["WSO2_CA_FILE"])
        with socket.create_connection((host, management.port or 443), _CONNECT_S) as connection:
            context.wrap_socket(connection, server_hostname=host).close()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def is_compose_up(environment: Mapping[str, str]) -> bool:
    """Whether a gateway of the stack in Docker runs; false where Docker is not there or does not answer in time."""
    docker = shutil.which("docker", path=environment.get("PATH"))
    if docker is None:
        return False
    project = env_file.read(ROOT / ".env", environment).get("COMPOSE_PROJECT_NAME", "ev-charging")
    ask = [docker, "ps", "--filter", f"label=com.docker.compose.project={project}"]
    try:
        answer = subprocess.run(
            [*ask, "--format", '{{.Label "com.docker.compose.service"}}'],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DOCKER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(set(answer.stdout.split()) & set(GATEWAYS.values()))


def venv_python() -> str:
    """The interpreter that `make run` runs with."""
    return str(ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def _usable(program: Program) -> Program:
    if not Path(program.command[0]).exists():
        raise UnusableStackError("what acts on it is not installed here: run make install, then try again")
    return program


def _run(command: Sequence[str]) -> int:
    try:
        return subprocess.call(command, cwd=str(ROOT))
    except KeyboardInterrupt:
        # The program got the same signal, and has said where it stopped.
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
