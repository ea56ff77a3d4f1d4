import io
import zipfile
from typing import Any, cast

import pytest

from wso2_terms.api_archive import MAX_ARCHIVE_BYTES, build_governed_definition, read_api_archive, write_api_archive
from wso2_terms.api_project import ApiProject, parse_api_project
from wso2_terms.documents import ArtifactError

Files = dict[str, str]


@pytest.fixture
def project(files: Files) -> ApiProject:
    return parse_api_project(files, "SolarAPI", {"SOLAR_BACKEND_URL": "http://127.0.0.1:8001"})


def pack(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def test_what_was_packed_is_read_back_with_its_definition_governed(project: ApiProject) -> None:
    unpacked = read_api_archive(write_api_archive(project))

    assert (unpacked.api, unpacked.deployments) == (project.api, project.deployments)
    assert unpacked.definition == build_governed_definition(project)


def test_packing_again_what_was_unpacked_gives_the_same_bytes(project: ApiProject) -> None:
    packed = write_api_archive(project)

    assert write_api_archive(project) == packed
    assert write_api_archive(read_api_archive(packed)) == packed


def test_every_entry_lies_in_the_one_root_folder(project: ApiProject) -> None:
    with zipfile.ZipFile(io.BytesIO(write_api_archive(project))) as archive:
        assert sorted(archive.namelist()) == [
            "SolarAPI-1.0.0/Definitions/swagger.yaml",
            "SolarAPI-1.0.0/api.yaml",
            "SolarAPI-1.0.0/deployment_environments.yaml",
        ]


def test_the_governed_definition_carries_scopes_roles_and_security(project: ApiProject) -> None:
    governed = cast("dict[str, Any]", build_governed_definition(project))

    flow = governed["components"]["securitySchemes"]["default"]["flows"]["implicit"]
    assert flow["x-scopes-bindings"] == {"solar:read": "Internal/solar_reader"}
    operation = governed["paths"]["/solar-status"]["get"]
    assert operation["security"] == [{"default": ["solar:read"]}]
    assert operation["x-auth-type"] == "Any"


def test_governing_leaves_the_projects_own_definition_alone(project: ApiProject) -> None:
    build_governed_definition(project)

    assert "components" not in project.definition


@pytest.mark.parametrize(
    "archive",
    [
        b"no zip at all",
        pack({"api.yaml": "type: api"}),
        pack({"One-1/api.yaml": "type: api", "Two-1/api.yaml": "type: api"}),
        pack({"One-1/Definitions/swagger.yaml": "openapi: 3.0.3"}),
        pack({"One-1/api.yaml": "a" * (MAX_ARCHIVE_BYTES + 1)}),
    ],
    ids=["no zip", "no root folder", "two root folders", "no api.yaml", "too large"],
)
def test_an_archive_that_wso2_would_not_take_is_refused(archive: bytes) -> None:
    with pytest.raises(ArtifactError):
        read_api_archive(archive)


def test_files_that_are_not_needed_are_passed_over(project: ApiProject) -> None:
    packed = io.BytesIO(write_api_archive(project))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("SolarAPI-1.0.0/Docs/manual.md", b"\xff")

    assert read_api_archive(packed.getvalue()).api == project.api
