from collections.abc import Callable
from pathlib import Path

import pytest

from wso2_terms.api_project import ApiProject, parse_api_project, read_api_project
from wso2_terms.documents import ArtifactError

Files = dict[str, str]
ENVIRONMENT = {"SOLAR_BACKEND_URL": "http://127.0.0.1:8001"}


def parse(files: Files) -> ApiProject:
    return parse_api_project(files, "SolarAPI", ENVIRONMENT)


def test_a_project_is_read_with_variables_put_in(files: Files) -> None:
    project = parse(files)

    assert project.root == "SolarAPI-1.0.0"
    assert project.api.versioned_context == "/solar/1.0.0"
    assert project.api.endpoint_config.production_endpoints.url == "http://127.0.0.1:8001"
    assert [deployment.deployment_environment for deployment in project.deployments] == ["Default"]


def test_a_folder_is_read_like_its_files(files: Files, tmp_path: Path) -> None:
    (tmp_path / "Definitions").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert read_api_project(tmp_path, ENVIRONMENT) == parse(files)


def test_text_of_the_definition_is_left_alone(files: Files) -> None:
    info = parse(files).definition["info"]

    assert info == {"title": "SolarAPI", "version": "1.0.0", "description": "costs ${NOTHING}"}


@pytest.mark.parametrize("environment", [{}, {"SOLAR_BACKEND_URL": ""}])
def test_a_variable_that_is_not_set_is_named_with_its_file(files: Files, environment: dict[str, str]) -> None:
    with pytest.raises(ArtifactError, match=r"SolarAPI/api\.yaml: needs the variable SOLAR_BACKEND_URL"):
        parse_api_project(files, "SolarAPI", environment)


def test_a_variable_cannot_change_the_shape_of_the_document(files: Files) -> None:
    project = parse_api_project(files, "SolarAPI", {"SOLAR_BACKEND_URL": 'x"}\n  scopes: []\n'})

    assert len(project.api.scopes) == 1


def test_without_a_deployments_file_nothing_is_deployed(files: Files) -> None:
    del files["deployment_environments.yaml"]

    assert parse(files).deployments == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  name: SolarAPI", "  name: SolarAPI\n  colour: red", r"data\.colour"),
        ("verb: GET", "verb: GRAB", r"data\.operations\.0\.verb"),
        ("context: /solar", "context: /solar/", r"data\.context"),
        ("context: /solar", "context: solar", r"data\.context"),
        ("policies: [Energy10PerMin]", "policies: []", r"data\.policies"),
        ("version: 1.0.0", "version: 1.0", r"data\.version"),
        ("type: api", "type: mcp_server", r"type"),
        ("endpoint_type: http", "endpointType: http", r"endpoint_type"),
        ('scopes: ["solar:read"]', 'scopes: ["solar:write"]', r"GET /solar-status needs scope solar:write"),
        ("target: /solar-status", "target: /solar", r"swagger\.yaml: GET /solar is missing"),
        ("  context: /solar", "  context: /solar\n  context: /sun", r"'context' is written twice"),
        ("data:\n", "data: [\n", r"not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(
    change_files: Callable[[str, str, str], Files], old: str, new: str, told: str
) -> None:
    with pytest.raises(ArtifactError, match=told) as caught:
        parse(change_files("api.yaml", old, new))

    assert str(caught.value).startswith("SolarAPI/")


def test_an_operation_of_the_definition_that_api_yaml_forgets_is_refused(
    change_files: Callable[[str, str, str], Files],
) -> None:
    with pytest.raises(ArtifactError, match=r"api\.yaml: POST /solar-status is missing"):
        parse(change_files("Definitions/swagger.yaml", "    get:", "    post: {responses: {}}\n    get:"))


def test_a_missing_file_is_named(files: Files) -> None:
    del files["Definitions/swagger.yaml"]

    with pytest.raises(ArtifactError, match=r"Definitions/swagger\.yaml is missing"):
        parse(files)
