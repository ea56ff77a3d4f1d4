"""The stack in Docker: `make up [GATEWAY=local]`, `make down [VOLUMES=1]`, `make verify-wso2`, an operator's commands.

Standard library only, for any Python from 3.8 on: it needs Docker and no `.venv`.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import env_file
from docker_cli import Docker, State, Trouble, is_taken
from whereabouts import GATEWAYS, address_of, agent_can_decide, ports_of, seconds, tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
KEPT = ("gateway-state", "wso2-database")
"""Volumes that remember passwords."""
OPERATORS = {
    "kill": ("wso2_provisioning.switch", "kill"),
    "revive": ("wso2_provisioning.switch", "revive"),
    "operate": ("wso2_provisioning.operating",),
}
"""What an operator runs beside the bootstrap, by its command."""

BUILD_STEP = re.compile(r"(?:#\d+ (?=\[[^\]]+ \d+/\d+\])|(?=Step \d+/\d+ : ))(?P<step>.*)")
"""A step that begins, as BuildKit and as Docker's older builder print it."""
BUILD_LINES_SHOWN = 60

WELL = ("done", "healthy", "starting")
"""States of containers in a stack that works; Docker calls a container `starting` until it looks for the first time."""

_HEALTHY_S = 120.0
_POLL_S = 0.5
_SILENCE_S = 15.0


def main(arguments: Sequence[str]) -> int:
    variables = [argument for argument in arguments if re.match(r"[A-Z_]+=", argument)]
    given = {**os.environ, **{name: value for name, _, value in (one.partition("=") for one in variables)}}
    command, *rest = [argument for argument in arguments if argument not in variables] or ["up"]
    # Progress bars would be taken for what was said.
    given.setdefault("COMPOSE_ANSI", "never")
    given.setdefault("BUILDKIT_PROGRESS", "plain")
    try:
        if command == "verify-wso2":
            return verify(given, rest)
        if command in OPERATORS:
            return as_operator(given, OPERATORS[command], rest)
        return down(given) if command == "down" else up(given)
    except Trouble as trouble:
        print(f"make {command}: {trouble}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped waiting; what has started goes on: make up continues, make down ends it", file=sys.stderr)
        return 130


def up(given: Mapping[str, str]) -> int:
    started = time.monotonic()
    profile = given.get("GATEWAY") or None
    if profile not in (None, *GATEWAYS):
        raise Trouble(f"GATEWAY={profile} is unknown: take GATEWAY=local, or GATEWAY=wso2 (the default).")
    docker = Docker(ROOT, given)
    docker.check()
    settings = prepare_env(docker, given, profile)
    profiles = env_file.profiles(settings, profile)
    profile = next((name for name in profiles if name in GATEWAYS), None)
    if profile is None:
        raise Trouble(f"{env_file.PROFILES} in .env names no gateway: take wso2 or local, and simulation beside it.")
    docker = Docker(ROOT, {**given, env_file.PROFILES: ",".join(profiles)})
    if profile == "wso2":
        docker.check_memory()
    free_the_way(docker, settings, profile)
    fetch(docker, settings, profile)
    build(docker, started)
    wait(docker, profile, settings, started)
    tell(settings, profile, started)
    return 0


def prepare_env(docker: Docker, given: Mapping[str, str], profile: str | None) -> dict[str, str]:
    """Make `.env` where there is none, unless passwords that are kept elsewhere would then be lost."""
    path = ROOT / ".env"
    settings = env_file.read(path, given)
    if not path.exists() and any(name not in settings for name in env_file.PASSWORDS):
        project = settings.get("COMPOSE_PROJECT_NAME", "ev-charging")
        kept = docker.run(["volume", "ls", "--quiet"]).stdout.split()
        remembering = [name for name in kept if name in {f"{project}_{volume}" for volume in KEPT}]
        if remembering:
            raise Trouble(
                f"there is no .env, but the state of an earlier run ({', '.join(remembering)}) still has its "
                "passwords: put that .env back, or begin anew with: make down VOLUMES=1"
            )
        env_file.make(path, ROOT / ".env.example", profile)
        print(".env made, with random passwords")
        settings = env_file.read(path, given)
    elif path.exists() and (added := env_file.complete(path, settings)):
        # A file of an earlier version lacks what came later.
        print(f"{' and '.join(added)} added to .env, with random passwords")
        settings = env_file.read(path, given)
    trouble = env_file.find_password_error(settings)
    if trouble:
        raise Trouble(trouble)
    return settings


