"""All artifacts of WSO2 in a folder: API projects, MCP server projects and policies.

Scopes, roles and plans are taken from the projects and policy files, so that they are defined in one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wso2_terms.api_project import ApiProject, ApiScope, Scope, list_operations, read_api_project
from wso2_terms.documents import ArtifactError
from wso2_terms.mcp_project import MCP_SERVER_FILE, McpServerProject, read_mcp_project
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
    """API projects, throttling policies and MCP server projects, each sorted by name."""

    apis: tuple[ApiProject, ...]
    policies: tuple[Policy, ...]
    mcp_servers: tuple[McpServerProject, ...] = ()

    def list_scopes(self) -> tuple[Scope, ...]:
        """Return every scope that an API or an MCP server declares; those of the APIs come first."""
        listed = [*(project.api.scopes for project in self.apis), *(entry.server.scopes for entry in self.mcp_servers)]
        return tuple(entry.scope for scopes in listed for entry in scopes)

    def list_roles(self) -> tuple[str, ...]:
        """Return every role that a scope is bound to, sorted."""
        return tuple(sorted({role for scope in self.list_scopes() for role in scope.bindings}))

    def list_plans(self) -> dict[str, SubscriptionPolicy]:
        """Return the business plans by name."""
        return {policy.name: policy.data for policy in self.policies if isinstance(policy.data, SubscriptionPolicy)}

    def find_api(self, name: str) -> ApiProject:
        """Return the API project of that name.

        Raises:
            KeyError: There is none.
        """
        for project in self.apis:
            if project.api.name == name:
                return project
        raise KeyError(name)

    def find_mcp_server(self, name: str) -> McpServerProject:
        """Return the MCP server project of that name.

        Raises:
            KeyError: There is none.
        """
        for project in self.mcp_servers:
            if project.server.name == name:
                return project
        raise KeyError(name)

    def find_underlying_api(self, project: McpServerProject) -> ApiProject:
        """Return the API whose operations the tools of an MCP server call.

        Raises:
            KeyError: There is none.
        """
        for candidate in self.apis:
            if (candidate.api.name, candidate.api.version) == project.server.underlying_api:
                return candidate
        raise KeyError(project.server.underlying_api)


def load_artifacts(root: Path, environment: Mapping[str, str]) -> Artifacts:
    """Read `apis/*/`, `mcp-servers/*/` and `policies/*.yaml` of a folder.

    Args:
        root: The folder, e.g. `wso2/`.
        environment: Variables of the projects, such as the URLs of the backends.

    Raises:
        ArtifactError: A file is missing or invalid, or the artifacts are inconsistent: an unknown policy, a scope or
            context of two projects, a tool without its operation.
    """
    folders = sorted(path.parent for path in (root / "apis").glob("*/api.yaml"))
    if not folders:
        raise ArtifactError(f"{root}: holds no API project (apis/*/api.yaml)")
    policies = tuple(read_policy(path) for path in sorted((root / "policies").glob("*.yaml")))
    servers = sorted(path.parent for path in (root / "mcp-servers").glob(f"*/{MCP_SERVER_FILE}"))
    artifacts = Artifacts(
        apis=tuple(read_api_project(folder, environment) for folder in folders),
        policies=policies,
        mcp_servers=tuple(read_mcp_project(folder, environment) for folder in servers),
    )
    publications = _list_publications(artifacts, root)
    _check_policies(artifacts, publications)
    _check_unique(publications, root)
    _check_tools(artifacts, root)
    return artifacts


@dataclass(frozen=True, slots=True)
class _Publication:
    """Common fields of APIs and MCP servers."""

    file: str
    """Path of the file in error messages."""

    context: str
    scopes: tuple[ApiScope, ...]
    plans: tuple[str, ...]
    advanced_policies: frozenset[str]
    """Names of the advanced policies that it uses."""


def _list_publications(artifacts: Artifacts, root: Path) -> tuple[_Publication, ...]:
    apis = tuple(
        _Publication(
            file=f"{root}/apis/{project.root}/api.yaml",
            context=project.api.versioned_context,
            scopes=project.api.scopes,
            plans=project.api.policies,
            advanced_policies=_list_advanced_policies(
                project.api.api_throttling_policy, [entry.throttling_policy for entry in project.api.operations]
            ),
        )
        for project in artifacts.apis
    )
    servers = tuple(
        _Publication(
            file=_build_server_path(project, root),
            context=project.server.versioned_context,
            scopes=project.server.scopes,
            plans=project.server.policies,
            advanced_policies=_list_advanced_policies(
                project.server.throttling_policy, [entry.throttling_policy for entry in project.server.operations]
            ),
        )
        for project in artifacts.mcp_servers
    )
    return apis + servers


def _build_server_path(project: McpServerProject, root: Path) -> str:
    return f"{root}/mcp-servers/{project.root}/{MCP_SERVER_FILE}"


def _list_advanced_policies(of_all: str | None, of_each: list[str]) -> frozenset[str]:
    return frozenset(of_each if of_all is None else [of_all, *of_each])


def _check_policies(artifacts: Artifacts, publications: tuple[_Publication, ...]) -> None:
    known_plans = SHIPPED_PLANS | artifacts.list_plans().keys()
    known_advanced = SHIPPED_ADVANCED | {
        policy.name for policy in artifacts.policies if policy.kind is PolicyKind.ADVANCED
    }
    for entry in publications:
        for plan in entry.plans:
            if plan not in known_plans:
                raise ArtifactError(f"{entry.file}: data.policies: no subscription policy {plan} is known")
        for name in sorted(entry.advanced_policies - known_advanced):
            raise ArtifactError(f"{entry.file}: data: no advanced policy {name} is known")


def _check_unique(publications: tuple[_Publication, ...], root: Path) -> None:
    claims: dict[str, str] = {}
    for entry in publications:
        # WSO2 rejects a second API or server with the same context, and a local scope that another one declares.
        local = [listed.scope.name for listed in entry.scopes if not listed.shared]
        project = Path(entry.file).parent.name
        for claim in (f"context {entry.context}", *(f"scope {name}" for name in local)):
            if claim in claims:
                raise ArtifactError(f"{root}: {claim} is claimed by {claims[claim]} and {project}")
            claims[claim] = project


def _check_tools(artifacts: Artifacts, root: Path) -> None:
    for project in artifacts.mcp_servers:
        field = f"{_build_server_path(project, root)}: data.operations"
        try:
            api = artifacts.find_underlying_api(project)
        except KeyError:
            raise ArtifactError(
                f"{field}: no API {' '.join(project.server.underlying_api)} is among the projects"
            ) from None
        defined = list_operations(api.definition)
        for operation in project.server.operations:
            mapping = operation.api_operation_mapping
            target, verb = mapping.backend_operation.target, mapping.backend_operation.verb
            # WSO2 silently leaves such a tool out of the list.
            if (target, verb) not in defined:
                raise ArtifactError(f"{field}: {api.root} has no operation {verb} {target}")
            if mapping.api_context not in (None, api.api.versioned_context):
                raise ArtifactError(f"{field}: {api.root} is served under {api.api.versioned_context}")
