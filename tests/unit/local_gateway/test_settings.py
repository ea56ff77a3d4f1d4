"""Configuration errors that prevent a start."""

from pathlib import Path

import pytest

from ev_service.clock import SteppedClock
from ev_service.errors import ConfigurationError
from ev_service.settings import load
from local_gateway.app import build_gateway
from local_gateway.settings import LocalGatewaySettings

DEPLOYMENT = """
[server]
hostname = "localhost"
[super_admin]
username = "admin"
password = "$env{WSO2_ADMIN_PASSWORD}"
"""


@pytest.fixture
def deployment_file(tmp_path: Path) -> Path:
    file = tmp_path / "deployment.toml"
    file.write_text(DEPLOYMENT)
    return file


def test_it_listens_on_this_machine_alone_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_GATEWAY_BIND_ADDRESS", "0.0.0.0")

    with pytest.raises(ConfigurationError, match="loopback"):
        load(LocalGatewaySettings)
    monkeypatch.setenv("LOCAL_GATEWAY_ALLOW_REMOTE", "true")
    assert load(LocalGatewaySettings).bind_address == "0.0.0.0"


@pytest.mark.parametrize("address", ["here", "", "10.0.0.256"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        LocalGatewaySettings(bind_address=address)


@pytest.mark.parametrize("password", ["", "change-me", "change-me-please"])
def test_a_placeholder_is_rejected_as_password(
    tmp_path: Path, deployment_file: Path, clock: SteppedClock, password: str
) -> None:
    settings = LocalGatewaySettings(deployment_file=deployment_file, state_dir=tmp_path / "state")

    with pytest.raises(ConfigurationError, match="WSO2_ADMIN_PASSWORD"):
        build_gateway(settings, clock, {"WSO2_ADMIN_PASSWORD": password})


def test_a_missing_deployment_file_is_named(tmp_path: Path, clock: SteppedClock) -> None:
    with pytest.raises(ConfigurationError, match="LOCAL_GATEWAY_DEPLOYMENT_FILE"):
        build_gateway(LocalGatewaySettings(state_dir=tmp_path), clock, {})
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        build_gateway(LocalGatewaySettings(deployment_file=tmp_path / "nowhere.toml"), clock, {})


def test_a_folder_for_certificates_is_required(deployment_file: Path, clock: SteppedClock) -> None:
    with pytest.raises(ConfigurationError, match="CERTIFICATE_DIR"):
        build_gateway(
            LocalGatewaySettings(deployment_file=deployment_file), clock, {"WSO2_ADMIN_PASSWORD": "right-one"}
        )
