import errno
import json
import os
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from wso2_provisioning.credentials import RequestLimit, check_folder, is_written, write_credentials
from wso2_provisioning.errors import CredentialsFolderError
from wso2_provisioning.tokens import ClientCredentials

LIMITS = {"SolarAPI": RequestLimit(10, 60)}
FIRST = ClientCredentials("id-1", SecretStr("secret-1"))
SECOND = ClientCredentials("id-2", SecretStr("secret-2"))


def read(folder: Path) -> tuple[str, str]:
    return (folder / "client_id").read_text(), (folder / "client_secret").read_text()


def test_the_three_files_are_there_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "credentials"

    write_credentials(folder, FIRST, LIMITS)

    assert read(folder) == ("id-1", "secret-1")
    assert json.loads((folder / "limits.json").read_text()) == {"SolarAPI": {"requests": 10, "per_s": 60}}
    if os.name == "posix":
        modes = {stat.S_IMODE((folder / name).stat().st_mode) for name in ("client_id", "client_secret", "limits.json")}
        assert modes == {0o400}


def test_what_is_written_is_recognised_and_what_differs_is_not(tmp_path: Path) -> None:
    write_credentials(tmp_path, FIRST, LIMITS)

    assert is_written(tmp_path, FIRST, LIMITS)
    assert not is_written(tmp_path, SECOND, LIMITS)
    assert not is_written(tmp_path, FIRST, {"SolarAPI": RequestLimit(5, 60)})
    assert not is_written(tmp_path / "nowhere", FIRST, LIMITS)


def test_new_credentials_replace_old_ones_of_which_one_folder_stays_for_late_readers(tmp_path: Path) -> None:
    for credentials in (FIRST, SECOND, FIRST, SECOND):
        write_credentials(tmp_path, credentials, LIMITS)

    assert read(tmp_path) == ("id-2", "secret-2")
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(".version-")]) == 2


def test_a_link_that_someone_removed_is_put_back_while_the_others_stay(tmp_path: Path) -> None:
    write_credentials(tmp_path, FIRST, LIMITS)
    (tmp_path / "client_secret").unlink()

    write_credentials(tmp_path, FIRST, LIMITS)

    assert read(tmp_path) == ("id-1", "secret-1")


def test_a_reader_sees_all_old_files_until_the_one_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_credentials(tmp_path, FIRST, LIMITS)
    seen: list[tuple[str, str]] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(read(tmp_path))
        switched = replace(self, target)
        seen.append(read(tmp_path))
        return switched

    monkeypatch.setattr(Path, "replace", watched)
    write_credentials(tmp_path, SECOND, LIMITS)

    # Before and after each file that is written, and the link.
    assert [pair for index, pair in enumerate(seen) if pair != seen[index - 1]] == [
        ("id-1", "secret-1"),
        ("id-2", "secret-2"),
    ]


def test_a_run_that_was_cut_off_before_the_switch_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_credentials(tmp_path, FIRST, LIMITS)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "symlink_to", fail)
        with pytest.raises(KeyboardInterrupt):
            write_credentials(tmp_path, SECOND, LIMITS)
    assert read(tmp_path) == ("id-1", "secret-1")

    write_credentials(tmp_path, SECOND, LIMITS)
    assert read(tmp_path) == ("id-2", "secret-2")


def test_where_links_are_refused_each_file_is_replaced_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PrivilegeNotHeldError(OSError):
        winerror = 1314

    def refuse(*_: object) -> None:
        raise PrivilegeNotHeldError("A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    write_credentials(tmp_path, FIRST, LIMITS)
    write_credentials(tmp_path, SECOND, LIMITS)

    assert read(tmp_path) == ("id-2", "secret-2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["client_id", "client_secret", "limits.json"]


def test_a_full_volume_is_said_before_anything_happens_unless_credentials_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)

    with pytest.raises(CredentialsFolderError, match=r"No space left on device.*make room"):
        check_folder(tmp_path)
    write_credentials(tmp_path, FIRST, LIMITS)
    check_folder(tmp_path)

    assert read(tmp_path) == ("id-1", "secret-1")


def test_a_folder_that_cannot_be_written_is_named_before_anything_happens(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(CredentialsFolderError, match=r"file.*--credentials-dir"):
        check_folder(tmp_path / "file")


@pytest.mark.skipif(os.name == "nt", reason="Windows folders have no mode that keeps their owner from writing")
def test_a_read_only_folder_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)

        with as_nobody(), pytest.raises(CredentialsFolderError, match="Permission denied"):
            check_folder(folder)


@contextmanager
def as_nobody() -> Generator[None]:
    """Root writes everywhere, also where it is forbidden: for a while it is somebody else."""
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_on_a_read_only_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", read_only)

    with pytest.raises(CredentialsFolderError, match="Read-only file system"):
        check_folder(tmp_path)
