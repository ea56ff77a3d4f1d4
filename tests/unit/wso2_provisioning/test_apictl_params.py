"""Parameters files for apictl: one for each API and environment, with endpoints that a gateway can call."""

from pathlib import Path

import pytest
import yaml

from wso2_provisioning.backends import DEFAULT_BACKENDS
from wso2_provisioning.cli import main
from wso2_terms.api_project import is_endpoint_url

WSO2 = Path(__file__).parents[3] / "wso2"
PROJECTS = sorted(path.parent.name for path in (WSO2 / "apis").glob("*/api.yaml"))


@pytest.fixture(autouse=True)
def no_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULT_BACKENDS:
        monkeypatch.delenv(name, raising=False)


def test_each_project_has_a_file_with_an_endpoint_that_works(tmp_path: Path) -> None:
    assert main(["--apictl-params", str(tmp_path), "--quiet"], artifacts_dir=WSO2) == 0

    written = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (tmp_path / "local").iterdir()}
    assert sorted(written) == PROJECTS
    for params in written.values():
        [environment] = params["environments"]
        assert environment["name"] == "local"
        assert is_endpoint_url(environment["configs"]["endpoints"]["production"]["url"])


def test_the_endpoint_is_that_of_the_environment_with_the_projects_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOLAR_BACKEND_URL", "https://solar.example:8443")

    arguments = ["--apictl-params", str(tmp_path), "--apictl-environment", "production", "--quiet"]
    assert main(arguments, artifacts_dir=WSO2) == 0

    params = yaml.safe_load((tmp_path / "production" / "SolarAPI-1.0.0.yaml").read_text(encoding="utf-8"))
    config = {"actionSelect": "fault", "actionDuration": 3000, "suspendDuration": 0}
    endpoints = {"production": {"url": "https://solar.example:8443", "config": config}}
    assert params == {"environments": [{"name": "production", "configs": {"endpoints": endpoints}}]}
