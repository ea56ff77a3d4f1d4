"""API projects as apictl writes them and WSO2 imports them: api.yaml, deployment, definition, archive.

Pure apart from reading a folder that is named. Knows the format, not who serves it.
Source: WSO2 API Manager 4.6.0, Publisher REST API v4 (schema API) and apictl 4.6 (project layout).
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
    """A scope and the roles whose members may be granted it; no role binds it to nobody in particular."""

    name: Name
    display_name: str | None = None
    description: str | None = None
    bindings: tuple[str, ...] = ()


class ApiScope(StrictModel):
    """A scope as an API lists it; a local one (not shared) belongs to one API alone."""

    shared: bool = False
    scope: Scope


class Operation(StrictModel):
    """One resource and verb. A token needs one of its scopes, not all of them."""

    target: Annotated[str, Field(pattern=r"^/")]
    verb: Verb
    auth_type: AuthType = "Any"
    throttling_policy: str = "Unlimited"
    scopes: tuple[str, ...] = ()


class EndpointBehaviour(StrictModel):
    """When the gateway gives up on a backend.

    action_duration: how long an answer may take [ms].
    suspend_duration: how long a failed backend is not asked again [ms]; 0 switches suspension off.
    """

    action_select: Literal["fault", "discard", "never"] | None = None
    action_duration: Annotated[int, Field(ge=0)] | None = None
    suspend_duration: Annotated[int, Field(ge=0)] | None = None
    suspend_max_duration: Annotated[int, Field(ge=0)] | None = None
    factor: Annotated[float, Field(gt=0)] | None = None


class Endpoint(StrictModel):
    """A backend."""

    url: Annotated[str, Field(min_length=1)]
    config: EndpointBehaviour | None = None


class EndpointConfig(StrictModel):
    """The backends of an API; WSO2 writes these three with underscores."""

    model_config = ConfigDict(alias_generator=None)

    endpoint_type: Literal["http"]
    production_endpoints: Endpoint
    sandbox_endpoints: Endpoint | None = None


class CorsConfiguration(StrictModel):
    """What browsers of other origins may do."""

    cors_configuration_enabled: bool = False
    access_control_allow_origins: tuple[str, ...] = ()
    access_control_allow_credentials: bool = False
    access_control_allow_headers: tuple[str, ...] = ()
    access_control_allow_methods: tuple[str, ...] = ()


class MaxTps(StrictModel):
    """How much the backend takes altogether; beyond it the gateway answers 503, 900801."""

    production: Annotated[int, Field(gt=0)] | None = None
    production_time_unit: Literal["SECOND", "MINUTE", "HOUR"] = "SECOND"
    sandbox: Annotated[int, Field(gt=0)] | None = None
    sandbox_time_unit: Literal["SECOND", "MINUTE", "HOUR"] = "SECOND"


class AdditionalProperty(StrictModel):
    """A name and value that an API carries along."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    value: str
    display: bool = False


class Api(StrictModel):
    """The `data` of api.yaml.

    context: without the version, which the gateway puts behind it.
    policies: business plans that an application may subscribe with.
    api_throttling_policy: advanced policy for all callers together; None leaves it to the operations.
    """

    name: Name
    display_name: str | None = None
    description: str | None = None
    context: Context
    version: Version
    provider: str = "admin"
    life_cycle_status: Literal["CREATED", "PUBLISHED", "PROTOTYPED", "DEPRECATED", "BLOCKED", "RETIRED"]
    type: Literal["HTTP"] = "HTTP"
    is_default_version: bool = False
    transport: tuple[Literal["http", "https"], ...] = ("http", "https")
    tags: tuple[str, ...] = ()
    policies: Annotated[tuple[str, ...], Field(min_length=1)]
    api_throttling_policy: str | None = None
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
        """Where the gateway serves it, and `apicontext` of its backend JWT: `/solar/1.0.0`."""
        return f"{self.context}/{self.version}"


class Deployment(StrictModel):
    """A gateway environment that a revision goes to."""

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
    """One API as it is imported.

    definition: its OpenAPI document.
    deployments: empty when the project has no deployment_environments.yaml; then nothing is deployed.
    format_version: `version` of its files, e.g. `v4.6.0`.
    """

    api: Api
    deployments: tuple[Deployment, ...]
    definition: dict[str, object]
    format_version: str = "v4.6.0"

    @property
    def root(self) -> str:
        """Name of the project's folder: `SolarAPI-1.0.0`."""
        return f"{self.api.name}-{self.api.version}"


def read_api_project(folder: Path, environment: Mapping[str, str]) -> ApiProject:
    """Read a project's folder and put the environment's variables in, as apictl does at import.

    Raises:
        ArtifactError: a file is missing or not understood, or a variable is not set.
    """
    files = {name: read_text(folder / name) for name in (API_FILE, DEFINITION_FILE)}
    if (folder / DEPLOYMENTS_FILE).exists():
        files[DEPLOYMENTS_FILE] = read_text(folder / DEPLOYMENTS_FILE)
    return parse_api_project(files, str(folder), environment)


def parse_api_project(
    files: Mapping[str, str], source: str, environment: Mapping[str, str] | None = None
) -> ApiProject:
    """Make a project of its files' texts.

    Args:
        files: by path inside the project.
        source: what to call the project in errors.
        environment: variables to put in; None leaves texts as they are, for what was imported already.

    Raises:
        ArtifactError: a file is missing or not understood, or a variable is not set.
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
    # Variables are left alone here: `${…}` is ordinary text in a description of an interface.
    definition = parse(DEFINITION_FILE)
    if not isinstance(definition, dict) or "openapi" not in definition:
        raise ArtifactError(f"{source}/{DEFINITION_FILE}: openapi: is no OpenAPI 3 document")
    project = ApiProject(document.data, deployments, cast("dict[str, object]", definition), document.version)
    required = [(f"{operation.verb} {operation.target}", operation.scopes) for operation in project.api.operations]
    check_scopes(project.api.scopes, required, f"{source}/{API_FILE}")
    _check_operations(project, source)
    return project


def parse_deployments(text: str, source: str, environment: Mapping[str, str] | None) -> tuple[Deployment, ...]:
    """Read deployment_environments.yaml, which API and MCP server projects have alike.

    Args:
        text: the file's.
        source: what to call it in errors.
        environment: variables to put in; None leaves texts as they are.

    Raises:
        ArtifactError: it is not understood, or a variable is not set.
    """
    parsed = parse_yaml(text, source)
    value = parsed if environment is None else substitute(parsed, environment, source)
    return validate(value, _DeploymentsFile, source).data


def check_scopes(declared: Iterable[ApiScope], required: Iterable[tuple[str, Iterable[str]]], source: str) -> None:
    """See that a project declares each scope that its operations or tools need.

    Args:
        declared: the project's scopes.
        required: what errors call an operation, and its scopes.
        source: what to call the file in errors.

    Raises:
        ArtifactError: a scope is needed and not declared.
    """
    names = {listed.scope.name for listed in declared}
    for operation, scope in ((operation, scope) for operation, scopes in required for scope in scopes):
        if scope not in names:
            raise ArtifactError(f"{source}: data.operations: {operation} needs scope {scope}, which data.scopes lacks")


def _check_operations(project: ApiProject, source: str) -> None:
    # WSO2 serves what the definition says, api.yaml only says how: an operation that stands in the
    # definition alone would be open to every token.
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
    """Tell whether a gateway can call this address.

    The Publisher takes other protocols as well, and whatever has a brace: 4.x fills templates in when it calls, and a
    variable that nobody filled in looks alike. Here neither is of use.

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
