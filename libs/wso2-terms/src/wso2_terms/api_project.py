"""API projects as apictl writes them and WSO2 imports them: api.yaml, deployments and definition.

Source: WSO2 API Manager 4.6.0, Publisher REST API v4 (schema API) and apictl 4.6 (project layout); carbon-apimgt
9.33.90, APIUtil.validateEndpointURL, which `tests/contract/wso2_oracle` runs.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast, get_args
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field

from wso2_terms.documents import ArtifactError, StrictModel, parse_yaml, read_text, substitute, validate

API_FILE = "api.yaml"
DEPLOYMENTS_FILE = "deployment_environments.yaml"
DEFINITION_FILE = "Definitions/swagger.yaml"

Name = Annotated[str, Field(min_length=1, max_length=60)]
Verb = Literal["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"]
_VERBS: frozenset[str] = frozenset(get_args(Verb))
AuthType = Literal["Application & Application User", "Any", "Application", "Application User", "None"]
Context = Annotated[str, Field(pattern=r"^/[A-Za-z0-9_$.;()/{}-]*[A-Za-z0-9_$.;()}-]$")]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]


class Scope(StrictModel):
    """An OAuth 2.0 scope with the roles whose members are granted it."""

    name: Name
    display_name: str | None = None
    description: str | None = None
    bindings: tuple[str, ...] = ()
    """Names of roles; without a role the scope is not restricted."""


class ApiScope(StrictModel):
    """A scope in the list of an API."""

    shared: bool = False
    """Several APIs can use the scope; a local scope belongs to one API only."""

    scope: Scope


class Operation(StrictModel):
    """A resource and verb of an API."""

    target: Annotated[str, Field(pattern=r"^/")]
    """Path template below the API's context."""

    verb: Verb
    auth_type: AuthType = "Any"
    throttling_policy: str = "Unlimited"
    """Advanced policy for all callers of the operation."""

    scopes: tuple[str, ...] = ()
    """Scopes of which a token needs one."""


class EndpointBehaviour(StrictModel):
    """Timeout and suspension of a backend."""

    action_select: Literal["fault", "discard", "never"] | None = None
    action_duration: Annotated[int, Field(ge=0)] | None = None
    """Longest time for an answer [ms]."""

    suspend_duration: Annotated[int, Field(ge=0)] | None = None
    """How long a failed backend is not called [ms]; 0 disables suspension."""

    suspend_max_duration: Annotated[int, Field(ge=0)] | None = None
    factor: Annotated[float, Field(gt=0)] | None = None


class Endpoint(StrictModel):
    """A backend."""

    url: Annotated[str, Field(min_length=1)]
    config: EndpointBehaviour | None = None


class EndpointConfig(StrictModel):
    """The backends of an API; WSO2 writes the names of these fields with underscores."""

    model_config = ConfigDict(alias_generator=None)

    endpoint_type: Literal["http"]
    production_endpoints: Endpoint
    sandbox_endpoints: Endpoint | None = None


class CorsConfiguration(StrictModel):
    """Cross-origin requests that browsers may send."""

    cors_configuration_enabled: bool = False
    access_control_allow_origins: tuple[str, ...] = ()
    access_control_allow_credentials: bool = False
    access_control_allow_headers: tuple[str, ...] = ()
    access_control_allow_methods: tuple[str, ...] = ()


class MaxTps(StrictModel):
    """Most calls that the backend gets from all callers; further calls are answered with 503, 900801."""

    production: Annotated[int, Field(gt=0)] | None = None
    production_time_unit: Literal["SECOND", "MINUTE", "HOUR"] = "SECOND"
    sandbox: Annotated[int, Field(gt=0)] | None = None
    sandbox_time_unit: Literal["SECOND", "MINUTE", "HOUR"] = "SECOND"


