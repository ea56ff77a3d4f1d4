from collections.abc import Callable
from pathlib import Path

import pytest

from wso2_terms.artifacts import load_artifacts
from wso2_terms.documents import ArtifactError

Files = dict[str, str]
ENVIRONMENT = {"SOLAR_BACKEND_URL": "http://127.0.0.1:8001"}
PLAN = """\
type: throttling policy
subtype: subscription policy
version: v4.6.0
data:
  policyName: Energy10PerMin
  defaultLimit: {type: REQUESTCOUNTLIMIT, requestCount: {timeUnit: min, unitTime: 1, requestCount: 10}}
"""


@pytest.fixture
def root(tmp_path: Path, files: Files) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "Energy10PerMin.yaml").write_text(PLAN)
    write(tmp_path / "apis" / "SolarAPI-1.0.0", files)
    return tmp_path


def write(folder: Path, files: Files) -> None:
    (folder / "Definitions").mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_scopes_roles_and_plans_are_what_the_files_say(root: Path) -> None:
    artifacts = load_artifacts(root, ENVIRONMENT)

    assert [scope.name for scope in artifacts.list_scopes()] == ["solar:read"]
    assert artifacts.list_roles() == ("Internal/solar_reader",)
    assert list(artifacts.list_plans()) == ["Energy10PerMin"]
    assert artifacts.find_api("SolarAPI").api.context == "/solar"
    with pytest.raises(KeyError):
        artifacts.find_api("LunarAPI")


def test_a_plan_that_nobody_defines_is_refused(root: Path) -> None:
    (root / "policies" / "Energy10PerMin.yaml").unlink()

    with pytest.raises(ArtifactError, match="no subscription policy Energy10PerMin is known"):
        load_artifacts(root, ENVIRONMENT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  securityScheme", "  apiThrottlingPolicy: Wide\n  securityScheme"),
        ("verb: GET", "verb: GET, throttlingPolicy: Wide"),
    ],
)
def test_an_advanced_policy_that_nobody_defines_is_refused(
    root: Path, change_files: Callable[[str, str, str], Files], old: str, new: str
) -> None:
    (root / "apis" / "SolarAPI-1.0.0" / "api.yaml").write_text(change_files("api.yaml", old, new)["api.yaml"])

    with pytest.raises(ArtifactError, match="no advanced policy Wide is known"):
        load_artifacts(root, ENVIRONMENT)


@pytest.mark.parametrize(
    ("old", "new", "claim"),
    [("context: /solar", "context: /sun", "scope solar:read"), ("solar:read", "sun:read", "context /solar/1.0.0")],
)
def test_a_context_or_scope_of_two_apis_is_rejected(
    root: Path, change_files: Callable[[str, str, str], Files], old: str, new: str, claim: str
) -> None:
    write(root / "apis" / "SunAPI-1.0.0", change_files("api.yaml", old, new))

    with pytest.raises(ArtifactError, match=f"{claim} is claimed by"):
        load_artifacts(root, ENVIRONMENT)


def test_a_folder_without_apis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no API project"):
        load_artifacts(tmp_path, ENVIRONMENT)
