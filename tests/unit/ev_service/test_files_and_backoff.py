from pathlib import Path

import pytest

from ev_service.files import replace_file
from ev_service.tasks import Backoff


def test_a_file_is_replaced_whole_with_its_mode_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"

    assert replace_file(path, "ü", 0o644) == path
    assert path.read_text(encoding="utf-8") == "ü"
    assert path.stat().st_mode & 0o777 == 0o644

    replace_file(path, b"second")
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]


def test_a_file_that_cannot_be_written_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = replace_file(tmp_path / "file", "before")

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, "after")

    assert path.read_text(encoding="utf-8") == "before"


def test_delays_double_up_to_the_longest_are_spread_and_begin_again() -> None:
    backoff = Backoff(first_s=1.0, longest_s=6.0)

    delays_s = [backoff.next_s() for _ in range(6)]

    assert all(0.5 * bound <= delay <= bound for delay, bound in zip(delays_s, [1, 2, 4, 6, 6, 6], strict=True))
    backoff.reset()
    assert backoff.next_s() <= 1.0
