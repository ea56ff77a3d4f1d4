from pathlib import Path

import pytest

from ev_service.errors import ConfigurationError
from ev_service.settings import load
from wso2_provisioning.applications import ASSISTANT, OPERATOR
from wso2_provisioning.settings import ProvisioningSettings


@pytest.mark.parametrize(
    "url", ["http://wso2am:9443", "ftp://localhost", "localhost:9443", "https://admin:x@localhost"]
)
def test_an_address_that_would_give_passwords_away_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("WSO2_MANAGEMENT_URL", url)

    with pytest.raises(ConfigurationError, match="WSO2_MANAGEMENT_URL"):
        load(ProvisioningSettings)


@pytest.mark.parametrize("url", ["http://localhost:8280", "http://127.0.0.1:8280", "http://[::1]:8280"])
def test_plain_http_is_taken_on_loopback(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("WSO2_GATEWAY_URL", f"{url}/")

    assert load(ProvisioningSettings).wso2_gateway_url == url


def test_the_token_endpoint_follows_the_management_address_unless_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSO2_MANAGEMENT_URL", "https://wso2am:9443")
    assert load(ProvisioningSettings).token_url == "https://wso2am:9443/oauth2/token"

    monkeypatch.setenv("WSO2_TOKEN_URL", "https://tokens/oauth2/token")
    assert load(ProvisioningSettings).token_url == "https://tokens/oauth2/token"


def test_a_password_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from-a-file\n")
    monkeypatch.setenv("WSO2_ADMIN_PASSWORD_FILE", str(tmp_path / "password"))

    assert load(ProvisioningSettings).require_admin_password().get_secret_value() == "from-a-file"


@pytest.mark.parametrize("password", ["four", "x" * 31, "with blank"])
def test_a_password_that_wso2_would_not_take_is_refused_here(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("EVAPP_PASSWORD", password)

    with pytest.raises(ConfigurationError, match="5 to 30 characters") as caught:
        load(ProvisioningSettings).require_evapp_password()

    assert password not in str(caught.value)


def test_a_missing_password_is_named() -> None:
    with pytest.raises(ConfigurationError, match="WSO2_ADMIN_PASSWORD is not set"):
        load(ProvisioningSettings).require_admin_password()


def test_a_password_that_is_not_set_leaves_an_application_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load(ProvisioningSettings).find_owner_password(OPERATOR) is None

    (tmp_path / "password").write_text("from-a-file\n")
    monkeypatch.setenv("OPERATOR_PASSWORD_FILE", str(tmp_path / "password"))
    password = load(ProvisioningSettings).find_owner_password(OPERATOR)
    assert password is not None
    assert password.get_secret_value() == "from-a-file"


@pytest.mark.parametrize("wrong", ["four", "with blank", "x" * 31, "change-me-please"])
def test_an_optional_password_that_wso2_would_not_take_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("ASSISTANT_PASSWORD", wrong)

    with pytest.raises(ConfigurationError, match="ASSISTANT_PASSWORD") as told:
        load(ProvisioningSettings).find_owner_password(ASSISTANT)

    assert wrong not in str(told.value)
