"""What WSO2 is given is written in its own words: a misspelt field name is refused before anything is sent.

WSO2's import passes over an unknown field, or fails without a reason (500, 900967); here a test fails and names it.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_terms.api_project import API_FILE, DEFINITION_FILE, DEPLOYMENTS_FILE, parse_api_project
from wso2_terms.documents import ArtifactError
from wso2_terms.mcp_project import MCP_SERVER_FILE, parse_mcp_project
from wso2_terms.policies import read_policy

if TYPE_CHECKING:
    from tests.contract.wso2_specs.conftest import Specification

WSO2_DIR = Path(__file__).parents[3] / "wso2"
POLICIES = sorted((WSO2_DIR / "policies").glob("*.yaml"))
APIS = sorted((WSO2_DIR / "apis").glob("*/api.yaml"))
MCP_SERVERS = sorted((WSO2_DIR / "mcp-servers").glob(f"*/{MCP_SERVER_FILE}"))
METAS = sorted((WSO2_DIR / "apis").glob("*/api_meta.yaml"))
DEPLOYMENTS = sorted(WSO2_DIR.glob(f"*/*/{DEPLOYMENTS_FILE}"))

Document = dict[str, Any]
Place = tuple[str | int, ...]

SCHEMAS = {
    "api": ("publisher", "API"),
    "mcp_server": ("publisher", "MCPServer"),
    "subscription policy": ("admin", "SubscriptionThrottlePolicy"),
    "advanced policy": ("admin", "AdvancedThrottlePolicy"),
    "application policy": ("admin", "ApplicationThrottlePolicy"),
}
"""Surface and schema of a file's `data`, by its `subtype`, else its `type`."""
DEPARTURES = {
    # Read-only by the specification; yet the projects that apictl makes hold them.
    "keyManagers: breaks readOnly True",
    "subtypeConfiguration.subtype: breaks readOnly True",
}

META_FIELDS: set[Place] = {
    ("name",),
    ("version",),
    ("deploy",),
    ("deploy", "import"),
    *(("deploy", "import", option) for option in ("update", "preserveProvider", "rotateRevision")),
}
"""What apictl 4.6 reads in api_meta.yaml; it stands in no specification, and only apictl reads the file."""

# A misspelling that no list of names can hold by chance.
MISSPELT = "Zz"


def format_path(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", [*APIS, *MCP_SERVERS, *POLICIES], ids=format_path)
def test_every_field_of_an_artifact_stands_in_its_schema(
    path: Path, specifications: "dict[str, Specification]"
) -> None:
    complaints = _complaints(_read(path), specifications)

    assert complaints - DEPARTURES == set()


def test_departures_of_the_artifacts_still_occur(specifications: "dict[str, Specification]") -> None:
    found: set[str] = set()
    for path in (*APIS, *MCP_SERVERS):
        found |= _complaints(_read(path), specifications)

    assert DEPARTURES - found == set()


@pytest.mark.parametrize("path", [*APIS, *MCP_SERVERS, *POLICIES], ids=format_path)
def test_each_misspelt_field_name_breaks_the_schema(path: Path, specifications: "dict[str, Specification]") -> None:
    document = _read(path)
    # The specification leaves open what stands in an endpoint; the reader of the next test does not.
    places = [place for place in _fields(document["data"]) if "endpointConfig" not in place[:-1]]

    unnoticed = [
        place
        for place in places
        if _complaints(document | {"data": _misspelt(document["data"], place)}, specifications) <= DEPARTURES
    ]

    assert len(places) > 5
    assert unnoticed == []


@pytest.mark.parametrize("path", [*APIS, *MCP_SERVERS, *DEPLOYMENTS, *POLICIES], ids=format_path)
def test_each_misspelt_field_name_is_refused_by_the_bootstrap_before_anything_is_sent(path: Path) -> None:
    document = _read(path)
    _take(path, document)

    unnoticed = [place for place in _fields(document) if _is_taken(path, _misspelt(document, place))]

    assert unnoticed == []


@pytest.mark.parametrize("path", METAS, ids=format_path)
def test_every_field_that_apictl_is_told_is_one_of_its_own(path: Path) -> None:
    assert set(_fields(_read(path))) - META_FIELDS == set()


def _read(path: Path) -> Document:
    return cast("Document", yaml.safe_load(path.read_text(encoding="utf-8")))


def _complaints(document: Document, specifications: "dict[str, Specification]") -> set[str]:
    surface, schema = SCHEMAS[document.get("subtype") or document["type"]]
    return set(specifications[surface].of_value(schema, document["data"]))


def _fields(value: object, place: Place = ()) -> Iterator[Place]:
    """Where each field name of a document stands."""
    if isinstance(value, dict):
        for name, entry in cast("Document", value).items():
            yield (*place, name)
            yield from _fields(entry, (*place, name))
    elif isinstance(value, list):
        for number, entry in enumerate(cast("list[object]", value)):
            yield from _fields(entry, (*place, number))


def _misspelt(document: Document, place: Place) -> Document:
    changed = copy.deepcopy(document)
    holder: Any = changed
    for step in place[:-1]:
        holder = holder[step]
    holder[f"{place[-1]}{MISSPELT}"] = holder.pop(place[-1])
    return changed


def _is_taken(path: Path, document: Document) -> bool:
    try:
        _take(path, document)
    except ArtifactError:
        return False
    return True


def _take(path: Path, document: Document) -> None:
    """Read a changed file as the bootstrap does, with the files that lie beside it."""
    text = yaml.safe_dump(document)
    if path in POLICIES:
        read_policy(text, path.name)
        return
    is_server = (path.parent / MCP_SERVER_FILE).exists()
    names = (MCP_SERVER_FILE, DEPLOYMENTS_FILE) if is_server else (API_FILE, DEPLOYMENTS_FILE, DEFINITION_FILE)
    files = {name: (path.parent / name).read_text(encoding="utf-8") for name in names}
    read = parse_mcp_project if is_server else parse_api_project
    read(files | {path.name: text}, path.parent.name, DEFAULT_BACKENDS)
