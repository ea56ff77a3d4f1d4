"""What every test shares: the event loop's kind, no setting from outside, and the images built from this tree."""

import asyncio
import functools
import inspect
import json
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from local_stack.environment import remove_settings

ROOT = Path(__file__).resolve().parents[1]
OFFICIAL_IMAGE = "python:3.13-slim"
BUILD_S = 600
_SOONER = 0.8

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_sessionstart() -> None:
    # What a shell without job control starts in the background ignores Ctrl-C, and so would all that is started here.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _ends_by_itself(item.obj, _limit_s(item))


def _limit_s(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker else str(item.config.getini("timeout")))


def _ends_by_itself(test: Callable[..., Awaitable[None]], limit_s: float) -> Callable[..., Awaitable[None]]:
    """A test that times out inside its loop: pytest-timeout tears the loop apart, and anyio then waits for ever."""

    @functools.wraps(test)
    async def timed(*arguments: Any, **named: Any) -> None:
        async with asyncio.timeout(_SOONER * limit_s):
            await test(*arguments, **named)

    return timed


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict(os.environ)
    remove_settings(given)
    for name in os.environ.keys() - given.keys():
        monkeypatch.delenv(name)
    # Names by which tests call applications in their own process.
    monkeypatch.setenv("LISTENER_ALLOWED_HOSTS", "agent agent.test chargers service solar solar.test twin test x")


@pytest.fixture(scope="session")
def docker_environment() -> dict[str, str]:
    """What docker is run with; skips where no engine answers, or no Compose v2, or no base image can be had."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
    remove_settings(environment)
    environment.setdefault("PYTHON_IMAGE", OFFICIAL_IMAGE)
    base = environment["PYTHON_IMAGE"]
    if not _answers(["docker", "info"]):
        pytest.skip("no Docker Engine answers")
    if not _answers(["docker", "compose", "version"]):
        pytest.skip("this docker has no Compose v2")
    if not _is_had(base):
        pytest.skip(f"the base image {base} is not here and cannot be pulled; PYTHON_IMAGE names another one")
    return environment


@pytest.fixture(scope="session")
def images(docker_environment: dict[str, str]) -> dict[str, str]:
    """Images by the service of compose.yaml that runs them, built from this tree once.

    By their numbers: a name may come to mean another image while the tests run.
    """
    told = _compose(docker_environment, "config", "--format", "json")
    _compose(docker_environment, "build", "--quiet")
    services: dict[str, dict[str, Any]] = json.loads(told)["services"]
    built = {service["image"] for service in services.values() if "build" in service}
    return {name: _number_of(service["image"]) for name, service in services.items() if service["image"] in built}


@pytest.fixture(scope="session")
def broker_image(docker_environment: dict[str, str]) -> str:
    """Image of the broker that compose.yaml names; skips where it cannot be had."""
    told = _compose(docker_environment, "config", "--format", "json")
    image: str = json.loads(told)["services"]["broker"]["image"]
    if not _is_had(image):
        pytest.skip(f"the image {image} is not here and cannot be pulled; MOSQUITTO_IMAGE names another one")
    return image


def _number_of(image: str) -> str:
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def _compose(environment: dict[str, str], *arguments: str) -> str:
    # The placeholders are as good as any password where nothing is started.
    profiles = ["--profile", "local", "--profile", "simulation"]
    command = ["docker", "compose", "--env-file", ".env.example", *profiles, *arguments]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def _is_had(image: str) -> bool:
    return _answers(["docker", "image", "inspect", image]) or _answers(["docker", "pull", "--quiet", image])


def _answers(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
