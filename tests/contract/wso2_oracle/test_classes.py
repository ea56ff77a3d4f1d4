"""Projects, endpoints and codes, as the product's own classes read them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from tests.contract.wso2_oracle.differences import list_documented_differences
from tests.contract.wso2_oracle.oracle import Oracle

from wso2_provisioning.backends import DEFAULT_BACKENDS, build_apictl_params
from wso2_terms import codes
from wso2_terms.api_project import ApiProject, is_endpoint_url
from wso2_terms.artifacts import load_artifacts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

WSO2 = Path(__file__).parents[3] / "wso2"
APIS = sorted(path.parent for path in (WSO2 / "apis").glob("*/api.yaml"))
MCP_SERVERS = sorted(path.parent for path in (WSO2 / "mcp-servers").glob("*/mcp_server.yaml"))
KEPT_AS_TEXT = "`actionDuration` of an endpoint: kept as text"
TEMPLATE = "endpoint with `{` or `}`, which 4.x may fill in at run time: a variable that nothing filled in looks alike"
OTHER_KINDS = "endpoint that is no HTTP address (`ftp:`, `jms:`, `consul(…)`), has a blank or a port out of range"
WORDS = "description of 900901 (part), 900902 and 900908 to 900910: written by the handlers, which do not run alone"
TAKEN = ("http://localhost:8001", "https://solar.example/base", "http://solar_service:80/a?b=c", "http://[::1]:8001")
REFUSED = (
    "",
    "localhost:8001",
    "http://",
    "http:/solar",
    "solar",
    "//solar:8001",
    "http:solar",
    "://solar",
    "1http://a",
)
REFUSED_HERE = {
    TEMPLATE: ("${SOLAR_BACKEND_URL}", "http://{uri.var.host}:80", "http://localhost:{port}"),
    OTHER_KINDS: ("ftp://solar", "jms:/queue", "consul(solar)", "http://a b", "http://solar:99999"),
}


@pytest.mark.parametrize("folder", APIS, ids=lambda folder: folder.name)
def test_every_field_of_an_api_is_read(oracle: Oracle, folder: Path) -> None:
    told = yaml.safe_load((folder / "api.yaml").read_text(encoding="utf-8"))["data"]

    [(place, written, read)] = _differing(told, oracle.ask("api", folder))

    assert place == "endpointConfig.production_endpoints.config.actionDuration"
    assert read == str(written)


@pytest.mark.parametrize("folder", APIS, ids=lambda folder: folder.name)
def test_a_definition_is_read_as_it_stands(oracle: Oracle, folder: Path) -> None:
    written = yaml.safe_load((folder / "Definitions" / "swagger.yaml").read_text(encoding="utf-8"))

    assert list(_differing(written, oracle.ask("definition", folder))) == []


@pytest.mark.parametrize("folder", MCP_SERVERS, ids=lambda folder: folder.name)
def test_every_field_of_an_mcp_server_is_read(oracle: Oracle, folder: Path) -> None:
    told = yaml.safe_load((folder / "mcp_server.yaml").read_text(encoding="utf-8"))["data"]

    assert list(_differing(told, oracle.ask("mcp-server", folder))) == []


@pytest.mark.parametrize("project", load_artifacts(WSO2, DEFAULT_BACKENDS).apis, ids=lambda project: project.root)
def test_apictls_parameters_give_the_endpoint_that_the_bootstrap_gives(oracle: Oracle, project: ApiProject) -> None:
    config = project.api.endpoint_config
    [environment] = cast("list[dict[str, Any]]", build_apictl_params(config, "local")["environments"])

    made = oracle.ask("endpoints", json.dumps(environment["configs"]))

    wanted = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert list(_differing(wanted, made)) == []
    assert oracle.ask("endpoint", made["production_endpoints"]["url"]) is True


@pytest.mark.parametrize("url", TAKEN)
def test_an_endpoint_that_the_publisher_takes_is_taken(oracle: Oracle, url: str) -> None:
    assert (is_endpoint_url(url), oracle.ask("endpoint", url)) == (True, True)


@pytest.mark.parametrize("url", REFUSED)
def test_an_endpoint_that_the_publisher_refuses_is_refused(oracle: Oracle, url: str) -> None:
    assert (is_endpoint_url(url), oracle.ask("endpoint", url)) == (False, False)


@pytest.mark.parametrize("url", [url for urls in REFUSED_HERE.values() for url in urls])
def test_some_endpoints_are_refused_though_the_publisher_takes_them(oracle: Oracle, url: str) -> None:
    assert (is_endpoint_url(url), oracle.ask("endpoint", url)) == (False, True)


def test_a_refused_endpoint_has_the_publishers_code(oracle: Oracle) -> None:
    told = oracle.ask("code", "INVALID_ENDPOINT_URL")

    assert told == {"code": codes.INVALID_ENDPOINT, "status": 400, "message": codes.INVALID_ENDPOINT_MESSAGE}


@pytest.mark.parametrize("fault", [one for one in codes.FAULTS_BY_CODE.values() if one.code.startswith("9009")])
def test_messages_of_refusals_are_the_products(oracle: Oracle, fault: codes.Fault) -> None:
    assert fault.message == oracle.ask("security", fault.code)["message"]


def test_codes_of_throttling_are_the_products(oracle: Oracle) -> None:
    ours = {int(code) for code in codes.FAULTS_BY_CODE if code.startswith("9008")}

    # The two more are of GraphQL alone.
    assert ours == set(oracle.ask("throttling").values()) - {900820, 900821}


def test_each_difference_stands_on_the_page() -> None:
    assert {KEPT_AS_TEXT, TEMPLATE, OTHER_KINDS, WORDS} <= list_documented_differences()


def _differing(told: Any, read: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where something that was told is not read back, with both."""
    if isinstance(told, dict) and isinstance(read, dict):
        for name, value in cast("dict[str, Any]", told).items():
            found = cast("dict[str, Any]", read).get(name)
            yield from _differing(value, found, f"{place}.{name}".lstrip("."))
    elif (
        isinstance(told, list)
        and isinstance(read, list)
        and len(cast("list[Any]", told)) == len(cast("list[Any]", read))
    ):
        for one, other in zip(cast("list[Any]", told), cast("list[Any]", read), strict=True):
            yield from _differing(one, other, f"{place}[]")
    elif told != read:
        yield place, told, read
