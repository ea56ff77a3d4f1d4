"""Which call each order is. Pure; the service behind checks the numbers and says what is wrong with them."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from wso2_provisioning.applications import CHARGERS_API

SITE_API = "SiteAPI"


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """One call through the gateway.

    api: name of the API. target: its path below the API's context. body: what is ordered; None: it only reads.
    """

    api: str
    target: str
    body: dict[str, Any] | None = None

    @property
    def method(self) -> str:
        """GET or PUT."""
        return "GET" if self.body is None else "PUT"


def build_call(arguments: Namespace) -> GatewayCall:
    """The call that a command means.

    Args:
        arguments: of the command line; `command` says which, `reason` is there for those that need one.
    """
    return _CALLS[arguments.command](arguments)


def _build_override(kind: str, arguments: Namespace, **said: Any) -> GatewayCall:
    return GatewayCall(SITE_API, "/override", {"kind": kind, **said, "reason": arguments.reason})


def _build_sessions(arguments: Namespace) -> GatewayCall:
    if arguments.since is None and not arguments.csv:
        return GatewayCall(CHARGERS_API, "/sessions")
    since = arguments.since or "1970-01-01T00:00:00Z"
    return GatewayCall(SITE_API, f"/session-records?since={quote(since, safe='')}")


def _build_departure(arguments: Namespace) -> GatewayCall:
    said = {
        "departure": arguments.at,
        "energy_wanted_kwh": arguments.energy_kwh,
        "priority": arguments.priority,
        "guaranteed_a": arguments.guaranteed_a,
    }
    target = f"/sessions/{quote(arguments.session, safe='')}/departure"
    return GatewayCall(SITE_API, target, {name: value for name, value in said.items() if value is not None})


_CALLS: dict[str, Callable[[Namespace], GatewayCall]] = {
    "chargers": lambda _: GatewayCall(CHARGERS_API, "/chargers"),
    "sessions": _build_sessions,
    "orders": lambda said: GatewayCall(SITE_API, f"/orders?limit={said.most}"),
    "stop": lambda said: _build_override("stop", said, minutes=said.minutes),
    "power": lambda said: _build_override("fixed_power", said, charging_power_kw=said.kilowatts, minutes=said.minutes),
    "release": lambda said: _build_override("none", said),
    "limit": lambda said: GatewayCall(SITE_API, "/site/limit", {"limit_kw": said.kilowatts, "reason": said.reason}),
    "departure": _build_departure,
}