class AdditionalProperty(StrictModel):
    """A custom property of an API."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    value: str
    display: bool = False


class Api(StrictModel):
    """The `data` of api.yaml."""

    name: Name
    display_name: str | None = None
    description: str | None = None
    context: Context
    """Path prefix without the version, which the gateway appends."""

    version: Version
    provider: str = "admin"
    life_cycle_status: Literal["CREATED", "PUBLISHED", "PROTOTYPED", "DEPRECATED", "BLOCKED", "RETIRED"]
    type: Literal["HTTP"] = "HTTP"
    is_default_version: bool = False
    transport: tuple[Literal["http", "https"], ...] = ("http", "https")
    tags: tuple[str, ...] = ()
    policies: Annotated[tuple[str, ...], Field(min_length=1)]
    """Business plans that an application can subscribe with."""

    api_throttling_policy: str | None = None
    """Advanced policy for all callers together; None leaves it to the operations."""

    authorization_header: str = "Authorization"
    security_scheme: tuple[str, ...]
    max_tps: MaxTps | None = None
    visibility: Literal["PUBLIC", "PRIVATE", "RESTRICTED"] = "PUBLIC"
    visible_roles: tuple[str, ...] = ()
    access_control: Literal["NONE", "RESTRICTED"] = "NONE"
    access_control_roles: tuple[str, ...] = ()
    gateway_vendor: Literal["wso2"] = "wso2"
    gateway_type: Literal["wso2/synapse"] = "wso2/synapse"
    key_managers: tuple[str, ...] = ("all",)
    enable_schema_validation: bool = False
    enable_subscriber_verification: bool = False
    response_caching_enabled: bool = False
    cache_timeout: Annotated[int, Field(ge=0)] = 300
    audiences: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    additional_properties: tuple[AdditionalProperty, ...] = ()
    cors_configuration: CorsConfiguration | None = None
    endpoint_implementation_type: Literal["ENDPOINT"] = "ENDPOINT"
    endpoint_config: EndpointConfig
    scopes: tuple[ApiScope, ...] = ()
    operations: Annotated[tuple[Operation, ...], Field(min_length=1)]

    @property
    def versioned_context(self) -> str:
        """Path prefix at the gateway, and `apicontext` of the backend JWT, e.g. `/solar/1.0.0`."""
        return f"{self.context}/{self.version}"


class Deployment(StrictModel):
    """A gateway environment that a revision is deployed to."""

    deployment_environment: Name
    deployment_vhost: str | None = None
    display_on_devportal: bool = True


class _ApiFile(StrictModel):
    type: Literal["api"]
    version: str
    data: Api


class _DeploymentsFile(StrictModel):
    type: Literal["deployment_environments"]
    version: str
    data: tuple[Deployment, ...]


@dataclass(frozen=True, slots=True)
class ApiProject:
    """A project of one API."""

    api: Api
    deployments: tuple[Deployment, ...]
    """Environments of deployment_environments.yaml; empty without that file, then nothing is deployed."""

    definition: dict[str, object]
    """OpenAPI document of the API."""

    format_version: str = "v4.6.0"
    """`version` of the files, e.g. `v4.6.0`."""

    @property
    def root(self) -> str:
        """Name of the project's folder, e.g. `SolarAPI-1.0.0`."""
        return f"{self.api.name}-{self.api.version}"


def read_api_project(folder: Path, environment: Mapping[str, str]) -> ApiProject:
    """Read a project's folder and substitute the variables, as apictl does at import.

    Raises:
        ArtifactError: A file is missing or invalid, or a variable is not set.
    """
    files = {name: read_text(folder / name) for name in (API_FILE, DEFINITION_FILE)}
    if (folder / DEPLOYMENTS_FILE).exists():
        files[DEPLOYMENTS_FILE] = read_text(folder / DEPLOYMENTS_FILE)
    return parse_api_project(files, str(folder), environment)


