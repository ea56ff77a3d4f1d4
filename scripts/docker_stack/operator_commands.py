"""`make kill`, `make revive`, `make operate`: run one command on every stack that runs on this machine."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dev import venv_python

from docker_stack import env_file
from docker_stack.docker_cli import Docker, DockerStackError
from docker_stack.env_file import GATEWAYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMANDS = {
    "kill": ("wso2_provisioning.switch", "kill"),
    "revive": ("wso2_provisioning.switch", "revive"),
    "operate": ("wso2_provisioning.operating",),
}
"""Module, and its first argument, that carries out each command in the bootstrap's image."""

RUN, COMPOSE = "run", "compose"
STACKS = {RUN: "the stack of make run", COMPOSE: "the stack of make up"}

_PASSED_ON = ("REASON", "OPERATOR", "SCOPE", "APPLICATION")
_CONNECT_S = 2.0
_DOCKER_S = 4.0


def run_on_running_stacks(root: Path, command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Carry out a command on every stack that runs; return 0 if each of them did it, else the highest exit code.

    Args:
        root: the checkout.
        command: a key of `COMMANDS`.
        arguments: of the command.
        environment: `STACK` names one stack; with `WSO2_ADMIN_PASSWORD` the variables name it, as for the bootstrap.
    """
    try:
        stacks = choose_stacks(root, environment, asks_for_help=bool({"-h", "--help"} & set(arguments)))
    except DockerStackError as error:
        print(f"make {command}: nothing is done: {error}", file=sys.stderr)
        return 1
    codes: list[int] = []
    for stack in stacks:
        if len(stacks) > 1:
            print(f"--- {STACKS[stack]}", file=sys.stderr, flush=True)
        codes.append(_run_on(stack, root, command, arguments, environment))
    return max(codes)


def choose_stacks(root: Path, environment: Mapping[str, str], *, asks_for_help: bool) -> list[str]:
    """Return the stacks to act on: each that runs, or the one that the caller names.

    Raises:
        DockerStackError: nothing runs, or what runs cannot be acted on.
    """
    wanted = environment.get("STACK", "")
    if wanted and wanted not in STACKS:
        raise DockerStackError(f"STACK={wanted} is unknown: take STACK=run or STACK=compose, or leave it out")
    has_venv = Path(venv_python()).exists()
    is_named_by_variables = not wanted and any(
        environment.get(name) for name in ("WSO2_ADMIN_PASSWORD", "WSO2_ADMIN_PASSWORD_FILE")
    )
    if wanted == COMPOSE:
        return [COMPOSE]
    if wanted == RUN or is_named_by_variables or (asks_for_help and has_venv):
        found = [RUN]
    else:
        found = [RUN] if is_run_up(root / ".state") else []
        found += [COMPOSE] if is_compose_up(root, environment) else []
    if not found:
        raise DockerStackError(
            "no stack runs on this machine: neither one of make run, nor one of make up in Docker. To act on another "
            "one set WSO2_ADMIN_PASSWORD and the other variables of .env.example"
        )
    if RUN in found and not has_venv:
        raise DockerStackError("what acts on it is not installed here: run make install, then try again")
    return found


def is_run_up(state: Path) -> bool:
    """Return whether the gateway of the `make run` with this state folder answers.

    It is identified by that run's certificate authority: another gateway, such as that of the stack in Docker, may
    listen on the same port.
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


def is_compose_up(root: Path, environment: Mapping[str, str]) -> bool:
    """Return whether a gateway of the stack in Docker runs; False without Docker, or if it does not answer in time."""
    docker = shutil.which("docker", path=environment.get("PATH"))
    if docker is None:
        return False
    project = env_file.read(root / ".env", environment).get("COMPOSE_PROJECT_NAME", "ev-charging")
    command = [docker, "ps", "--filter", f"label=com.docker.compose.project={project}"]
    try:
        answer = subprocess.run(
            [*command, "--format", '{{.Label "com.docker.compose.service"}}'],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DOCKER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(set(answer.stdout.split()) & set(GATEWAYS.values()))


def _run_on(stack: str, root: Path, command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    run = _run_in_venv if stack == RUN else _run_in_docker
    try:
        return run(root, command, arguments, environment)
    except DockerStackError as error:
        print(f"make {command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # The command got the same signal, and has reported where it stopped.
        return 130


def _run_in_venv(root: Path, command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    script = str(root / "scripts" / f"{command}.py")
    return subprocess.call([venv_python(), script, *arguments], cwd=str(root), env=dict(environment))


def _run_in_docker(root: Path, command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    # The user is unknown inside the container. Variables are passed by name, so that no shell parses their values.
    operator = environment.get("OPERATOR") or f"{getpass.getuser()} on {socket.gethostname()}"
    docker = Docker(root, {**environment, "OPERATOR": operator})
    docker.check()
    variables = [part for name in _PASSED_ON for part in ("--env", name)]
    return docker.run_compose_attached(
        *("run", "--rm", "--no-deps", *variables, "--entrypoint", "python"),
        *("bootstrap", "-m", *COMMANDS[command], *arguments),
    )
