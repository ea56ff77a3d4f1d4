"""The three readings the agent takes: where they stand on the gateway, over REST and over MCP, and what they hold.

The names, contexts and scopes are those of the artifacts under wso2/; a contract test holds them together.
"""

from dataclasses import dataclass
from typing import Generic

from charging_agent.calls import ProtocolName
from charging_agent.readings import R
from ev_service.telemetry import BatteryStatus, GridLoad, SolarStatus

_VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class Published:
    """What one protocol's callers see: an API, or the MCP server made from it.

    name: as published; limits are given by it. path: on the gateway. scope: what the token must hold.
    resource: how a call is named in records: verb and path, or the tool.
    """

    name: str
    path: str
    scope: str
    resource: str
    version: str = _VERSION

    @property
    def root(self) -> str:
        """Name and version, as folders and locks are named."""
        return f"{self.name}-{self.version}"


@dataclass(frozen=True, slots=True)
class Api(Generic[R]):
    """One reading's API.

    subject: what it is about, from which names, contexts and scopes are made. target: its resource.
    operation_id: of that resource, and so the name of the tool. model: what it answers.
    """

    subject: str
    target: str
    operation_id: str
    model: type[R]

    def over(self, protocol: ProtocolName) -> Published:
        """How it is published for callers of one protocol."""
        title = self.subject.capitalize()
        if protocol == "mcp":
            path = f"/{self.subject}-mcp/{_VERSION}/mcp"
            return Published(f"{title}MCP", path, f"{self.subject}:tools", self.operation_id)
        path = f"/{self.subject}/{_VERSION}{self.target}"
        return Published(f"{title}API", path, f"{self.subject}:read", f"GET {path}")

    @property
    def name(self) -> str:
        """Name of the API; what the agent keeps for it goes by this name over MCP, too."""
        return self.over("rest").name

    @property
    def path(self) -> str:
        """Context, version and resource of the API."""
        return self.over("rest").path

    @property
    def scope(self) -> str:
        """Scope of the API."""
        return self.over("rest").scope


SOLAR = Api("solar", "/solar-status", "getSolarStatus", SolarStatus)
BATTERY = Api("battery", "/battery-status", "getBatteryStatus", BatteryStatus)
GRID = Api("grid", "/grid-load", "getGridLoad", GridLoad)
APIS = (SOLAR, BATTERY, GRID)
