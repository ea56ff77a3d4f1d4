"""`make up`: checks what the stack needs, builds the images, starts everything and waits until it is healthy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

from docker_stack import env_file
from docker_stack.docker_cli import Docker, DockerStackError, is_port_taken
from docker_stack.env_file import GATEWAYS, LOCAL_ADDRESS, read_address, read_ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_AUTHORITY = {
    "wso2": "/home/wso2carbon/wso2-config-volume/ca.pem",
    "local": "/var/lib/ev/keys/ca.pem",
}
_EVERY_CALL = {
    "wso2": "sh -c 'tail -f $WSO2_SERVER_HOME/repository/logs/apim_metrics.log'",
    "local": "tail -f /var/lib/ev/state/apim_metrics.log",
}
STATE_VOLUMES = ("gateway-state", "wso2-database")
"""Volumes that hold passwords."""

BUILD_STEP = re.compile(r"(?:#\d+ (?=\[[^\]]+ \d+/\d+\])|(?=Step \d+/\d+ : ))(?P<step>.*)")
"""Start of a build step, as BuildKit and as Docker's older builder print it."""
BUILD_LINES_SHOWN = 60

_HEALTHY_S = 120
_PROGRESS_S = 15.0


def start_stack(root: Path, environment: Mapping[str, str]) -> int:
    """Bring the stack up, print the first decision and return 0.

    Args:
        root: the checkout.
        environment: variables of the shell; `GATEWAY` chooses the gateway.

    Raises:
        DockerStackError: the stack cannot come up.
    """
    started = time.monotonic()
    profile = environment.get("GATEWAY") or None
    if profile not in (None, *GATEWAYS):
        raise DockerStackError(f"GATEWAY={profile} is unknown: take GATEWAY=local, or GATEWAY=wso2 (the default).")
    docker = Docker(root, environment)
    docker.check()
    settings = prepare_env(root, docker, environment, profile)
    profiles = env_file.list_profiles(settings, profile)
    profile = next((name for name in profiles if name in GATEWAYS), None)
    if profile is None:
        raise DockerStackError(
            f"{env_file.PROFILES} in .env names no gateway: take wso2 or local, and simulation in addition."
        )
    docker = Docker(root, {**environment, env_file.PROFILES: ",".join(profiles)})
    if profile == "wso2":
        docker.check_memory()
    free_ports(docker, settings, profile)
    pull_images(docker, settings, profile)
    build_images(docker, started)
    start_containers(docker, started)
    print_summary(settings, profile, started)
    return 0


def prepare_env(root: Path, docker: Docker, environment: Mapping[str, str], profile: str | None) -> dict[str, str]:
    """Create or complete `.env` and return the settings; existing volumes need the passwords of a former `.env`."""
    path = root / ".env"
    settings = env_file.read(path, environment)
    if not path.exists() and any(name not in settings for name in env_file.PASSWORDS):
        project = settings.get("COMPOSE_PROJECT_NAME", "ev-charging")
        existing = docker.run(["volume", "ls", "--quiet"]).stdout.split()
        in_use = [name for name in existing if name in {f"{project}_{volume}" for volume in STATE_VOLUMES}]
        if in_use:
            raise DockerStackError(
                f"there is no .env, but the state of an earlier run ({', '.join(in_use)}) still has its "
                "passwords: put that .env back, or begin anew with: make down VOLUMES=1"
            )
        env_file.create(path, root / ".env.example", profile)
        print(".env made, with random passwords")
        settings = env_file.read(path, environment)
    elif path.exists() and (added := env_file.complete(path, settings)):
        print(f"{' and '.join(added)} added to .env, with random passwords")
        settings = env_file.read(path, environment)
    error = env_file.find_password_error(settings)
    if error:
        raise DockerStackError(error)
    return settings


def free_ports(docker: Docker, settings: Mapping[str, str], profile: str) -> None:
    """Stop the other gateway, which publishes the same ports, and check that no other process uses them."""
    containers = docker.list_containers()
    others = [service for name, service in GATEWAYS.items() if name != profile and service in containers]
    if others:
        print(f"stopping {others[0]}: one gateway at a time")
        docker.run_compose("--profile", "*", "rm", "--stop", "--force", *others)
    own = {port for container in containers.values() for port in container.ports}
    taken = [
        f"port {port} is taken: set {name} in .env to a free one"
        for name, port in read_ports(settings).items()
        if port not in own and is_port_taken(read_address(settings, name), port)
    ]
    if taken:
        raise DockerStackError("; ".join(taken) + ".")


def pull_images(docker: Docker, settings: Mapping[str, str], profile: str) -> None:
    """Pull the images that are missing, before anything is built from them."""
    used = docker.run_compose("config", "--images", "broker", *(["wso2am"] if profile == "wso2" else [])).stdout.split()
    base = settings.get("PYTHON_IMAGE", env_file.PYTHON_IMAGE)
    foreign = [name for name in used if not name.startswith("ev-")]
    for image in dict.fromkeys([base, *foreign]):
        if docker.run(["image", "inspect", image]).returncode == 0:
            continue
        print(f"pulling {image}", flush=True)
        if docker.run_attached(["pull", image]) != 0:
            raise DockerStackError(_describe_pull_error(image, is_base=image == base))


