"""Starts images of this tree by testcontainers, as confined as compose.yaml does."""

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import ExecWaitStrategy

# Its helper image cannot be pulled everywhere; every container here is removed by its own context.
testcontainers_config.ryuk_disabled = True

READY_S = 60
STATE = "/var/lib/ev/state"
# All that compose.yaml takes away, taken away here too.
CONFINED: Mapping[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "mem_limit": "384m",
    "pids_limit": 64,
}


@dataclass(frozen=True)
class Way:
    """How the image of one service is run alone.

    port: that it listens on. ready: what the probe inside asks for, with the file to trust where it is TLS.
    """

    port: int
    ready: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    writable: tuple[str, ...] = ()


WAYS = {
    "solar": Way(8001, ("http://127.0.0.1:8001/health",)),
    "battery": Way(8002, ("http://127.0.0.1:8002/health",)),
    "grid": Way(8003, ("http://127.0.0.1:8003/health",)),
    "chargers": Way(8005, ("http://127.0.0.1:8005/health",)),
    "twin": Way(8006, ("http://127.0.0.1:8006/health",)),
    "agent": Way(
        8004,
        ("http://127.0.0.1:8004/livez",),
        {"WSO2_CLIENT_ID": "nobody", "WSO2_CLIENT_SECRET": "nothing", "WSO2_TOKEN_URL": "https://localhost:1/none"},
    ),
    "gateway": Way(
        9443,
        (
            "https://localhost:9443/api/am/gateway/v2/server-startup-healthcheck",
            f"{STATE}/certificates/ca.pem",
        ),
        {
            "WSO2_ADMIN_PASSWORD": "admin-Passw0rd",
            "LOCAL_GATEWAY_BIND_ADDRESS": "0.0.0.0",
            "LOCAL_GATEWAY_ALLOW_REMOTE": "true",
        },
        (STATE,),
    ),
}


@dataclass(frozen=True)
class RunningContainer:
    """A container that is ready."""

    container: DockerContainer

    @property
    def engine(self) -> Any:
        """The container as the engine's client knows it, which has no types."""
        return self.container.get_wrapped_container()

    def run(self, *command: str) -> tuple[int, str]:
        """Exit code and output of a command inside."""
        code, output = self.engine.exec_run(list(command))
        return code, output.decode()

    def url(self, port: int, scheme: str = "http") -> str:
        return f"{scheme}://{self.container.get_container_host_ip()}:{self.container.get_exposed_port(port)}"


@contextmanager
def start_container(image: str, way: Way) -> Generator[RunningContainer]:
    container = DockerContainer(image, env=dict(way.environment), ports=[way.port])
    container.with_kwargs(**CONFINED)
    for folder in (*way.writable, "/tmp"):
        container.with_tmpfs_mount(folder, "uid=10001,mode=0700,size=16m")
    probe = ExecWaitStrategy(["python", "-m", "ev_service.probe", *way.ready]).with_startup_timeout(READY_S)
    with container.waiting_for(probe.with_poll_interval(0.2)):
        yield RunningContainer(container)


@pytest.fixture
def start(images: dict[str, str]) -> Generator[Callable[[str], RunningContainer]]:
    """Start the image of a service; it is removed when the test is over."""
    with ExitStack() as stack:
        yield lambda service: stack.enter_context(start_container(images[service], WAYS[service]))
