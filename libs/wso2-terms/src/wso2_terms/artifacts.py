"""All that WSO2 is given, read from the folder that holds it; the one place that says which scopes and roles exist.

Pure apart from reading that folder. Nothing here is written twice: scopes, roles and plans are what the
API projects and policy files say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wso2_terms.api_project import ApiProject, Scope, read_api_project
from wso2_terms.documents import ArtifactError
from wso2_terms.policies import (
    SHIPPED_ADVANCED,
    SHIPPED_PLANS,
    Policy,
    PolicyKind,
    SubscriptionPolicy,
    read_policy,
)


@dataclass(frozen=True, slots=True)
class Artifacts:
    """API projects and throttling policies, each in the order of their names."""

    apis: tuple[ApiProject, ...]
    policies: tuple[Policy, ...]

    def scopes(self) -> tuple[Scope, ...]:
        """Return every scope that an API declares, in the order of the APIs."""
        return tuple(listed.scope for project in self.apis for listed in project.api.scopes)

    def roles(self) -> tuple[str, ...]:
        """Return every role that a scope is bound to, once, sorted."""
        return tuple(sorted({role for scope in self.scopes() for role in scope.bindings}))

    def plans(self) -> dict[str, SubscriptionPolicy]:
        """Return the business plans among the policies, by name."""
        return {policy.name: policy.data for policy in self.policies if isinstance(policy.data, SubscriptionPolicy)}

    def api(self, name: str) -> ApiProject:
        """Return the project of that name.

        Raises:
            KeyError: there is none.
        """
        for project in self.apis:
            if project.api.name == name:
                return project
        raise KeyError(name)


def load_artifacts(root: Path, environment: Mapping[str, str]) -> Artifacts:
    """Read `apis/*/` and `policies/*.yaml` under a folder.

    Args:
        root: the folder, e.g. `wso2/`.
        environment: variables that the projects name, such as the backends' addresses.

    Raises:
        ArtifactError: something is missing, not understood, or does not fit together: a plan that no file
            and not WSO2 itself defines, a scope or context that two APIs claim.
    """
    folders = sorted(path.parent for path in (root / "apis").glob("*/api.yaml"))
    if not folders:
        raise ArtifactError(f"{root}: holds no API project (apis/*/api.yaml)")
    policies = tuple(read_policy(path) for path in sorted((root / "policies").glob("*.yaml")))
    artifacts = Artifacts(tuple(read_api_project(folder, environment) for folder in folders), policies)
    _check_policies(artifacts, root)
    _check_claimed_once(artifacts, root)
    return artifacts


def _check_policies(artifacts: Artifacts, root: Path) -> None:
    known_plans = SHIPPED_PLANS | artifacts.plans().keys()
    known_advanced = SHIPPED_ADVANCED | {
        policy.name for policy in artifacts.policies if policy.kind is PolicyKind.ADVANCED
    }
    for project in artifacts.apis:
        api = project.api
        where = f"{root}/apis/{project.root}/api.yaml"
        for plan in api.policies:
            if plan not in known_plans:
                raise ArtifactError(f"{where}: data.policies: no subscription policy {plan} is known")
        advanced = {operation.throttling_policy for operation in api.operations}
        if api.api_throttling_policy is not None:
            advanced.add(api.api_throttling_policy)
        for name in sorted(advanced - known_advanced):
            raise ArtifactError(f"{where}: data: no advanced policy {name} is known")


def _check_claimed_once(artifacts: Artifacts, root: Path) -> None:
    claims: dict[str, str] = {}
    for project in artifacts.apis:
        # WSO2 refuses a second API with the same context, and a local scope that another API has.
        local = [listed.scope.name for listed in project.api.scopes if not listed.shared]
        for claim in (f"context {project.api.versioned_context}", *(f"scope {name}" for name in local)):
            if claim in claims:
                raise ArtifactError(f"{root}: {claim} is claimed by {claims[claim]} and {project.root}")
            claims[claim] = project.root