def free_the_way(docker: Docker, settings: Mapping[str, str], profile: str) -> None:
    """Stop the other gateway, which has the same ports, and see that nobody else has them."""
    states = docker.states()
    others = [service for name, service in GATEWAYS.items() if name != profile and service in states]
    if others:
        print(f"stopping {others[0]}: one gateway at a time")
        docker.compose("--profile", "*", "rm", "--stop", "--force", *others)
    ours = {port for state in states.values() for port in state.ports}
    taken = [
        f"port {port} is taken: set {name} in .env to a free one"
        for name, port in ports_of(settings).items()
        if port not in ours and is_taken(address_of(settings, name), port)
    ]
    if taken:
        raise Trouble("; ".join(taken) + ".")


def fetch(docker: Docker, settings: Mapping[str, str], profile: str) -> None:
    """Pull the images that are not here yet, before anything is built from them."""
    started = docker.compose("config", "--images", "broker", *(["wso2am"] if profile == "wso2" else [])).stdout.split()
    base = settings.get("PYTHON_IMAGE", env_file.PYTHON_IMAGE)
    foreign = [name for name in started if not name.startswith("ev-")]
    for image in dict.fromkeys([base, *foreign]):
        if docker.run(["image", "inspect", image]).returncode == 0:
            continue
        print(f"pulling {image}", flush=True)
        if docker.attach(["pull", image]) != 0:
            raise Trouble(unpullable(image, is_base=image == base))


def unpullable(image: str, *, is_base: bool) -> str:
    """What to do about an image that cannot be pulled."""
    why = "is this machine online? Behind a proxy, tell Docker of it (Docker Desktop: Settings, Resources, Proxies)"
    if is_base:
        return (
            f"{image}, on which our images are built, cannot be pulled: {why}, or set PYTHON_IMAGE in .env to an "
            "image that is here, with Python 3.11 or newer and its venv module."
        )
    if "wso2am" in image:
        return f"{image} cannot be pulled: {why}; the local gateway needs no such download: make up GATEWAY=local"
    return f"{image} cannot be pulled: {why}, or set MOSQUITTO_IMAGE in .env to an image that is here."


def build(docker: Docker, started: float) -> None:
    """Build what changed, and tell each step as it begins."""
    print("images (the first time takes a minute or two)", flush=True)
    said: list[str] = []
    process = docker.start("build")
    steps: set[str] = set()
    spoke = time.monotonic()
    for line in process.stdout or ():
        said.append(line)
        step = BUILD_STEP.match(line)
        if step and step["step"] not in steps:
            steps.add(step["step"])
            print(f"{seconds(started)}  {step['step'].strip()[:110]}", flush=True)
            spoke = time.monotonic()
        elif time.monotonic() - spoke > _SILENCE_S:
            print(f"{seconds(started)}  {line.strip()[:110]}", flush=True)
            spoke = time.monotonic()
    if process.wait() != 0:
        print("".join(said[-BUILD_LINES_SHOWN:]), file=sys.stderr)
        raise Trouble("the images could not be built; the reason stands above.")


