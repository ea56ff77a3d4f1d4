import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import respx

from wso2_provisioning.cli import main

if TYPE_CHECKING:
    from tests.unit.wso2_provisioning.conftest import FakeWso2

WSO2_DIR = Path(__file__).parents[3] / "wso2"


@pytest.fixture(autouse=True)
def wso2(fake: "FakeWso2", respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    respx_mock.route().mock(side_effect=fake)
    monkeypatch.setenv("WSO2_ADMIN_PASSWORD", "admin-Passw0rd")
    monkeypatch.setenv("EVAPP_PASSWORD", "evapp-Passw0rd")


def test_a_run_exits_0_and_says_what_it_did_without_any_secret(
    fake: "FakeWso2", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--credentials-dir", str(tmp_path)], artifacts_dir=WSO2_DIR)

    said = capsys.readouterr()
    secrets = [user["password"] for user in fake.users.values()] + list(fake.tokens)
    secrets += [client["secret"] for client in fake.clients.values()]
    assert code == 0
    assert "import SolarAPI-1.0.0" in said.err
    assert "/solar/1.0.0/solar-status answered 200" in said.err
    assert not [secret for secret in secrets if secret in said.err + said.out]


def test_check_exits_1_on_drift_and_0_without(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], artifacts_dir=WSO2_DIR) == 1
    assert "to change" in capsys.readouterr().err

    assert main([], artifacts_dir=WSO2_DIR) == 0
    assert main(["--check"], artifacts_dir=WSO2_DIR) == 0
    assert "as it must be" in capsys.readouterr().err


def test_json_goes_to_standard_output_and_quiet_says_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--json", "--quiet"], artifacts_dir=WSO2_DIR)

    said = capsys.readouterr()
    outcome = json.loads(said.out)
    assert code == 0
    assert said.err == ""
    assert outcome["limits"]["GridAPI"] == {"requests": 10, "per_s": 60}
    assert "add user evapp" in outcome["changes"]


def test_a_wrong_password_exits_1_with_one_sentence_even_when_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WSO2_ADMIN_PASSWORD", "wrong-Passw0rd")

    code = main(["--quiet", "--json"], artifacts_dir=WSO2_DIR)

    said = capsys.readouterr()
    assert code == 1
    assert said.err.count("\n") == 1
    assert "admin" in said.err
    assert json.loads(said.out)["ok"] is False
    assert "wrong-Passw0rd" not in said.err + said.out


def test_a_missing_password_is_told_before_wso2_is_waited_for(
    fake: "FakeWso2", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EVAPP_PASSWORD")

    assert main([], artifacts_dir=WSO2_DIR) == 1
    assert "EVAPP_PASSWORD" in capsys.readouterr().err
    assert not fake.requests


def test_an_artifact_that_is_not_understood_is_named_with_file_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "apis" / "SolarAPI-1.0.0"
    folder.joinpath("Definitions").mkdir(parents=True)
    folder.joinpath("api.yaml").write_text("type: api\nversion: v4.6.0\ndata: {name: SolarAPI, colour: red}\n")
    folder.joinpath("Definitions/swagger.yaml").write_text("openapi: 3.0.3\n")

    assert main(["--artifacts", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "api.yaml" in said
    assert "data" in said


def test_help_names_every_variable_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"], artifacts_dir=WSO2_DIR)

    said = capsys.readouterr().out
    assert ended.value.code == 0
    for name in ("WSO2_ADMIN_PASSWORD", "EVAPP_PASSWORD", "WSO2_CA_FILE", "SOLAR_BACKEND_URL", "exit code", "--check"):
        assert name in said


@pytest.mark.parametrize("seconds", ["-1", "soon", "1e9"])
def test_a_wait_that_makes_no_sense_is_wrong_usage(seconds: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([f"--wait={seconds}"], artifacts_dir=WSO2_DIR)

    assert ended.value.code == 2
