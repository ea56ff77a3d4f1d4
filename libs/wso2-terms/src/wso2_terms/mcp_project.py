"""Projects of MCP servers that are created from an API: mcp_server.yaml and its deployments.

Source: WSO2 API Manager 4.6.0, Publisher REST API v4 (schema MCPServer) and apictl 4.6 (project layout).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, JsonValue

from wso2_terms.api_project import (
    DEPLOYMENTS_FILE,
    ApiScope,
    AuthType,
    Context,
    Deployment,
    Name,
    Verb,
    Version,
    check_scopes,
    parse_deployments,
)
from wso2_terms.documents import ArtifactError, StrictModel, parse_yaml, read_text, substitute, validate

MCP_SERVER_FILE = "mcp_server.yaml"


class BackendOperation(StrictModel):
    """The operation of the API that a tool calls."""

    target: Annotated[str, Field(pattern=r"^/")]
    verb: Verb


class ApiOperationMapping(StrictModel):
    """The operation of an API that a tool calls."""

    api_id: str | None = None
    """Id of the API; absent in files, because it differs between installations."""

    api_name: Name
    api_version: Version
    api_context: str | None = None
    """Context of the API; absent in files, because the API's own project has it."""

    backend_operation: BackendOperation


class _StoredArgument(BaseModel):
    enum: list[JsonValue] | None = None


class _StoredSchema(BaseModel):
    properties: dict[str, _StoredArgument] | None = None
    required: list[str] | None = None


def _check_schema(schema_definition: str) -> str:
    _StoredSchema.model_validate_json(schema_definition)
    return schema_definition


SchemaDefinition = Annotated[str, AfterValidator(_check_schema)]
"""Stored schema of a tool as JSON text, checked for its structure."""


class ToolOperation(StrictModel):
    """A tool of an MCP server."""

    feature: Literal["TOOL"] = "TOOL"
    target: Name | None = None
    """Name of the tool; None for the id of the operation."""

    description: str | None = None
    """Description of the tool; None for that of the operation."""

    auth_type: AuthType = "Any"
    throttling_policy: str = "Unlimited"
    scopes: tuple[str, ...] = ()
    """Scopes of which a token needs one."""

    schema_definition: SchemaDefinition | None = None
    """Schema of the arguments; None to derive it from the API's definition."""

    api_operation_mapping: ApiOperationMapping


class SubtypeConfiguration(StrictModel):
    """How the server was created; only servers created from an API are supported."""

    subtype: Literal["EXISTING_API"]


class McpServer(StrictModel):
    """The `data` of mcp_server.yaml."""

    name: Name
    display_name: str | None = None
    description: str | None = None
    context: Context
    """Path prefix without the version, which the gateway appends."""

    version: Version
    provider: str = "admin"
    life_cycle_status: Literal["CREATED", "PUBLISHED", "PROTOTYPED", "DEPRECATED", "BLOCKED", "RETIRED"]
    is_default_version: bool = False
    transport: tuple[Literal["http", "https"], ...] = ("http", "https")
    tags: tuple[str, ...] = ()
    policies: Annotated[tuple[str, ...], Field(min_length=1)]
    """Business plans that an application can subscribe with."""

    throttling_policy: str | None = None
    """Advanced policy for all callers of all tools together; None leaves it to the tools."""

    authorization_header: str = "Authorization"
    security_scheme: tuple[str, ...]
    visibility: Literal["PUBLIC", "PRIVATE", "RESTRICTED"] = "PUBLIC"
    visible_roles: tuple[str, ...] = ()
    access_control: Literal["NONE", "RESTRICTED"] = "NONE"
    access_control_roles: tuple[str, ...] = ()
    gateway_vendor: Literal["wso2"] = "wso2"
    gateway_type: Literal["wso2/synapse"] = "wso2/synapse"
    subtype_configuration: SubtypeConfiguration
    scopes: tuple[ApiScope, ...] = ()
    operations: Annotated[tuple[ToolOperation, ...], Field(min_length=1)]

    @property
    def versioned_context(self) -> str:
        """Path prefix at the gateway, e.g. `/solar-mcp/1.0.0`; messages are posted to `/mcp` below it."""
        return f"{self.context}/{self.version}"

    @property
    def underlying_api(self) -> tuple[str, str]:
        """Name and version of the API whose operations the tools call."""
        mapping = self.operations[0].api_operation_mapping
        return mapping.api_name, mapping.api_version


class _McpServerFile(StrictModel):
    type: Literal["mcp_server"]
    version: str
    data: McpServer


@dataclass(frozen=True, slots=True)
class McpServerProject:
    """A project of one MCP server."""

    server: McpServer
    deployments: tuple[Deployment, ...]
    """Environments of deployment_environments.yaml; empty without that file, then nothing is deployed."""

    format_version: str = "v4.6.0"
    """`version` of the files, e.g. `v4.6.0`."""

    @property
    def root(self) -> str:
        """Name of the project's folder, e.g. `SolarMCP-1.0.0`."""
        return f"{self.server.name}-{self.server.version}"


def read_mcp_project(folder: Path, environment: Mapping[str, str]) -> McpServerProject:
    """Read a project's folder and substitute the variables.

    Raises:
        ArtifactError: As `parse_mcp_project`.
    """
    names = (MCP_SERVER_FILE, DEPLOYMENTS_FILE)
    files = {name: read_text(folder / name) for name in names if (folder / name).exists()}
    return parse_mcp_project(files, str(folder), environment)


def parse_mcp_project(files: Mapping[str, str], source: str, environment: Mapping[str, str]) -> McpServerProject:
    """Parse a project from the texts of its files.

    Args:
        files: Texts by path inside the project.
        source: Name of the project in error messages.
        environment: Variables to substitute.

    Raises:
        ArtifactError: A file is missing or invalid, a variable is not set, a tool requires a scope that the server does
            not declare, or the tools belong to more than one API.
    """
    file = f"{source}/{MCP_SERVER_FILE}"
    if MCP_SERVER_FILE not in files:
        raise ArtifactError(f"{file} is missing")
    parsed = substitute(parse_yaml(files[MCP_SERVER_FILE], file), environment, file)
    document = validate(parsed, _McpServerFile, file)
    required = [(_format_backend_call(operation), operation.scopes) for operation in document.data.operations]
    check_scopes(document.data.scopes, required, file)
    _check_single_api(document.data, file)
    deployments: tuple[Deployment, ...] = ()
    if DEPLOYMENTS_FILE in files:
        deployments = parse_deployments(files[DEPLOYMENTS_FILE], f"{source}/{DEPLOYMENTS_FILE}", environment)
    return McpServerProject(document.data, deployments, document.version)


def _check_single_api(server: McpServer, source: str) -> None:
    for operation in server.operations:
        mapping = operation.api_operation_mapping
        # WSO2 creates all tools from the API of the first one and silently drops tools of other APIs.
        if (mapping.api_name, mapping.api_version) != server.underlying_api:
            raise ArtifactError(
                f"{source}: data.operations: {_format_backend_call(operation)} belongs to another API than the first"
                " tool; one MCP server takes one API"
            )


def _format_backend_call(operation: ToolOperation) -> str:
    behind = operation.api_operation_mapping.backend_operation
    return f"{behind.verb} {behind.target}"
