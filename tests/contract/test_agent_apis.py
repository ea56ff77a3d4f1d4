"""The agent calls what is published: names, paths and scopes are those of the artifacts, over REST and over MCP."""

from pathlib import Path
from typing import Any, cast

import pytest

from charging_agent.charging.charger_api import CHARGER_APIS, CHARGERS, LIMITS
from charging_agent.gateway.calls import PublishedApi, ReadingApi
from charging_agent.readings.apis import SOURCES
from charging_agent.readings.forecasts import GRID_FORECAST
from charging_agent.readings.prices import GRID_PRICES
from wso2_provisioning.applications import EVAPP
from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_terms.artifacts import Artifacts, load_artifacts
from wso2_terms.mcp import MCP_RESOURCE
from wso2_terms.tools import list_tools, read_tools_lock

WSO2_DIR = Path(__file__).parents[2] / "wso2"


@pytest.fixture(scope="module")
def artifacts() -> Artifacts:
    return load_artifacts(WSO2_DIR, DEFAULT_BACKENDS)


APIS = (*SOURCES, GRID_PRICES, GRID_FORECAST)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.operation_id)
def test_the_agent_asks_for_an_operation_that_is_published_with_the_scope_it_needs(
    artifacts: Artifacts, api: ReadingApi[Any]
) -> None:
    published = artifacts.find_api(api.name)
    (operation,) = [found for found in published.api.operations if found.target == api.target]
    paths = cast("dict[str, Any]", published.definition)["paths"]

    assert (operation.verb, operation.scopes) == ("GET", (api.scope,))
    assert api.path == published.api.versioned_context + operation.target
    assert api.publication("rest").version == published.api.version
    assert paths[api.target]["get"]["operationId"] == api.operation_id


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.operation_id)
def test_the_tool_it_calls_is_that_operation_approved_and_without_arguments(
    artifacts: Artifacts, api: ReadingApi[Any]
) -> None:
    seen = api.publication("mcp")
    project = artifacts.find_mcp_server(seen.name)
    behind = artifacts.find_underlying_api(project)
    tools = {tool.name: tool for tool in list_tools(project.server, behind.definition)}

    assert behind.api.name == api.name
    assert (project.root, seen.path) == (seen.artifact_name, project.server.versioned_context + MCP_RESOURCE)
    assert {scope for operation in project.server.operations for scope in operation.scopes} == {seen.scope}
    assert "required" not in tools[api.operation_id].input_schema
    assert read_tools_lock(WSO2_DIR / "mcp-servers" / "tools.lock")[seen.artifact_name] == tools


@pytest.mark.parametrize(
    ("seen", "operation_id"), [(CHARGERS, "listChargers"), (LIMITS, "setLimits")], ids=lambda it: str(it)
)
def test_the_chargers_are_read_and_limited_where_that_is_published(
    artifacts: Artifacts, seen: PublishedApi, operation_id: str
) -> None:
    published = artifacts.find_api(seen.name)
    target = seen.path.removeprefix(published.api.versioned_context)
    (operation,) = [found for found in published.api.operations if found.target == target]
    paths = cast("dict[str, Any]", published.definition)["paths"]

    assert (seen.resource, operation.scopes) == (f"{operation.verb} {seen.path}", (seen.scope,))
    assert seen.version == published.api.version
    assert paths[target][operation.verb.lower()]["operationId"] == operation_id


def test_evapp_is_subscribed_to_all_of_it_and_to_nothing_else() -> None:
    readings = {api.publication(protocol).name for api in SOURCES for protocol in ("rest", "mcp")}
    assert set(EVAPP.products) == readings | {api.name for api in CHARGER_APIS}
