"""Definition of the applications: their owners, and the APIs and MCP servers that they subscribe to.

Scopes and roles are derived from the artifacts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from wso2_provisioning.errors import ProvisioningError
from wso2_terms.api_project import ApiProject, Scope
from wso2_terms.artifacts import Artifacts
from wso2_terms.mcp_project import McpServerProject

SUBSCRIBER_ROLE = "Internal/subscriber"
"""Role that lets a user create applications, subscriptions and keys in the Developer Portal."""
PORTAL_SCOPES = frozenset({"apim:subscribe", "apim:app_manage", "apim:sub_manage", "apim:api_key"})
"""Scopes of that role. A key that is granted one of them can revert what stops its application."""
CHARGERS_API, CONTROL_API = "ChargerAPI", "ChargerControlAPI"
"""APIs that report the chargers and that set their limits."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApplicationSpec:
    """One application."""

    name: str
    description: str
    owner: str
    """A user of its own, because client credentials carry the owner's roles."""
    password_variable: str
    """Setting of the owner's password."""
    apis: tuple[str, ...]
    """Names of the APIs that it subscribes to."""
    mcp_servers: tuple[str, ...] = ()
    """Names of the MCP servers that it subscribes to."""
    keeps_portal: bool = False
    """Whether the owner is a person who uses the Developer Portal; others are granted its role during changes only."""

    @property
    def products(self) -> tuple[str, ...]:
        """Names of all APIs and MCP servers that it subscribes to, APIs first."""
        return self.apis + self.mcp_servers

    def find_projects(self, artifacts: Artifacts) -> tuple[ApiProject, ...]:
        """Return the APIs it subscribes to.

        Raises:
            ProvisioningError: the artifacts do not contain one of them.
        """
        return tuple(_find_project(self, name, artifacts.find_api) for name in self.apis)

    def find_mcp_projects(self, artifacts: Artifacts) -> tuple[McpServerProject, ...]:
        """Return the MCP servers it subscribes to.

        Raises:
            ProvisioningError: the artifacts do not contain one of them.
        """
        return tuple(_find_project(self, name, artifacts.find_mcp_server) for name in self.mcp_servers)

    def collect_scopes(self, artifacts: Artifacts) -> frozenset[str]:
        """Return exactly the scopes that it must be granted."""
        return frozenset(scope.name for scope in self._list_scopes(artifacts))

    def collect_roles(self, artifacts: Artifacts) -> frozenset[str]:
        """Return the roles that its owner must have."""
        portal = {SUBSCRIBER_ROLE} if self.keeps_portal else set[str]()
        return frozenset({*portal, *(role for scope in self._list_scopes(artifacts) for role in scope.bindings)})

    def _list_scopes(self, artifacts: Artifacts) -> list[Scope]:
        of_apis = [project.api.scopes for project in self.find_projects(artifacts)]
        of_servers = [project.server.scopes for project in self.find_mcp_projects(artifacts)]
        return [listed.scope for scopes in (*of_apis, *of_servers) for listed in scopes]


EVAPP = ApplicationSpec(
    name="EVApp",
    description="Decides charging power and sets limits on chargers",
    owner="evapp",
    password_variable="EVAPP_PASSWORD",
    apis=("SolarAPI", "BatteryAPI", "GridAPI", CHARGERS_API, CONTROL_API),
    mcp_servers=("SolarMCP", "BatteryMCP", "GridMCP"),
)
ASSISTANT = ApplicationSpec(
    name="Assistant",
    description="Asks what was decided, and why",
    owner="assistant",
    password_variable="ASSISTANT_PASSWORD",
    apis=("AgentAPI",),
    mcp_servers=("AgentMCP",),
)
OPERATOR = ApplicationSpec(
    name="Operator",
    description="Sees and operates the site, for people",
    owner="operator",
    password_variable="OPERATOR_PASSWORD",
    apis=("SiteAPI", CHARGERS_API),
    keeps_portal=True,
)
APPLICATIONS = (EVAPP, ASSISTANT, OPERATOR)
"""All applications; the first one is the agent's, whose keys are written to files."""
SCOPE_PROBE = "ScopeProbe"
"""Application of the administrator, who has none of the roles: it must be granted none of the scopes."""


def _find_project(spec: ApplicationSpec, name: str, find: Callable[[str], T]) -> T:
    try:
        return find(name)
    except KeyError:
        raise ProvisioningError(f"{spec.name} needs {name}, which no artifact describes: check --artifacts") from None
