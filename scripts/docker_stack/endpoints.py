"""Ports and addresses of the stack in Docker, and the summary that is printed once it is up."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING, Any

from docker_stack.docker_cli import DockerStackError

if TYPE_CHECKING:
    from collections.abc import Mapping

GATEWAYS = {"wso2": "wso2am", "local": "gateway"}
"""Service of the gateway, by profile."""

_PORTS = {
    "AGENT_PORT": ("EDGE_ADDRESS", 8004),
    "GATEWAY_MANAGEMENT_PORT": ("EDGE_ADDRESS", 9443),
    "GATEWAY_HTTPS_PORT": ("EDGE_ADDRESS", 8243),
    "GATEWAY_HTTP_PORT": ("EDGE_ADDRESS", 8280),
    "MQTT_TLS_PORT": ("FIELD_ADDRESS", 8883),
    "OCPP_TLS_PORT": ("FIELD_ADDRESS", 9001),
}
"""For each variable of a port: the variable of its address, and the default port."""

_LOCAL_ADDRESS = "127.0.0.1"
_AUTHORITY = {
    "wso2": "/home/wso2carbon/wso2-config-volume/ca.pem",
    "local": "/var/lib/ev/keys/ca.pem",
}
_EVERY_CALL = {
    "wso2": "sh -c 'tail -f $WSO2_SERVER_HOME/repository/logs/apim_metrics.log'",
    "local": "tail -f /var/lib/ev/state/apim_metrics.log",
}


def read_ports(settings: Mapping[str, str]) -> dict[str, int]:
    """Return the published ports by the variable that sets them.

    Raises:
        DockerStackError: a port is not a number.
    """
    wrong = [name for name in _PORTS if name in settings and not settings[name].isdigit()]
    if wrong:
        raise DockerStackError(f"{wrong[0]} in .env must be a number, such as {_PORTS[wrong[0]][1]}.")
    return {name: int(settings.get(name, default)) for name, (_, default) in _PORTS.items()}


def read_address(settings: Mapping[str, str], port: str) -> str:
    """Return the address on which a port, named by its variable, is published."""
    return settings.get(_PORTS[port][0], _LOCAL_ADDRESS)


def print_summary(settings: Mapping[str, str], profile: str, started: float) -> None:
    """Print the first decision, and the address of everything.

    Args:
        settings: entries of `.env`.
        profile: the gateway's.
        started: when the command began, in monotonic time [s].

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
    """Return the time since `started`, in monotonic time [s], as text."""
    return f"{time.monotonic() - started:4.0f} s"


def _get_json(settings: Mapping[str, str], path: str) -> dict[str, Any]:
    # No proxy: the agent runs on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    given = read_address(settings, "AGENT_PORT")
    address = _LOCAL_ADDRESS if given == "0.0.0.0" else given  # noqa: S104 - a client's address, not a listener's
    with opener.open(f"http://{address}:{read_ports(settings)['AGENT_PORT']}{path}", timeout=10) as answer:
        return json.load(answer)
