"""Which applications there are, who owns them and what they may call. This is where that is decided.

Pure. Scopes and roles follow from the artifacts; they are not repeated here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from wso2_provisioning.errors import ProvisioningError
from wso2_terms.api_project import ApiProject, Scope
from wso2_terms.artifacts import Artifacts
from wso2_terms.mcp_project import McpServerProject

SUBSCRIBER_ROLE = "Internal/subscriber"
"""Role that lets a user make applications, subscriptions and keys in the Developer Portal."""
PORTAL_SCOPES = frozenset({"apim:subscribe", "apim:app_manage", "apim:sub_manage", "apim:api_key"})
"""What a token of that role may hold. A key that is granted one can undo what stops its application."""
CHARGERS_API, CONTROL_API = "ChargerAPI", "ChargerControlAPI"
"""What tells of the chargers, and what sets their limits."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApplicationSpec:
    """One application: its owner is a user of its own, because client credentials carry the owner's roles.

    apis, mcp_servers: names of what it subscribes to. password_variable: setting that holds the owner's password.
    keeps_portal: the owner is a person who uses the Developer Portal; any other owner is lent the role for due work.
    """

    name: str
    description: str
    owner: str
    password_variable: str
    apis: tuple[str, ...]
    mcp_servers: tuple[str, ...] = ()
    keeps_portal: bool = False

    @property
    def products(self) -> tuple[str, ...]:
        """Names of all that it subscribes to, APIs first."""
        return self.apis + self.mcp_servers

    def find_projects(self, artifacts: Artifacts) -> tuple[ApiProject, ...]:
        """Return the APIs it subscribes to.

        Raises:
            ProvisioningError: the artifacts do not hold one of them.
        """
        return tuple(_find_project(self, name, artifacts.find_api) for name in self.apis)

    def find_mcp_projects(self, artifacts: Artifacts) -> tuple[McpServerProject, ...]:
        """Return the MCP servers it subscribes to.

        Raises:
            ProvisioningError: the artifacts do not hold one of them.
        """
        return tuple(_find_project(self, name, artifacts.find_mcp_server) for name in self.mcp_servers)

    def collect_scopes(self, artifacts: Artifacts) -> frozenset[str]:
        """Return the scopes that it must be granted, and beside which it must be granted none."""
        return frozenset(scope.name for scope in self._list_scopes(artifacts))

    def collect_roles(self, artifacts: Artifacts) -> frozenset[str]:
        """Return the roles that its owner must hold."""
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
"""All of them; the first is the agent's own, whose keys are written down for it."""
SCOPE_PROBE = "ScopeProbe"
"""An application of the administrator, who holds none of the roles: it must be granted none of the scopes."""


def _find_project(spec: ApplicationSpec, name: str, find: Callable[[str], T]) -> T:
    try:
        return find(name)
    except KeyError:
        raise ProvisioningError(f"{spec.name} needs {name}, which no artifact describes: check --artifacts") from None
