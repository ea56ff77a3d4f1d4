"""Command line of the stack in Docker: `make up`, `make down`, `make verify-wso2` and an operator's commands."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docker_stack import env_file
from docker_stack.docker_cli import Docker, DockerStackError
from docker_stack.env_file import GATEWAYS
from docker_stack.operator_commands import COMMANDS, run_on_running_stacks
from docker_stack.start import start_stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code.

    Args:
        arguments: the command and its arguments; `NAME=value` anywhere among them sets a variable, as with make.
    """
    environment = dict(os.environ)
    command, *rest = _take_variables(arguments, environment) or ["up"]
    # Progress bars would mix with the lines that are printed here.
    environment.setdefault("COMPOSE_ANSI", "never")
    environment.setdefault("COMPOSE_PROGRESS", "plain")
    environment.setdefault("BUILDKIT_PROGRESS", "plain")
    try:
        if command in COMMANDS:
            return run_on_running_stacks(ROOT, command, rest, environment)
        if command == "verify-wso2":
            return verify(environment, rest)
        return remove_stack(environment) if command == "down" else start_stack(ROOT, environment)
    except DockerStackError as error:
        print(f"make {command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped waiting; what has started goes on: make up continues, make down ends it", file=sys.stderr)
        return 130


def verify(environment: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Run the WSO2 verification in a container next to the bootstrap's; return its exit code."""
    docker = Docker(ROOT, environment)
    docker.check()
    running = docker.list_containers()
    profile = next((name for name, gateway in GATEWAYS.items() if gateway in running), None)
    if profile is None:
        raise DockerStackError("nothing runs: make up, then make verify-wso2")
    return docker.run_compose_attached(
        *("run", "--rm", "--no-deps", "--name", "ev-verify", "--entrypoint", "python", f"verify-{profile}"),
        *("-m", "wso2_provisioning.verification", "--artifacts", "/app/wso2"),
        *("--metrics-log", "/var/lib/ev/calls/apim_metrics.log"),
        *("--echo-url", "http://ev-verify:8099", "--echo-bind", "0.0.0.0"),  # noqa: S104 - inside a container
        *arguments,
    )


def remove_stack(environment: Mapping[str, str]) -> int:
    """Remove every container; with `VOLUMES=1` the volumes as well."""
    # Compose resolves every variable of its file, also to remove containers.
    unset = {name: "unused" for name in env_file.PASSWORDS if name not in env_file.read(ROOT / ".env", environment)}
    docker = Docker(ROOT, {**environment, **unset})
    docker.check()
    volumes = ["--volumes"] if environment.get("VOLUMES") not in (None, "", "0") else []
    if docker.run_compose_attached("--profile", "*", "down", "--remove-orphans", *volumes) != 0:
        raise DockerStackError("not everything could be removed; the reason is printed above.")
    print("everything is removed" + (", state and credentials too" if volumes else "; state is kept in volumes"))
    return 0


def _take_variables(arguments: Sequence[str], environment: dict[str, str]) -> list[str]:
    """Move each `NAME=value` into the environment and return the other arguments."""
    rest: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and re.match(r"[A-Z_][A-Z0-9_]*$", name):
            environment[name] = value
        else:
            rest.append(argument)
    return rest