def wait(docker: Docker, profile: str, settings: Mapping[str, str], started: float) -> None:
    """Start everything and tell how it goes, until every container is well and the agent can decide."""
    # What a former run left is no news.
    told = {state.service: state.said for state in docker.states().values()}
    process = docker.start("up", "--detach", "--remove-orphans")
    spoke = time.monotonic()
    while process.poll() is None:
        if tell_changes(docker.states(), told, started):
            spoke = time.monotonic()
        elif time.monotonic() - spoke > _SILENCE_S:
            spoke = time.monotonic()
            print(f"{seconds(started)}  {docker.last_words('bootstrap')}", flush=True)
        time.sleep(_POLL_S)
    said = process.stdout.read() if process.stdout else ""
    if process.returncode != 0:
        raise Trouble(reason_of(docker, said))
    deadline = time.monotonic() + _HEALTHY_S
    while True:
        states = docker.states()
        tell_changes(states, told, started)
        failing = [state.service for state in states.values() if state.said not in WELL]
        # The agent is asked itself, long before Docker's first look at it.
        if not failing and agent_can_decide(settings):
            return
        if time.monotonic() > deadline:
            names = " ".join(failing) or "agent"
            raise Trouble(f"{names} did not become healthy within {_HEALTHY_S:.0f} s: docker compose logs {names}")
        time.sleep(_POLL_S)


def tell_changes(states: Mapping[str, State], told: dict[str, str], started: float) -> bool:
    """Print each container that is done, healthy or failed since the last time."""
    changed = [
        state
        for state in states.values()
        if state.said in ("done", "healthy", "failed", "unhealthy") and told.get(state.service) != state.said
    ]
    for state in changed:
        told[state.service] = state.said
        print(f"{seconds(started)}  {state.service:<10} {state.said}", flush=True)
    return bool(changed)


def reason_of(docker: Docker, said: str) -> str:
    """Why `docker compose up` failed: what the container that failed said last, else its own last line."""
    failed = [state.service for state in docker.states().values() if state.said == "failed"]
    if failed:
        return f"{failed[0]} failed: {docker.last_words(failed[0]).replace('failed ', '', 1)}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "docker compose up failed and said nothing."


def verify(given: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Check on the running stack what only a real one can show; runs where the bootstrap does."""
    docker = Docker(ROOT, given)
    docker.check()
    running = docker.states()
    profile = next((name for name, gateway in GATEWAYS.items() if gateway in running), None)
    if profile is None:
        raise Trouble("nothing runs: make up, then make verify-wso2")
    service = f"verify-{profile}"
    return docker.show(
        *("run", "--rm", "--no-deps", "--name", "ev-verify", "--entrypoint", "python", service),
        *("-m", "wso2_provisioning.verification", "--artifacts", "/app/wso2"),
        *("--metrics-log", "/var/lib/ev/calls/apim_metrics.log"),
        *("--echo-url", "http://ev-verify:8099", "--echo-bind", "0.0.0.0"),  # noqa: S104 - inside a container
        *arguments,
    )


def as_operator(given: Mapping[str, str], program: Sequence[str], arguments: Sequence[str]) -> int:
    """Act as the operator, from where the bootstrap runs."""
    docker = Docker(ROOT, given)
    docker.check()
    # Whoever gives the command is not known inside; said by name, so that no odd character meets a shell.
    who = {"OPERATOR": given.get("OPERATOR") or f"{getpass.getuser()} on {socket.gethostname()}"}
    docker = Docker(ROOT, {**given, **who})
    return docker.show(
        *(
            "run",
            "--rm",
            "--no-deps",
            "--env",
            "REASON",
            "--env",
            "OPERATOR",
            "--env",
            "SCOPE",
            "--env",
            "APPLICATION",
            "--entrypoint",
            "python",
        ),
        *("bootstrap", "-m", *program, *arguments),
    )


def down(given: Mapping[str, str]) -> int:
    # Compose wants every variable of its file filled in, also to take down what runs.
    unset = {name: "unused" for name in env_file.PASSWORDS if name not in env_file.read(ROOT / ".env", given)}
    docker = Docker(ROOT, {**given, **unset})
    docker.check()
    volumes = ["--volumes"] if given.get("VOLUMES") not in (None, "", "0") else []
    if docker.show("--profile", "*", "down", "--remove-orphans", *volumes) != 0:
        raise Trouble("not everything could be removed; the reason stands above.")
    print("everything is removed" + (", state and credentials too" if volumes else "; state is kept in volumes"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
