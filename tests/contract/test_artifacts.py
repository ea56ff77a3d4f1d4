"""What is given to WSO2 fits together and agrees with the services behind it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from openapi_spec_validator import OpenAPIV30SpecValidator

from wso2_provisioning.applications import EVAPP
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_terms.api_archive import build_governed_definition, read_api_archive, write_api_archive
from wso2_terms.api_project import ApiProject
from wso2_terms.artifacts import Artifacts, load_artifacts
from wso2_terms.deployment import read_deployment
from wso2_terms.mcp_project import McpServerProject
from wso2_terms.policies import PolicyKind
from wso2_terms.tools import list_tools

ROOT = Path(__file__).parents[2]
WSO2_DIR = ROOT / "wso2"
READINGS = ("SolarAPI", "BatteryAPI", "GridAPI")
APIS = (*READINGS, "AgentAPI", "ChargerAPI", "ChargerControlAPI", "SiteAPI")
NO_TOOLS = {"ChargerAPI", "ChargerControlAPI", "SiteAPI"}
"""The loop that commands calls its APIs, and people operate the site: no model is offered either as a tool."""
MCP_SERVERS = {
    "SolarMCP": ("SolarAPI", {"getSolarStatus"}),
    "BatteryMCP": ("BatteryAPI", {"getBatteryStatus"}),
    "GridMCP": ("GridAPI", {"getGridLoad", "getGridPrices", "getGridForecast"}),
    "AgentMCP": (
        "AgentAPI",
        {"optimize_charging", "list_decisions", "explain_decision", "site_status", "get_plan"},
    ),
}
"""Each server with the API behind it and its tools."""


@pytest.fixture(scope="module")
def artifacts() -> Artifacts:
    return load_artifacts(WSO2_DIR, DEFAULT_BACKENDS)


@pytest.fixture(params=APIS)
def project(request: pytest.FixtureRequest, artifacts: Artifacts) -> ApiProject:
    return artifacts.find_api(request.param)


@pytest.fixture(params=MCP_SERVERS)
def server(request: pytest.FixtureRequest, artifacts: Artifacts) -> McpServerProject:
    return artifacts.find_mcp_server(request.param)


def test_the_committed_definitions_carry_the_scopes_of_their_api(project: ApiProject) -> None:
    assert project.definition == build_governed_definition(project)


@pytest.mark.slow
def test_definitions_are_those_of_the_services() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "scripts" / "definitions.py", "--check"], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("name", "paths", "scope", "role"),
    [
        ("SolarAPI", ["/solar/1.0.0/solar-status", "/solar/1.0.0/history"], "solar:read", "Internal/solar_reader"),
        (
            "BatteryAPI",
            ["/battery/1.0.0/battery-status", "/battery/1.0.0/history"],
            "battery:read",
            "Internal/battery_reader",
        ),
        (
            "GridAPI",
            ["/grid/1.0.0/grid-load", "/grid/1.0.0/history", "/grid/1.0.0/grid-forecast", "/grid/1.0.0/grid-prices"],
            "grid:read",
            "Internal/grid_reader",
        ),
    ],
)
def test_each_reading_stands_where_it_is_promised_behind_a_scope_and_role_of_its_own(
    artifacts: Artifacts, name: str, paths: list[str], scope: str, role: str
) -> None:
    api = artifacts.find_api(name).api

    assert [api.versioned_context + operation.target for operation in api.operations] == paths
    assert {operation.scopes for operation in api.operations} == {(scope,)}
    assert {listed.scope.name: listed.scope.bindings for listed in api.scopes} == {scope: (role,)}


def test_only_oauth2_tokens_of_published_apis_are_taken(project: ApiProject) -> None:
    assert set(project.api.security_scheme) == {"oauth2", "oauth_basic_auth_api_key_mandatory"}
    assert project.api.life_cycle_status == "PUBLISHED"
    assert all(operation.auth_type == "Application & Application User" for operation in project.api.operations)


def test_the_plan_stops_an_application_at_10_requests_in_a_minute(project: ApiProject, artifacts: Artifacts) -> None:
    if project.api.name == "SiteAPI":
        pytest.skip("limits its reads one by one")
    assert project.api.policies == ("Energy10PerMin",)
    plan = artifacts.list_plans()["Energy10PerMin"]

    count = plan.default_limit.request_count
    assert (count.request_count, count.window_s, plan.stop_on_quota_reach) == (10, 60, True)


def test_whatever_an_operator_orders_to_lower_power_is_counted_by_nothing(artifacts: Artifacts) -> None:
    site = artifacts.find_api("SiteAPI").api
    counted = {
        (operation.verb, operation.target)
        for operation in site.operations
        if operation.throttling_policy != "Unlimited"
    }

    assert (site.policies, site.api_throttling_policy) == (("Unlimited",), None)
    assert {(operation.verb, operation.target) for operation in site.operations} - counted == {
        ("PUT", "/override"),
        ("PUT", "/site/limit"),
        ("POST", "/kills"),
    }


def test_everything_is_published_over_https_alone(artifacts: Artifacts) -> None:
    published = [project.api.transport for project in artifacts.apis]
    published += [project.server.transport for project in artifacts.mcp_servers]

    assert set(published) == {("https",)}


def test_the_policy_of_the_api_is_wider_than_the_plan(project: ApiProject, artifacts: Artifacts) -> None:
    if project.api.name == "SiteAPI":
        pytest.skip("limits its reads one by one")
    wide = {policy.name: policy.data for policy in artifacts.policies if policy.kind is PolicyKind.ADVANCED}
    limit = wide[project.api.api_throttling_policy or ""].default_limit.request_count
    plan = artifacts.list_plans()["Energy10PerMin"].default_limit.request_count

    assert limit.request_count / limit.window_s > plan.request_count / plan.window_s


def test_every_revision_goes_to_the_default_gateway(project: ApiProject) -> None:
    assert [deployment.deployment_environment for deployment in project.deployments] == ["Default"]


@pytest.mark.parametrize("name", READINGS)
def test_the_gateway_gives_up_before_the_agent_does(artifacts: Artifacts, name: str) -> None:
    behaviour = artifacts.find_api(name).api.endpoint_config.production_endpoints.config

    assert behaviour is not None
    assert behaviour.action_duration is not None
    assert behaviour.action_duration < 8000 / 2


def test_definitions_are_openapi_3_0_3_and_a_manual_for_agents(project: ApiProject) -> None:
    definition = cast("dict[str, Any]", project.definition)

    assert definition["openapi"] == "3.0.3"
    assert definition["info"]["version"] == project.api.version
    for item in definition["paths"].values():
        for operation in item.values():
            assert operation["operationId"]
            assert operation["summary"]
            assert operation["description"]


def test_what_wso2_is_sent_is_still_openapi_3_0_3(project: ApiProject) -> None:
    OpenAPIV30SpecValidator(cast("Any", build_governed_definition(project))).validate()


def test_a_packed_project_is_read_back_as_it_was(project: ApiProject) -> None:
    assert read_api_archive(write_api_archive(project)).api == project.api


def test_apictl_is_told_the_same_name_and_version(project: ApiProject) -> None:
    meta = yaml.safe_load((WSO2_DIR / "apis" / project.root / "api_meta.yaml").read_text())

    assert (meta["name"], meta["version"]) == (project.api.name, project.api.version)
    assert meta["deploy"]["import"] == {"update": True, "preserveProvider": False, "rotateRevision": True}


def test_every_reading_and_decision_is_offered_as_tools_and_nothing_that_commands_is(artifacts: Artifacts) -> None:
    offered = {
        project.server.name: (
            artifacts.find_underlying_api(project).api.name,
            {tool.name for tool in list_tools(project.server, artifacts.find_underlying_api(project).definition)},
        )
        for project in artifacts.mcp_servers
    }

    assert offered == MCP_SERVERS
    assert {api for api, _ in offered.values()} == set(APIS) - NO_TOOLS


def test_a_tool_has_a_scope_of_its_own_bound_to_the_roles_of_the_api_behind(
    server: McpServerProject, artifacts: Artifacts
) -> None:
    word = server.server.name.removesuffix("MCP").lower()
    (listed,) = server.server.scopes
    (behind,) = artifacts.find_underlying_api(server).api.scopes

    assert listed.scope.name == f"{word}:tools"
    assert listed.scope.bindings == behind.scope.bindings
    assert server.server.versioned_context == f"/{word}-mcp/1.0.0"
    assert all(operation.scopes == (listed.scope.name,) for operation in server.server.operations)
    assert all(operation.auth_type == "Application & Application User" for operation in server.server.operations)


def test_tools_are_limited_as_the_api_behind_is(server: McpServerProject, artifacts: Artifacts) -> None:
    # Its own limits are not asked when it is called as a tool.
    api = artifacts.find_underlying_api(server).api

    assert server.server.policies == api.policies
    assert {operation.throttling_policy for operation in server.server.operations} == {api.api_throttling_policy}


def test_tools_only_read(server: McpServerProject) -> None:
    assert {operation.api_operation_mapping.backend_operation.verb for operation in server.server.operations} == {"GET"}


def test_what_a_model_reads_of_a_tool_is_said_in_the_definition_alone(
    server: McpServerProject, artifacts: Artifacts
) -> None:
    for operation in server.server.operations:
        assert (operation.target, operation.description, operation.schema_definition) == (None, None, None)
    for tool in list_tools(server.server, artifacts.find_underlying_api(server).definition):
        assert len(tool.description) > 40
        for described in tool.input_schema["properties"].values():
            assert described["type"]
            assert described["description"]


def test_mcp_servers_go_where_their_api_goes(server: McpServerProject, artifacts: Artifacts) -> None:
    behind = artifacts.find_underlying_api(server)

    assert server.deployments == behind.deployments
    assert server.server.security_scheme == behind.api.security_scheme
    assert server.server.life_cycle_status == behind.api.life_cycle_status


def test_folders_and_files_are_named_after_what_they_hold(artifacts: Artifacts) -> None:
    assert {path.name for path in (WSO2_DIR / "apis").iterdir()} == {project.root for project in artifacts.apis}
    servers = {path.parent.name for path in (WSO2_DIR / "mcp-servers").glob("*/mcp_server.yaml")}
    assert servers == {project.root for project in artifacts.mcp_servers}
    assert {path.stem for path in (WSO2_DIR / "policies").iterdir()} == {policy.name for policy in artifacts.policies}


@pytest.mark.parametrize(
    ("name", "operations", "scope", "role"),
    [
        (
            "ChargerAPI",
            {
                "GET /chargers/1.0.0/chargers": "listChargers",
                "GET /chargers/1.0.0/chargers/{charger_id}": "getCharger",
                "GET /chargers/1.0.0/sessions": "listSessions",
                "GET /chargers/1.0.0/session-forecasts": "getSessionForecasts",
            },
            "chargers:read",
            "Internal/charger_reader",
        ),
        (
            "ChargerControlAPI",
            {"PUT /charger-control/1.0.0/limits": "setLimits"},
            "chargers:control",
            "Internal/charger_controller",
        ),
        (
            "SiteAPI",
            {
                "POST /site/1.0.0/kills": "recordKill",
                "GET /site/1.0.0/kills": "listKills",
                "PUT /site/1.0.0/site/limit": "setSiteLimit",
                "PUT /site/1.0.0/sessions/{session_id}/departure": "setDeparture",
                "PUT /site/1.0.0/sessions/{session_id}/mode": "setMode",
                "PUT /site/1.0.0/override": "setOverride",
                "GET /site/1.0.0/override": "getOverride",
                "GET /site/1.0.0/session-records": "listSessionRecords",
                "GET /site/1.0.0/orders": "listOrders",
            },
            "site:operate",
            "Internal/site_operator",
        ),
    ],
)
def test_each_api_of_the_charger_service_holds_its_own_operations_behind_its_own_scope(
    artifacts: Artifacts, name: str, operations: dict[str, str], scope: str, role: str
) -> None:
    project = artifacts.find_api(name)
    api, paths = project.api, cast("dict[str, Any]", project.definition["paths"])

    assert {
        f"{one.verb} {api.versioned_context}{one.target}": paths[one.target][one.verb.lower()]["operationId"]
        for one in api.operations
    } == operations
    assert {one.scopes for one in api.operations} == {(scope,)}
    assert {listed.scope.name: listed.scope.bindings for listed in api.scopes} == {scope: (role,)}
    assert api.endpoint_config.production_endpoints.url == DEFAULT_BACKENDS["CHARGERS_BACKEND_URL"]


def test_a_definition_names_its_own_api_and_holds_no_schema_that_nothing_names(project: ApiProject) -> None:
    definition = cast("dict[str, Any]", project.definition)
    written = json.dumps(definition)

    assert definition["info"]["title"] == project.api.name
    assert [name for name in definition["components"]["schemas"] if f'schemas/{name}"' not in written] == []


def test_evapp_is_granted_reading_and_setting_limits_and_nothing_that_operates(artifacts: Artifacts) -> None:
    reading = {"solar", "battery", "grid"}
    readings = {f"{word}:{what}" for word in reading for what in ("read", "tools")}
    assert EVAPP.collect_scopes(artifacts) == readings | {"chargers:read", "chargers:control"}
    assert "admin" not in EVAPP.collect_roles(artifacts)
    # Lent to its owner for due work in the portal alone: with it EVApp's own key could undo a kill.
    assert "Internal/subscriber" not in EVAPP.collect_roles(artifacts)


def test_the_server_is_configured_as_the_agent_and_the_services_expect() -> None:
    settings = read_deployment(WSO2_DIR / "conf" / "deployment.toml", {"WSO2_ADMIN_PASSWORD": "from-outside"})

    assert settings.admin_password.get_secret_value() == "from-outside"
    assert (settings.jwt.enable, settings.jwt.header) == (True, "X-JWT-Assertion")
    assert settings.jwt.encoding == "base64url"
    assert settings.restrict_unassigned_scopes
    assert settings.build_issuer_with_hostname
    assert (settings.analytics.enable, settings.analytics.type) == (True, "elk")
