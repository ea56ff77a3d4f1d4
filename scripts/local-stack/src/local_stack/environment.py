"""What a run is given: variables of the caller's environment, ports and passwords.

All settings of the caller reach the stack of `make run`, none that of `make demo`.
"""

import json
import secrets
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path

from pydantic import Field

from ev_service.errors import ConfigurationError
from ev_service.files import replace_file
from ev_service.settings import Settings

HOST = "127.0.0.1"
"""The address on which the whole stack listens."""

_BELOW_OUTGOING_CONNECTIONS = range(20_000, 32_768)
"""No system takes the port of an outgoing connection from here unless it is set to; above, one could take a port
between its choice and the start of the process that listens on it."""

_SYSTEM_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "HOME", "USERPROFILE")
_OUR_PREFIXES = (
    *("SOLAR_", "BATTERY_", "GRID_", "HISTORY_", "CHARGERS_", "AGENT_"),
    *("SITE_", "SIM_", "TWIN_", "MQTT_", "LISTENER_"),
)
_SETTING_NAMES = ("LOG_LEVEL",)
# The stack sets these itself, from its own ports, certificates and passwords.
_SET_BY_STACK = ("WSO2_", "LOCAL_GATEWAY_", "GATEWAY_", "EVAPP_", "ASSISTANT_", "OPERATOR_")
# 24 characters: WSO2 accepts 5 to 30 without blanks.
_PASSWORD_BYTES = 12


def select_system_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the system that every process needs."""
    return {name: environment[name] for name in _SYSTEM_VARIABLES if name in environment}


def select_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that the caller may give to the stack's processes."""
    return {
        name: value
        for name, value in environment.items()
        if _is_setting(name) and not name.startswith(_SET_BY_STACK) and not name.endswith("_PORT")
    }


def remove_settings(environment: MutableMapping[str, str]) -> None:
    """Remove every setting, so that a run depends on nothing but its command line."""
    for name in [name for name in environment if _is_setting(name)]:
        del environment[name]


def _is_setting(name: str) -> bool:
    return name.startswith(_OUR_PREFIXES + _SET_BY_STACK) or name in _SETTING_NAMES


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
    """The ports of `make run`."""

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
        """Return the configured ports, if all of them are free.

        Raises:
            ConfigurationError: names each port in use and the variable that changes it.
        """
        ports = {name.upper(): value for name, value in self.model_dump().items()}
        in_use = [f"port {port} is taken: set {name} to a free one" for name, port in ports.items() if _is_in_use(port)]
        if in_use:
            raise ConfigurationError("; ".join(in_use))
        return Ports(*ports.values())


class StackSettings(Settings):
    """Settings of `make run` and `make demo`."""

    stack_ready_s: float = Field(
        default=60.0, ge=1, le=3600, description="How long each process may take until it answers [s, real time]."
    )


def free_ports() -> Ports:
    """Return free ports, all different."""
    return Ports(*islice(find_free_ports(), len(fields(Ports))))


def find_free_ports() -> Iterator[int]:
    """Yield ports of the loopback address that are free now, each once, in random order."""
    candidates = secrets.SystemRandom().sample(_BELOW_OUTGOING_CONNECTIONS, len(_BELOW_OUTGOING_CONNECTIONS))
    return (port for port in candidates if not _is_in_use(port))


def _is_in_use(port: int) -> bool:
    with socket.socket() as probe:
        # Without it a port that was just closed counts as in use for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


@dataclass(frozen=True, slots=True, repr=False)
class Passwords:
    """Passwords of the administrator and of each application's owner."""

    admin: str
    evapp: str
    assistant: str
    operator: str


def make_passwords() -> Passwords:
    """Create new passwords of 24 hexadecimal digits."""
    return Passwords(**{field.name: secrets.token_hex(_PASSWORD_BYTES) for field in fields(Passwords)})


def load_passwords(path: Path) -> Passwords:
    """Read the passwords from a file; missing ones are created and written to it."""
    stored: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    passwords = Passwords(
        **{field.name: stored.get(field.name) or secrets.token_hex(_PASSWORD_BYTES) for field in fields(Passwords)}
    )
    if asdict(passwords) != stored:
        replace_file(path, json.dumps(asdict(passwords)))
    return passwords
