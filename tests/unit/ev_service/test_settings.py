"""Settings come from the environment, empty means unset, and no secret is shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from ev_service.errors import ConfigurationError
from ev_service.settings import RunSettings, SiteSettings, load, secret_from


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SITE_ID", "SITE_LATITUDE_DEG", "SITE_TIMEZONE", "SIM_SEED", "SIM_CLOCK_FILE", "GATEWAY_CERT_FILE"):
        monkeypatch.setenv(name, "")

    assert load(SiteSettings) == SiteSettings()
    assert load(RunSettings).sim_clock_file is None
    assert load(RunSettings).gateway_cert_file is None


def test_a_variable_that_is_set_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_ID", "harbour")
    monkeypatch.setenv("SITE_TIMEZONE", "Europe/Berlin")
    monkeypatch.setenv("SIM_SEED", "42")

    assert (load(SiteSettings).id, load(SiteSettings).timezone) == ("harbour", "Europe/Berlin")
    assert load(RunSettings).sim_seed == 42


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SITE_ID", "x" * 65),
        ("SITE_LATITUDE_DEG", "90.1"),
        ("SITE_LATITUDE_DEG", "nan"),
        ("SITE_LONGITUDE_DEG", "-180.1"),
        ("SITE_TIMEZONE", "Mars/Olympus"),
        ("SITE_TIMEZONE", "../../etc/passwd"),
        ("SITE_LIMIT_KW", "0"),
        ("SITE_LIMIT_KW", "inf"),
        ("SITE_VOLTAGE_V", "12"),
        ("SITE_PHASES", "4"),
    ],
)
def test_a_site_out_of_bounds_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name):
        load(SiteSettings)


@pytest.mark.parametrize(("name", "value"), [("SIM_SEED", "-1"), ("SIM_SEED", "seven"), ("LOG_LEVEL", "LOUD")])
def test_a_run_out_of_bounds_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name) as refused:
        load(RunSettings)

    assert value not in refused.value.message


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(SiteSettings).limit_kw = 1000  # pyright: ignore[reportAttributeAccessIssue]


def test_a_value_wins_over_a_file(tmp_path: Path) -> None:
    secret = secret_from(SecretStr("value"), tmp_path / "nowhere", "NAME")

    assert secret is not None
    assert secret.get_secret_value() == "value"


def test_neither_value_nor_file_is_no_secret() -> None:
    assert secret_from(None, None, "NAME") is None


@pytest.mark.parametrize("placeholder", ["change-me", "change-me-now", "change-me\n"])
def test_a_placeholder_is_refused_wherever_it_stands(tmp_path: Path, placeholder: str) -> None:
    (tmp_path / "secret").write_text(placeholder, encoding="utf-8")

    for value, file in ((SecretStr(placeholder), None), (None, tmp_path / "secret")):
        with pytest.raises(ConfigurationError, match="NAME is still the placeholder"):
            secret_from(value, file, "NAME")


def test_a_file_that_can_not_be_read_is_told_by_name_and_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"NAME_FILE .* cannot be read: No such file"):
        secret_from(None, tmp_path / "nowhere", "NAME")
    with pytest.raises(ConfigurationError, match=r"NAME_FILE .* cannot be read: Is a directory"):
        secret_from(None, tmp_path, "NAME")
