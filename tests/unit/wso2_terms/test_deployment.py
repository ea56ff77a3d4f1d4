from pathlib import Path

import pytest

from wso2_terms.deployment import read_deployment
from wso2_terms.documents import ArtifactError

MINIMAL = """\
[server]
hostname = "localhost"
[super_admin]
username = "admin"
password = "$env{WSO2_ADMIN_PASSWORD}"
[keystore.tls]
password = "$env{NEVER_ASKED_FOR}"
"""
ENVIRONMENT = {"WSO2_ADMIN_PASSWORD": "s3cret-word"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "deployment.toml"
    path.write_text(MINIMAL)
    return path


def test_absent_settings_have_wso2s_defaults(file: Path) -> None:
    settings = read_deployment(file, ENVIRONMENT)

    assert settings.admin_password.get_secret_value() == "s3cret-word"
    assert not settings.jwt.enable
    assert settings.jwt.encoding == "base64"
    assert not settings.restrict_unassigned_scopes
    assert settings.allowed_scopes == ("^device_.*", "openid")
    assert settings.app_access_token_validity_s == 3600


def test_settings_are_read(file: Path) -> None:
    file.write_text(
        MINIMAL + '[apim.jwt]\nenable = true\nencoding = "base64url"\nexpiry_time = 60\n'
        '[system.parameter]\n"restrict.unassigned.scopes" = true\n[oauth]\nallowed_scopes = ["openid"]\n'
    )

    settings = read_deployment(file, ENVIRONMENT)

    assert (settings.jwt.enable, settings.jwt.encoding, settings.jwt.expiry_time) == (True, "base64url", 60)
    assert settings.restrict_unassigned_scopes
    assert settings.allowed_scopes == ("openid",)


def test_the_password_is_never_shown(file: Path) -> None:
    assert "s3cret-word" not in repr(read_deployment(file, ENVIRONMENT))


def test_a_variable_that_is_needed_and_not_set_is_named(file: Path) -> None:
    with pytest.raises(ArtifactError, match="WSO2_ADMIN_PASSWORD"):
        read_deployment(file, {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server\n", "not valid TOML"),
        (MINIMAL.replace('hostname = "localhost"', ""), "hostname"),
        (MINIMAL + '[apim.jwt]\nencoding = "base32"\n', r"jwt\.encoding"),
    ],
)
def test_a_file_that_wso2_would_not_take_is_refused(file: Path, text: str, told: str) -> None:
    file.write_text(text)

    with pytest.raises(ArtifactError, match=told):
        read_deployment(file, ENVIRONMENT)
