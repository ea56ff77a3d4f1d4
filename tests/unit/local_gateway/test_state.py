"""State file: written atomically and readable by its owner only."""

import json
from pathlib import Path

import pytest

from ev_service.errors import ConfigurationError
from local_gateway.state import GatewayState, Store
from local_gateway.users import UserStore


def test_what_was_written_is_read_again(folder: Path, state: GatewayState) -> None:
    first = Store.open(folder)
    first.state = state
    first.save()

    assert Store.open(folder).state == state


def test_only_the_owner_reads_the_state(folder: Path) -> None:
    Store.open(folder).save()

    assert (folder / "state.json").stat().st_mode & 0o077 == 0


def test_a_broken_file_is_named_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text('{"format": 1, "users": {"x": ')

    with pytest.raises(ConfigurationError, match="cannot be read"):
        Store.open(tmp_path)
    assert file.read_text().endswith('{"x": ')


def test_only_routing_changes_make_the_data_path_build_a_snapshot() -> None:
    store = Store.open(None)

    store.save(affects_routing=False)
    assert store.generation == 0
    store.save()
    assert store.generation == 1


def test_passwords_are_stored_as_hashes(folder: Path) -> None:
    store = Store.open(folder)
    UserStore(store.state, "admin", "admin-password").add("evapp", "secret-password", ["Internal/reader"])
    store.save()

    text = (folder / "state.json").read_text()
    assert "secret-password" not in text
    assert "admin-password" not in text
    again = UserStore(Store.open(folder).state, "admin", "admin-password")
    assert again.verify("evapp", "secret-password")
    assert not again.verify("evapp", "another-password")
    assert not again.verify("nobody", "secret-password")
    assert json.loads(text)["users"]["evapp"]["roles"] == ["Internal/reader"]


def test_the_administrator_has_only_the_default_roles(state: GatewayState) -> None:
    users = UserStore(state, "admin", "admin-password")

    assert "internal/subscriber" in users.get_roles("admin")
    assert "internal/reader" not in users.get_roles("admin")