def parse_api_project(
    files: Mapping[str, str], source: str, environment: Mapping[str, str] | None = None
) -> ApiProject:
    """Parse a project from the texts of its files.

    Args:
        files: Texts by path inside the project.
        source: Name of the project in error messages.
        environment: Variables to substitute; None leaves texts unchanged, for a project that was packed before.

    Raises:
        ArtifactError: A file is missing or invalid, or a variable is not set.
    """

    def parse(name: str) -> object:
        if name not in files:
            raise ArtifactError(f"{source}: {name} is missing")
        return parse_yaml(files[name], f"{source}/{name}")

    api = parse(API_FILE)
    if environment is not None:
        api = substitute(api, environment, f"{source}/{API_FILE}")
    document = validate(api, _ApiFile, f"{source}/{API_FILE}")
    deployments: tuple[Deployment, ...] = ()
    if DEPLOYMENTS_FILE in files:
        deployments = parse_deployments(files[DEPLOYMENTS_FILE], f"{source}/{DEPLOYMENTS_FILE}", environment)
    # No variables are substituted here: `${…}` is ordinary text in an OpenAPI document.
    definition = parse(DEFINITION_FILE)
    if not isinstance(definition, dict) or "openapi" not in definition:
        raise ArtifactError(f"{source}/{DEFINITION_FILE}: openapi: is no OpenAPI 3 document")
    project = ApiProject(document.data, deployments, cast("dict[str, object]", definition), document.version)
    required = [(f"{operation.verb} {operation.target}", operation.scopes) for operation in project.api.operations]
    check_scopes(project.api.scopes, required, f"{source}/{API_FILE}")
    _check_operations(project, source)
    return project


def parse_deployments(text: str, source: str, environment: Mapping[str, str] | None) -> tuple[Deployment, ...]:
    """Parse deployment_environments.yaml, which API and MCP server projects share.

    Args:
        text: Text of the file.
        source: Name of the file in error messages.
        environment: Variables to substitute; None leaves the text unchanged.

    Raises:
        ArtifactError: The file is invalid, or a variable is not set.
    """
    parsed = parse_yaml(text, source)
    value = parsed if environment is None else substitute(parsed, environment, source)
    return validate(value, _DeploymentsFile, source).data


def check_scopes(declared: Iterable[ApiScope], required: Iterable[tuple[str, Iterable[str]]], source: str) -> None:
    """Check that a project declares every scope that its operations or tools require.

    Args:
        declared: Scopes of the project.
        required: Name of each operation in error messages, and its scopes.
        source: Name of the file in error messages.

    Raises:
        ArtifactError: A required scope is not declared.
    """
    names = {listed.scope.name for listed in declared}
    for operation, scope in ((operation, scope) for operation, scopes in required for scope in scopes):
        if scope not in names:
            raise ArtifactError(f"{source}: data.operations: {operation} needs scope {scope}, which data.scopes lacks")


def _check_operations(project: ApiProject, source: str) -> None:
    # WSO2 serves every operation of the definition, and api.yaml only governs them: an operation that is missing in
    # api.yaml would be open to every token.
    listed = {(operation.target, operation.verb) for operation in project.api.operations}
    defined = list_operations(project.definition)
    for target, verb in sorted(listed ^ defined):
        missing_in = API_FILE if (target, verb) in defined else DEFINITION_FILE
        raise ArtifactError(f"{source}/{missing_in}: {verb} {target} is missing, the other file has it")


def list_operations(definition: Mapping[str, object]) -> set[tuple[str, str]]:
    """Return path and verb (upper case) of every operation in an OpenAPI document."""
    found: set[tuple[str, str]] = set()
    paths = definition.get("paths")
    for path, item in cast("dict[str, object]", paths if isinstance(paths, dict) else {}).items():
        if isinstance(item, dict):
            verbs = {str(key).upper() for key in cast("dict[object, object]", item)}
            found |= {(str(path), verb) for verb in verbs & _VERBS}
    return found


_ALLOWED = re.compile(r"https?://[^\s{}@/?#]+[^\s{}]*", re.IGNORECASE)


def is_endpoint_url(url: str) -> bool:
    """Return whether a gateway can call this URL.

    The Publisher accepts further protocols, and any text with a brace: 4.x fills in templates when it calls, and an
    unsubstituted variable looks the same. Neither is accepted here.

    >>> is_endpoint_url("http://localhost:8001"), is_endpoint_url("${SOLAR_BACKEND_URL}"), is_endpoint_url("http:/x")
    (True, False, False)
    """
    if _ALLOWED.fullmatch(url) is None:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
