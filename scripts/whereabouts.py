"""Where the stack in Docker is to be found: its ports, its agent, and what is told once it is up.

Standard library only, for any Python from 3.8 on.
"""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING, Any

from docker_cli import Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping

GATEWAYS = {"wso2": "wso2am", "local": "gateway"}
"""Service that is the gateway, by profile."""

_PORTS = {
    "AGENT_PORT": ("EDGE_ADDRESS", 8004),
    "GATEWAY_MANAGEMENT_PORT": ("EDGE_ADDRESS", 9443),
    "GATEWAY_HTTPS_PORT": ("EDGE_ADDRESS", 8243),
    "GATEWAY_HTTP_PORT": ("EDGE_ADDRESS", 8280),
    "MQTT_TLS_PORT": ("FIELD_ADDRESS", 8883),
    "OCPP_TLS_PORT": ("FIELD_ADDRESS", 9001),
}
"""Variable that names the address, and the port unless it is set, by the variable that sets it."""

_LOCAL_ADDRESS = "127.0.0.1"
_AUTHORITY = {
    "wso2": "/home/wso2carbon/wso2-config-volume/ca.pem",
    "local": "/var/lib/ev/keys/ca.pem",
}
_EVERY_CALL = {
    "wso2": "sh -c 'tail -f $WSO2_SERVER_HOME/repository/logs/apim_metrics.log'",
    "local": "tail -f /var/lib/ev/state/apim_metrics.log",
}


def ports_of(settings: Mapping[str, str]) -> dict[str, int]:
    """Published ports by the variable that sets them.

    Raises:
        Trouble: one is no number.
    """
    wrong = [name for name in _PORTS if name in settings and not settings[name].isdigit()]
    if wrong:
        raise Trouble(f"{wrong[0]} in .env must be a number, such as {_PORTS[wrong[0]][1]}.")
    return {name: int(settings.get(name, default)) for name, (_, default) in _PORTS.items()}


def address_of(settings: Mapping[str, str], port: str) -> str:
    """Address that a port, named by its variable, is published on."""
    return settings.get(_PORTS[port][0], _LOCAL_ADDRESS)


def agent_can_decide(settings: Mapping[str, str]) -> bool:
    """Tell whether the agent has all that a decision needs."""
    try:
        _ask(settings, "/health")
    except (OSError, ValueError):
        return False
    return True


def tell(settings: Mapping[str, str], profile: str, started: float) -> None:
    """Print the first decision, and where everything is.

    Args:
        settings: entries of `.env`.
        profile: the gateway's.
        started: when it began, in monotonic time [s].

    Raises:
        Trouble: the agent gives no decision.
    """
    try:
        decision = _ask(settings, "/optimize-charging")
    except (OSError, ValueError) as error:
        raise Trouble(f"the agent did not answer: {error}") from error
    print(f"\n{time.strftime('%H:%M:%S')}  {decision['charging_power_kw']:g} kW  {decision['reason']}")
    print(f"first governed decision after {seconds(started).strip()}\n")
    ports = ports_of(settings)
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


def seconds(started: float) -> str:
    """Time since a moment of monotonic time, as it is told."""
    return f"{time.monotonic() - started:4.0f} s"


def _ask(settings: Mapping[str, str], path: str) -> dict[str, Any]:
    # Past any proxy: it is this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    given = address_of(settings, "AGENT_PORT")
    address = _LOCAL_ADDRESS if given == "0.0.0.0" else given  # noqa: S104 - asked, not listened on
    with opener.open(f"http://{address}:{ports_of(settings)['AGENT_PORT']}{path}", timeout=10) as answer:
        return json.load(answer)
