"""Credentials and limits from variables and files."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from charging_agent.gateway.budget import APPLICATION_LIMIT, CallLimit, read_call_limits
from charging_agent.gateway.tokens import EnvironmentOrFileCredentials
from ev_service.errors import ConfigurationError


def write_folder(folder: Path, name: str) -> Path:
    folder.mkdir()
    (folder / "client_id").write_text(f"id-{name}\n", encoding="utf-8")
    (folder / "client_secret").write_text(f"secret-{name}\n", encoding="utf-8")
    return folder


def files_in(folder: Path) -> EnvironmentOrFileCredentials:
    return EnvironmentOrFileCredentials(None, None, folder / "client_id", folder / "client_secret")


def test_variables_win_over_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "one", "file")
    source = EnvironmentOrFileCredentials(
        SecretStr("id-env"), SecretStr("secret-env"), folder / "client_id", folder / "client_secret"
    )

    read = source.read()

    assert (read.client_id, read.client_secret.get_secret_value()) == ("id-env", "secret-env")


def test_files_are_read_without_the_line_end_that_editors_leave(tmp_path: Path) -> None:
    read = files_in(write_folder(tmp_path / "one", "a")).read()

    assert (read.client_id, read.client_secret.get_secret_value()) == ("id-a", "secret-a")


def test_files_are_read_anew_each_time(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "one", "a")
    source = files_in(folder)
    source.read()

    (folder / "client_secret").write_text("secret-b", encoding="utf-8")

    assert source.read().client_secret.get_secret_value() == "secret-b"


def test_a_folder_switched_between_two_reads_is_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = write_folder(tmp_path / "old", "old"), write_folder(tmp_path / "new", "new")
    link = tmp_path / "current"
    link.symlink_to(old)
    resolve, read_text = Path.resolve, Path.read_text

    def switch() -> None:
        link.unlink()
        link.symlink_to(new)

    def resolve_and_switch(path: Path, strict: bool = False) -> Path:
        resolved = resolve(path, strict)
        switch()
        return resolved

    def read_and_switch(path: Path, encoding: str | None = None) -> str:
        text = read_text(path, encoding)
        switch()
        return text

    monkeypatch.setattr(Path, "resolve", resolve_and_switch)
    monkeypatch.setattr(Path, "read_text", read_and_switch)

    first, second = files_in(link).read(), files_in(link).read()

    assert (first.client_id, first.client_secret.get_secret_value()) == ("id-old", "secret-old")
    assert (second.client_id, second.client_secret.get_secret_value()) == ("id-new", "secret-new")


@pytest.mark.parametrize("content", [b"", b"  \n"])
def test_an_empty_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path / "one", "a")
    (folder / "client_secret").write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"WSO2_CLIENT_SECRET_FILE .* is empty"):
        files_in(folder).read()


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"WSO2_CLIENT_ID_FILE .* cannot be read"):
        files_in(tmp_path / "nowhere").read()


def test_a_file_that_is_no_text_is_refused_without_showing_it(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "one", "a")
    (folder / "client_secret").write_bytes(b"hidden\xff\xfe")

    with pytest.raises(ConfigurationError, match="not UTF-8") as refused:
        files_in(folder).read()

    assert "hidden" not in refused.value.message


def test_nothing_set_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match="set WSO2_CLIENT_ID and WSO2_CLIENT_SECRET"):
        EnvironmentOrFileCredentials(None, None, None, None).read()


def test_a_placeholder_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"WSO2_CLIENT_SECRET is still the placeholder"):
        EnvironmentOrFileCredentials(SecretStr("id"), SecretStr("change-me-please"), None, None).read()


def test_credentials_do_not_show_their_secret(tmp_path: Path) -> None:
    assert "secret-a" not in repr(files_in(write_folder(tmp_path / "one", "a")).read())


def test_limits_are_read_beside_the_secret(tmp_path: Path) -> None:
    content = {"SolarAPI": {"requests": 20, "per_s": 30}, "GridAPI": {"requests": None, "per_s": 60}}
    (tmp_path / "limits.json").write_text(json.dumps(content), encoding="utf-8")

    limits = read_call_limits(None, tmp_path / "client_secret")

    assert limits == {"SolarAPI": CallLimit(20, 30), "GridAPI": CallLimit(None, 60)}


def test_the_named_limits_file_wins_over_the_one_beside_the_secret(tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text('{"SolarAPI": {"requests": 1, "per_s": 1}}', encoding="utf-8")
    named = tmp_path / "other.json"
    named.write_text('{"SolarAPI": {"requests": 2, "per_s": 2}}', encoding="utf-8")

    assert read_call_limits(named, tmp_path / "client_secret") == {"SolarAPI": CallLimit(2, 2)}


def test_the_applications_own_limit_is_read_beside_those_of_its_apis(tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text(
        '{"GridMCP": {"requests": 10, "per_s": 60}, "*": {"requests": 20, "per_s": 60}}', encoding="utf-8"
    )

    limits = read_call_limits(None, tmp_path / "client_secret")

    assert limits == {"GridMCP": CallLimit(10, 60), APPLICATION_LIMIT: CallLimit(20, 60)}


def test_without_a_limits_file_the_defaults_hold(tmp_path: Path) -> None:
    assert read_call_limits(None, tmp_path / "client_secret") == {}
    assert read_call_limits(None, None) == {}
    assert CallLimit() == CallLimit(requests=10, per_s=60)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"SolarAPI": 10}',
        '{"SolarAPI": {"requests": 10}}',
        '{"SolarAPI": {"requests": "many", "per_s": 60}}',
        '{"SolarAPI": {"requests": -1, "per_s": 60}}',
        '{"SolarAPI": {"requests": 10, "per_s": 0}}',
    ],
)
def test_a_limits_file_that_is_not_what_the_bootstrap_writes_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "limits.json").write_text(content, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=r"limits\.json cannot be used"):
        read_call_limits(None, tmp_path / "client_secret")


def test_a_named_limits_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        read_call_limits(tmp_path / "nowhere.json", None)
