"""Validation of OpenAPI definitions and their agreement with api.yaml."""

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


def test_an_external_reference_is_rejected_and_not_fetched() -> None:
    elsewhere = GOOD | {"components": {"schemas": {"X": {"$ref": "http://127.0.0.1:9/schema.json"}}}}

    assert "$ref" in (find_definition_error(elsewhere) or "")


def test_a_project_that_agrees_with_its_definition_is_accepted(project: Project) -> None:
    built = project()

    assert find_mismatch(built.api, build_governed_definition(built)) is None


def test_an_operation_on_one_side_alone_is_named(project: Project) -> None:
    built = project()
    definition = build_governed_definition(built)
    paths: Any = definition["paths"]
    paths["/hidden"] = {"get": {"responses": {}}}

    assert find_mismatch(built.api, definition) == "GET /hidden stands in the definition alone"
    assert "api.yaml alone" in (find_mismatch(built.api, {"paths": {}}) or "")


def test_scopes_that_differ_are_named(project: Project) -> None:
    built = project()

    assert "other scopes" in (find_mismatch(built.api, GOOD) or "")
