"""API projects as the zip archives that WSO2's import accepts.

Source: carbon-apimgt 9.33.90 (ImportUtils): exactly one root folder, named in every entry.
"""

import copy
import io
import zipfile
from typing import cast

from wso2_terms.api_project import (
    API_FILE,
    DEFINITION_FILE,
    DEPLOYMENTS_FILE,
    ApiProject,
    parse_api_project,
)
from wso2_terms.documents import ArtifactError, write_yaml

MAX_ARCHIVE_BYTES = 20_000_000
"""Largest accepted unpacked size [byte]; an OpenAPI document has a few hundred kilobytes at most."""

# The earliest time that a zip archive can contain; with the current time, equal projects would give different bytes.
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def write_api_archive(project: ApiProject) -> bytes:
    """Pack a project with its governed definition; equal projects give equal bytes."""
    files = {
        API_FILE: write_yaml(
            {
                "type": "api",
                "version": project.format_version,
                "data": project.api.model_dump(mode="json", by_alias=True, exclude_unset=True),
            }
        ),
        DEFINITION_FILE: write_yaml(build_governed_definition(project)),
    }
    if project.deployments:
        files[DEPLOYMENTS_FILE] = write_yaml(
            {
                "type": "deployment_environments",
                "version": project.format_version,
                "data": [
                    deployment.model_dump(mode="json", by_alias=True, exclude_unset=True)
                    for deployment in project.deployments
                ],
            }
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{project.root}/{name}", _FIXED_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            # Fixed as well, because the default depends on the operating system.
            entry.create_system = 3
            archive.writestr(entry, files[name])
    return packed.getvalue()


def build_governed_definition(project: ApiProject) -> dict[str, object]:
    """Return the definition with the scopes, roles and security of api.yaml.

    WSO2's import overwrites scopes and operations of api.yaml with those in the definition, so that a definition
    without them would publish an API that any token can call. The committed definitions contain them
    (scripts/definitions.py); packing writes them again, so that a definition without them cannot be imported.

    Source: carbon-apimgt, ImportUtils.importApi and PublisherCommonUtils.updateSwagger (scheme `default`,
    `x-scopes-bindings`, `x-auth-type`, `x-throttling-tier`).
    """
    scopes = [listed.scope for listed in project.api.scopes]
    definition = copy.deepcopy(project.definition)
    components = _enter_mapping(definition, "components")
    _enter_mapping(components, "securitySchemes")["default"] = {
        "type": "oauth2",
        "flows": {
            "implicit": {
                # Required by WSO2, but unused.
                "authorizationUrl": "https://test.com",
                "scopes": {scope.name: scope.description or "" for scope in scopes},
                "x-scopes-bindings": {scope.name: ",".join(scope.bindings) for scope in scopes},
            }
        },
    }
    for operation in project.api.operations:
        defined = _enter_mapping(
            _enter_mapping(_enter_mapping(definition, "paths"), operation.target), operation.verb.lower()
        )
        defined["security"] = [{"default": list(operation.scopes)}]
        defined["x-auth-type"] = operation.auth_type
        defined["x-throttling-tier"] = operation.throttling_policy
    return definition


def _enter_mapping(parent: dict[str, object], key: str) -> dict[str, object]:
    return cast("dict[str, object]", parent.setdefault(key, {}))


def read_api_archive(data: bytes) -> ApiProject:
    """Unpack a project without substituting variables, which is done before packing.

    Raises:
        ArtifactError: Not a zip archive, more than one root folder, too large, or a file in it is invalid.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_ARCHIVE_BYTES:
                raise ArtifactError(f"archive: unpacks to more than {MAX_ARCHIVE_BYTES} bytes")
            root = _find_root_folder(archive.namelist())
            prefix = f"{root}/"
            files = {
                name.removeprefix(prefix): archive.read(name).decode("utf-8")
                for name in archive.namelist()
                if name.removeprefix(prefix) in (API_FILE, DEPLOYMENTS_FILE, DEFINITION_FILE)
            }
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"archive: cannot be unpacked ({type(error).__name__})") from error
    return parse_api_project(files, root)


def _find_root_folder(names: list[str]) -> str:
    roots = {name.split("/", 1)[0] for name in names}
    if len(roots) != 1 or not all("/" in name for name in names):
        raise ArtifactError("archive: must hold exactly one root folder")
    return roots.pop()
