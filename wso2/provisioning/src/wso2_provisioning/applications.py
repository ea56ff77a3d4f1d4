"""Which applications there are, who owns them and what they may call. This is where that is decided.

Pure. Scopes and roles follow from the artifacts; they are not repeated here.
"""

from dataclasses import dataclass

from wso2_provisioning.errors import ProvisioningError
from wso2_terms.api_project import ApiProject
from wso2_terms.artifacts import Artifacts

SUBSCRIBER_ROLE = "Internal/subscriber"
"""Role that lets a user own applications."""


@dataclass(frozen=True, slots=True)
class ApplicationSpec:
    """One application: its owner is a user of its own, because client credentials carry the owner's roles."""

    name: str
    description: str
    owner: str
    apis: tuple[str, ...]

    def projects(self, artifacts: Artifacts) -> tuple[ApiProject, ...]:
        """Return the APIs it subscribes to.

        Raises:
            ProvisioningError: the artifacts do not hold one of them.
        """
        known = {project.api.name: project for project in artifacts.apis}
        for name in self.apis:
            if name not in known:
                raise ProvisioningError(f"{self.name} needs {name}, which no artifact describes: check --artifacts")
        return tuple(known[name] for name in self.apis)

    def scopes(self, artifacts: Artifacts) -> frozenset[str]:
        """Return the scopes that it must be granted."""
        return frozenset(listed.scope.name for project in self.projects(artifacts) for listed in project.api.scopes)

    def roles(self, artifacts: Artifacts) -> frozenset[str]:
        """Return the roles that its owner must hold."""
        scopes = [listed.scope for project in self.projects(artifacts) for listed in project.api.scopes]
        return frozenset({SUBSCRIBER_ROLE, *(role for scope in scopes for role in scope.bindings)})


EVAPP = ApplicationSpec(
    name="EVApp", description="Decides charging power", owner="evapp", apis=("SolarAPI", "BatteryAPI", "GridAPI")
)
SCOPE_PROBE = "ScopeProbe"
"""An application of the administrator, who holds none of the roles: it must be granted none of the scopes."""
