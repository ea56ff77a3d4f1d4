"""Which loopback ports the stack listens on, and how long it may take to start."""

import socket
from dataclasses import dataclass, fields

from pydantic import Field

from ev_service.errors import ConfigurationError
from ev_service.settings import Settings

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """One port for each listener of the stack."""

    solar: int
    battery: int
    grid: int
    chargers: int
    ocpp: int
    twin: int
    agent: int
    gateway_https: int
    gateway_http: int
    management: int


class PortSettings(Settings):
    """The ports of `make run`; those of the design unless set otherwise."""

    solar_port: int = Field(default=8001, ge=1, le=65535, description="Solar service.")
    battery_port: int = Field(default=8002, ge=1, le=65535, description="Battery service.")
    grid_port: int = Field(default=8003, ge=1, le=65535, description="Grid service.")
    chargers_port: int = Field(default=8005, ge=1, le=65535, description="Charger service.")
    chargers_ocpp_port: int = Field(default=9000, ge=1, le=65535, description="Charger service, OCPP.")
    twin_port: int = Field(default=8006, ge=1, le=65535, description="Twin of the site.")
    agent_port: int = Field(default=8004, ge=1, le=65535, description="Agent.")
    local_gateway_https_port: int = Field(default=8243, ge=1, le=65535, description="Gateway, TLS.")
    local_gateway_http_port: int = Field(default=8280, ge=1, le=65535, description="Gateway, plain.")
    local_gateway_management_port: int = Field(default=9443, ge=1, le=65535, description="REST APIs and tokens.")

    def ports(self) -> Ports:
        """The ports as set.

        Raises:
            ConfigurationError: names every port that is taken and the variable that moves it.
        """
        wanted = {name.upper(): value for name, value in self.model_dump().items()}
        taken = [f"port {port} is taken: set {name} to a free one" for name, port in wanted.items() if _is_taken(port)]
        if taken:
            raise ConfigurationError("; ".join(taken))
        return Ports(*wanted.values())


class StackSettings(Settings):
    """How the stack is started, by `make run` and `make demo` alike."""

    stack_ready_s: float = Field(
        default=60.0, ge=1, le=3600, description="How long each process may take until it answers [s, real time]."
    )


def free_ports() -> Ports:
    """Ports that nobody listens on now, all different."""
    sockets = [socket.create_server((HOST, 0)) for _ in fields(Ports)]
    try:
        return Ports(*(listener.getsockname()[1] for listener in sockets))
    finally:
        for listener in sockets:
            listener.close()


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # Otherwise a port that was just left counts as taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False
