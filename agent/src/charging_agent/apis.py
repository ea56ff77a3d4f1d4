"""The three APIs the agent reads: where they stand on the gateway and what they answer.

The names, contexts and scopes are those of the artifacts under wso2/; a contract test holds them together.
"""

from dataclasses import dataclass
from typing import Generic

from charging_agent.readings import R
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus


@dataclass(frozen=True, slots=True)
class Api(Generic[R]):
    """One API as its caller sees it.

    name: as published. path: context, version and resource on the gateway. scope: what the token must hold.
    """

    name: str
    path: str
    scope: str
    model: type[R]


SOLAR = Api("SolarAPI", "/solar/1.0.0/solar-status", "solar:read", SolarStatus)
BATTERY = Api("BatteryAPI", "/battery/1.0.0/battery-status", "battery:read", BatteryStatus)
GRID = Api("GridAPI", "/grid/1.0.0/grid-load", "grid:read", GridLoad)
APIS = (SOLAR, BATTERY, GRID)
