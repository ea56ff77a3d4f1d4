"""The command that makes the broker's users."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.broker import SHIPPED

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.broker


def _run(folder: Path, *users: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", SHIPPED / "passwords.sh", folder, *users]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.usefixtures("broker_secrets")
def test_a_user_is_added_later_without_a_new_password_for_the_others(tmp_path: Path) -> None:
    assert _run(tmp_path, "pv-1").returncode == 0
    first = (tmp_path / "pv-1.password").read_text()
    assert _run(tmp_path, "pv-2").returncode == 0

    hashes = (tmp_path / "passwords").read_text()
    assert (tmp_path / "pv-1.password").read_text() == first
    assert [line.split(":")[0] for line in hashes.splitlines()] == ["pv-1", "pv-2"]
    assert first.strip() not in hashes
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}


@pytest.mark.usefixtures("broker_secrets")
@pytest.mark.parametrize("user", ["solar", "quarantine", "a/b", "+", "#", "a b", ""])
def test_a_user_whose_name_would_open_a_topic_is_refused(tmp_path: Path, user: str) -> None:
    refused = _run(tmp_path, user)

    assert refused.returncode == 1
    assert "cannot be a user" in refused.stderr
    assert not (tmp_path / "passwords").exists()