def _describe_pull_error(image: str, *, is_base: bool) -> str:
    why = "is this machine online? Behind a proxy, tell Docker of it (Docker Desktop: Settings, Resources, Proxies)"
    if is_base:
        return (
            f"{image}, on which our images are built, cannot be pulled: {why}, or set PYTHON_IMAGE in .env to an "
            "image that is here, with Python 3.11 or newer and its venv module."
        )
    if "wso2am" in image:
        return f"{image} cannot be pulled: {why}; the local gateway needs no such download: make up GATEWAY=local"
    return f"{image} cannot be pulled: {why}, or set MOSQUITTO_IMAGE in .env to an image that is here."


def build_images(docker: Docker, started: float) -> None:
    """Build what has changed, and print each step as it begins."""
    print("images (the first time takes a minute or two)", flush=True)
    output: list[str] = []
    process = docker.start_compose("build", output=subprocess.PIPE)
    steps: set[str] = set()
    printed = time.monotonic()
    for line in process.stdout or ():
        output.append(line)
        step = BUILD_STEP.match(line)
        is_new = step is not None and step["step"] not in steps
        if step is not None and is_new:
            steps.add(step["step"])
        if is_new or time.monotonic() - printed > _PROGRESS_S:
            text = step["step"] if step is not None else line
            print(f"{format_elapsed(started)}  {text.strip()[:110]}", flush=True)
            printed = time.monotonic()
    if process.wait() != 0:
        print("".join(output[-BUILD_LINES_SHOWN:]), file=sys.stderr)
        raise DockerStackError("the images could not be built; the reason is printed above.")


def start_containers(docker: Docker, started: float) -> None:
    """Start everything and wait until every container is healthy, or has ended well if it runs once.

    Compose prints the progress. While it waits for the bootstrap, the last line of the bootstrap's log is printed now
    and then, because the first start of WSO2 takes minutes.
    """
    wait = ("--wait", "--wait-timeout", str(_HEALTHY_S))
    process = docker.start_compose("up", "--detach", *wait, "--remove-orphans", output=None)
    while True:
        try:
            code = process.wait(_PROGRESS_S)
        except subprocess.TimeoutExpired:
            print(f"{format_elapsed(started)}  {docker.read_last_log_line('bootstrap')}", flush=True)
        else:
            break
    if code != 0:
        failed = [container.service for container in docker.list_containers().values() if container.has_failed]
        if failed:
            reason = docker.read_last_log_line(failed[0]).replace("failed ", "", 1)
            raise DockerStackError(f"{failed[0]} failed: {reason}")
        raise DockerStackError(
            f"not every container became healthy within {_HEALTHY_S} s of its start: see above, and docker compose logs"
        )


def print_summary(settings: Mapping[str, str], profile: str, started: float) -> None:
    """Print the first decision and the addresses of the stack.

    Args:
        settings: entries of `.env`.
        profile: profile of the gateway.
        started: start of the command, in monotonic time [s].

    Raises:
        DockerStackError: the agent returns no decision.
    """
    try:
        decision = _get_json(settings, "/optimize-charging")
    except (OSError, ValueError) as error:
        raise DockerStackError(f"the agent did not answer: {error}") from error
    print(f"\n{time.strftime('%H:%M:%S')}  {decision['charging_power_kw']:g} kW  {decision['reason']}")
    print(f"first governed decision after {format_elapsed(started).strip()}\n")
    ports = read_ports(settings)
    service = GATEWAYS[profile]
    user = settings.get("WSO2_ADMIN_USERNAME", "admin")
    portals = " (portals: /publisher, /devportal, /admin)" if profile == "wso2" else ""
    print(f"agent       http://localhost:{ports['AGENT_PORT']}/")
    print(f"gateway     https://localhost:{ports['GATEWAY_HTTPS_PORT']}/")
    print(f"management  https://localhost:{ports['GATEWAY_MANAGEMENT_PORT']}/{portals}")
    print(f"devices     mqtts://localhost:{ports['MQTT_TLS_PORT']}  wss://localhost:{ports['OCPP_TLS_PORT']}/CHARGER")
    print(
        f"logins      {user} (password: WSO2_ADMIN_PASSWORD in .env), evapp, assistant, operator (NAME_PASSWORD there)"
    )
    print(f"authority   docker compose cp {service}:{_AUTHORITY[profile]} ca.pem")
    print(f"every call  docker compose exec {service} {_EVERY_CALL[profile]}")
    print('cut off     make kill REASON="…"   (the agent, at the gateway; make revive REASON="…" lets it go on)')
    print('operate     make operate ARGS="chargers"   (stop, limit and more: make operate ARGS=--help)')
    print("stop        make down   (with its state: make down VOLUMES=1)")


def format_elapsed(started: float) -> str:
    """Format the time since `started`, in monotonic time [s]."""
    return f"{time.monotonic() - started:4.0f} s"


def _get_json(settings: Mapping[str, str], path: str) -> dict[str, Any]:
    # No proxy: the agent runs on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    published = read_address(settings, "AGENT_PORT")
    address = LOCAL_ADDRESS if published == "0.0.0.0" else published  # noqa: S104 - a client's address, not a listener's
    with opener.open(f"http://{address}:{read_ports(settings)['AGENT_PORT']}{path}", timeout=10) as response:
        return json.load(response)
