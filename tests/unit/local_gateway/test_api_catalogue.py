"""Which definitions are taken, and where they must agree with api.yaml."""

from collections.abc import Callable
from typing import Any

import pytest

from local_gateway.management.api_catalogue import find_definition_error, find_mismatch
from wso2_terms.api_archive import build_governed_definition
from wso2_terms.api_project import ApiProject

INFO = {"title": "SolarAPI", "version": "1.0.0"}
GOOD: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": INFO,
    "paths": {"/solar-status": {"get": {"responses": {"200": {"description": "status"}}}}},
}
Project = Callable[..., ApiProject]


def test_a_valid_definition_of_3_0_has_no_fault() -> None:
    assert find_definition_error(GOOD) is None


@pytest.mark.parametrize("version", ["3.1.0", "2.0", ""])
def test_other_versions_than_3_0_are_refused(version: str) -> None:
    assert "3.0" in (find_definition_error(GOOD | {"openapi": version}) or "")


def test_a_fault_names_its_place() -> None:
    broken: dict[str, Any] = GOOD | {"paths": {"/solar-status": {"get": {}}}}

    assert (find_definition_error(broken) or "").startswith("paths//solar-status/get")


def test_a_reference_to_elsewhere_is_refused_and_not_followed() -> None:
    elsewhere = GOOD | {"components": {"schemas": {"X": {"$ref": "http://127.0.0.1:9/schema.json"}}}}

    assert "$ref" in (find_definition_error(elsewhere) or "")


def test_a_project_whose_halves_agree_is_taken(project: Project) -> None:
    made = project()

    assert find_mismatch(made.api, build_governed_definition(made)) is None


def test_an_operation_on_one_side_alone_is_named(project: Project) -> None:
    made = project()
    definition = build_governed_definition(made)
    paths: Any = definition["paths"]
    paths["/hidden"] = {"get": {"responses": {}}}

    assert find_mismatch(made.api, definition) == "GET /hidden stands in the definition alone"
    assert "api.yaml alone" in (find_mismatch(made.api, {"paths": {}}) or "")


def test_scopes_that_differ_are_named(project: Project) -> None:
    made = project()

    assert "other scopes" in (find_mismatch(made.api, GOOD) or "")
