"""MCP server projects: accepted and rejected files."""

import json
from pathlib import Path
from typing import Protocol

import pytest

from wso2_terms.artifacts import load_artifacts
from wso2_terms.documents import ArtifactError
from wso2_terms.mcp_project import parse_mcp_project, read_mcp_project

Files = dict[str, str]
ENVIRONMENT = {"SOLAR_BACKEND_URL": "http://127.0.0.1:8001"}
SERVER = """\
type: mcp_server
version: v4.6.0
data:
  name: SolarMCP
  context: /solar-mcp
  version: 1.0.0
  lifeCycleStatus: PUBLISHED
  policies: [Gold]
  securityScheme: [oauth2]
  subtypeConfiguration: {subtype: EXISTING_API}
  scopes:
    - scope: {name: "solar:tools", bindings: [Internal/solar_reader, Internal/tool_caller]}
  operations:
    - scopes: ["solar:tools"]
      throttlingPolicy: 10KPerMin
      apiOperationMapping:
        apiName: SolarAPI
        apiVersion: 1.0.0
        backendOperation: {target: /solar-status, verb: GET}
"""
DEPLOYMENTS = """\
type: deployment_environments
version: v4.6.0
data: [{displayOnDevportal: true, deploymentEnvironment: Default}]
"""


class Change(Protocol):
    def __call__(self, old: str = "", new: str = "") -> Files: ...


@pytest.fixture
def server() -> Change:
    """The files of an MCP server with one text in it changed."""

    def change(old: str = "", new: str = "") -> Files:
        assert old in SERVER
        text = SERVER.replace(old, new) if old else SERVER
        return {"mcp_server.yaml": text, "deployment_environments.yaml": DEPLOYMENTS}

    return change


@pytest.fixture
def root(tmp_path: Path, files: Files, server: Change) -> Path:
    """A folder with SolarAPI and SolarMCP, which is created from it."""
    api = {name: text.replace("Energy10PerMin", "Gold") for name, text in files.items()}
    write(tmp_path / "apis" / "SolarAPI-1.0.0", api)
    write(tmp_path / "mcp-servers" / "SolarMCP-1.0.0", server())
    return tmp_path


def write(folder: Path, files: Files) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_project_says_server_tools_and_where_it_goes(tmp_path: Path, server: Change) -> None:
    write(tmp_path, server())

    project = read_mcp_project(tmp_path, {})

    assert (project.root, project.format_version) == ("SolarMCP-1.0.0", "v4.6.0")
    assert project.server.versioned_context == "/solar-mcp/1.0.0"
    assert project.server.underlying_api == ("SolarAPI", "1.0.0")
    assert [deployment.deployment_environment for deployment in project.deployments] == ["Default"]


def test_a_project_without_deployments_is_deployed_nowhere(tmp_path: Path, server: Change) -> None:
    write(tmp_path, {"mcp_server.yaml": server()["mcp_server.yaml"]})

    assert read_mcp_project(tmp_path, {}).deployments == ()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("context: /solar-mcp", "contxt: /solar-mcp", r"data\.context: Field required"),
        ("EXISTING_API", "DIRECT_BACKEND", "data.subtypeConfiguration.subtype"),
        ("verb: GET", "verb: TOOL", "backendOperation.verb"),
        ("type: mcp_server", "type: api", "type"),
        ('- scopes: ["solar:tools"]', '- scopes: ["solar:tool"]', "needs scope solar:tool, which"),
        ("name: SolarMCP", "name: ${NAME}", "needs the variable NAME"),
    ],
)
def test_what_is_not_understood_is_named(server: Change, old: str, new: str, complaint: str) -> None:
    with pytest.raises(ArtifactError, match=complaint):
        parse_mcp_project(server(old, new), "SolarMCP-1.0.0", {})


@pytest.mark.parametrize(
    "schema",
    ["", "[]", "{", '{"properties": []}', '{"properties": {"x": 1}}', '{"required": "x"}', '{"required": [1]}'],
)
def test_a_stored_schema_that_cannot_be_read_is_refused_where_it_comes_in(server: Change, schema: str) -> None:
    written = f"schemaDefinition: {json.dumps(schema)}\n      throttlingPolicy: 10KPerMin"

    with pytest.raises(ArtifactError, match="schemaDefinition"):
        parse_mcp_project(server("throttlingPolicy: 10KPerMin", written), "SolarMCP-1.0.0", {})


def test_a_project_without_its_file_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"mcp_server\.yaml is missing"):
        parse_mcp_project({}, "SolarMCP-1.0.0", {})


def test_one_server_takes_one_api(server: Change) -> None:
    second = SERVER[SERVER.index("    - scopes:") :].replace("SolarAPI", "GridAPI")

    with pytest.raises(ArtifactError, match="one MCP server takes one API"):
        parse_mcp_project({"mcp_server.yaml": SERVER + second}, "SolarMCP-1.0.0", {})


def test_scopes_and_roles_of_servers_are_listed_with_those_of_apis(root: Path) -> None:
    artifacts = load_artifacts(root, ENVIRONMENT)

    assert [scope.name for scope in artifacts.list_scopes()] == ["solar:read", "solar:tools"]
    assert artifacts.list_roles() == ("Internal/solar_reader", "Internal/tool_caller")
    assert artifacts.find_underlying_api(artifacts.find_mcp_server("SolarMCP")) is artifacts.find_api("SolarAPI")
    with pytest.raises(KeyError):
        artifacts.find_mcp_server("LunarMCP")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("apiName: SolarAPI", "apiName: LunarAPI", "no API LunarAPI 1.0.0 is among the projects"),
        ("apiVersion: 1.0.0", "apiVersion: 2.0.0", "no API SolarAPI 2.0.0 is among the projects"),
        ("target: /solar-status", "target: /moon-status", "has no operation GET /moon-status"),
        ("verb: GET", "verb: POST", "has no operation POST /solar-status"),
        ("apiVersion: 1.0.0", "apiVersion: 1.0.0\n        apiContext: /moon/1.0.0", "is served under /solar/1.0.0"),
        ("policies: [Gold]", "policies: [Golden]", "no subscription policy Golden"),
        ("throttlingPolicy: 10KPerMin", "throttlingPolicy: Wide", "no advanced policy Wide"),
        ("securityScheme", "throttlingPolicy: Wide\n  securityScheme", "no advanced policy Wide"),
        ("context: /solar-mcp", "context: /solar", "context /solar/1.0.0 is claimed by SolarAPI-1.0.0 and SolarMCP"),
        ("solar:tools", "solar:read", "scope solar:read is claimed by SolarAPI-1.0.0 and SolarMCP"),
    ],
)
def test_a_server_that_does_not_fit_the_rest_is_refused(
    root: Path, server: Change, old: str, new: str, complaint: str
) -> None:
    write(root / "mcp-servers" / "SolarMCP-1.0.0", server(old, new))

    with pytest.raises(ArtifactError, match=complaint):
        load_artifacts(root, ENVIRONMENT)
