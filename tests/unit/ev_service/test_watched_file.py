"""A file that is replaced, broken, cut off or removed while a process uses it."""

import os
from pathlib import Path

import pytest

from ev_service.files import WatchedFile


def number(content: bytes) -> int:
    return int(content)


class Time:
    """Real time that a test moves [s]."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


@pytest.fixture
def file(path: Path, time: Time) -> WatchedFile[int]:
    return WatchedFile(path, number, "NUMBER_FILE", time)


def test_a_changed_file_is_read_again(file: WatchedFile[int], path: Path) -> None:
    assert file.read() == 1

    path.write_text("22")

    assert file.read() == 22
    assert file.read_error() is None


def test_a_file_that_was_replaced_by_a_renamed_one_is_read_again(
    file: WatchedFile[int], path: Path, tmp_path: Path
) -> None:
    (tmp_path / "next").write_text("2")
    (tmp_path / "next").rename(path)

    assert file.read() == 2


def test_a_link_that_is_switched_is_followed(tmp_path: Path, time: Time) -> None:
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "number").write_text(name)
    (tmp_path / "current").symlink_to("1")
    file = WatchedFile(tmp_path / "current" / "number", number, "NUMBER_FILE", time)

    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(tmp_path / "current")

    assert file.read() == 2


def test_a_second_change_that_looks_like_the_first_is_seen(file: WatchedFile[int], path: Path, time: Time) -> None:
    file.read()
    before = path.stat()

    # The same length, inode and times, as of two changes within one tick of the file system's clock.
    with path.open("r+b") as opened:
        opened.write(b"3")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    time.now_s += 60

    assert file.read() == 3


def test_a_file_that_did_not_change_is_not_read(
    file: WatchedFile[int], path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.read()
    time.now_s += 2
    file.read()

    def fail(*_: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(Path, "open", fail)
    time.now_s += 2

    assert file.read() == 1


@pytest.mark.parametrize("content", [b"", b"x", b"1x"])
def test_a_file_that_cannot_be_used_changes_nothing_and_is_reported_until_it_can(
    file: WatchedFile[int], path: Path, content: bytes, time: Time
) -> None:
    path.write_bytes(content)

    for _ in range(3):
        assert file.read() == 1
        assert (file.read_error() or "").startswith(f"NUMBER_FILE {path} cannot be used: ")
        time.now_s += 2

    path.write_text("4")

    assert file.read_error() is None
    assert file.read() == 4


def test_a_file_that_comes_back_as_it_was_is_no_obstacle(file: WatchedFile[int], path: Path) -> None:
    value = file.read()
    path.unlink()
    assert file.read() == 1
    assert "No such file" in (file.read_error() or "")

    path.write_text("1")

    assert file.read_error() is None
    assert file.read() is value


def test_a_file_that_could_not_be_opened_once_is_read_again_though_it_did_not_change(
    file: WatchedFile[int], path: Path, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    file.read()
    path.write_text("5")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        assert file.read() == 1
        time.now_s += 5
        assert "Too many open files" in (file.read_error() or "")

    assert file.read() == 5
    assert file.read_error() is None


def test_a_pipe_in_its_place_holds_nobody_up(file: WatchedFile[int], path: Path) -> None:
    path.unlink()
    os.mkfifo(path)

    assert file.read() == 1
    assert "it is not a file" in (file.read_error() or "")


def test_a_broken_file_is_logged_once(
    file: WatchedFile[int], path: Path, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text("x")
    for _ in range(5):
        file.read()
        time.now_s += 0.4

    assert [record.message for record in caplog.records] == ["file not read again"]


def test_the_first_content_must_be_usable(path: Path) -> None:
    path.write_text("x")

    with pytest.raises(ValueError, match="invalid literal"):
        WatchedFile(path, number, "NUMBER_FILE")


def test_a_change_of_a_companion_has_the_file_parsed_again(path: Path, tmp_path: Path, time: Time) -> None:
    key = tmp_path / "key"
    key.write_text("1")

    def parse(content: bytes) -> int:
        if key.read_bytes() != content:
            raise ValueError("they do not belong together")
        return int(content)

    file = WatchedFile(path, parse, "NUMBER_FILE", time, companions=[key])
    path.write_text("2")
    time.now_s += 60
    assert file.read() == 1
    assert "they do not belong together" in (file.read_error() or "")
    time.now_s += 60
    assert file.read() == 1

    key.write_text("2")

    assert file.read() == 2
    assert file.read_error() is None
