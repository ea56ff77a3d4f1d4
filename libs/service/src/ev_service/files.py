"""Files that are replaced whole, and files that are read again when they were replaced.

`replace_file` makes sure that a reader, or a start after a crash, never finds a part of a file. `WatchedFile` serves
files such as certificates: a file that is missing, cut off or being written leaves the last value in use, and is
reported.
"""

import logging
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

_logger = logging.getLogger(__name__)


def replace_file(path: Path, content: bytes | str, mode: int = 0o600, *, is_durable: bool = True) -> Path:
    """Write a file atomically; its folder is created if necessary.

    Args:
        path: the file; a temporary file next to it is written first.
        content: the new content; text is written as UTF-8.
        mode: permissions of the file, independent of the umask.
        is_durable: whether it has to survive a loss of power, which costs some milliseconds.

    Returns:
        The path.

    Raises:
        OSError: it cannot be written; the file is unchanged.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if is_durable:
            # Renamed before its content is on the disk, it would be empty after a loss of power.
            file.flush()
            os.fsync(file.fileno())
    # The umask may have removed permissions.
    draft.chmod(mode)
    draft.replace(path)
    return path


T = TypeVar("T")

_MAX_BYTES = 8 << 20
# Two changes within one tick of the file system's clock look the same: a file that has just changed is read once more
# after this time.
_SETTLED_S = 1.0


class WatchedFile(Generic[T]):
    """Reads a file again when it has changed.

    A check costs one `stat`; the file is read only after a change. Not thread-safe.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes], T],
        name: str,
        monotonic_s: Callable[[], float] = time.monotonic,
        *,
        companions: Sequence[Path] = (),
    ) -> None:
        """Read the file for the first time.

        Args:
            path: the file.
            parse: converts the content to a value; raises OSError or ValueError if it cannot be used.
            name: the variable that names the file, for messages.
            monotonic_s: real time [s].
            companions: further files that `parse` reads itself, such as a certificate's key: a change of one of them
                counts as a change of the file.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file cannot be used.
        """
        self._path, self._parse, self._name = path, parse, name
        self._paths = (path, *companions)
        self._monotonic_s = monotonic_s
        self._error: str | None = None
        self._content = self._load()
        self._value = parse(self._content[0])
        # None: the first `read` finds a change, and reads once more.
        self._signature: list[tuple[int, ...] | None] | None = None
        self._changed_at_s = self._read_at_s = monotonic_s()

    def read(self) -> T:
        """Return the current value, or the last one that could be used; the same object until the file changes."""
        signature, now_s = [_sign(path) for path in self._paths], self._monotonic_s()
        if signature != self._signature:
            self._signature, self._changed_at_s = signature, now_s
        elif self._read_at_s >= self._changed_at_s + _SETTLED_S:
            return self._value
        self._renew(now_s)
        return self._value

    def read_error(self) -> str | None:
        """Return the reason why the file cannot be used now, in one sentence; None if it can."""
        self.read()
        return self._error

    def _renew(self, now_s: float) -> None:
        try:
            content = self._load()
            self._read_at_s = now_s
            if content == self._content:
                self._accept(is_new=False)
                return
            self._value = self._parse(content[0])
        except (OSError, ValueError) as error:
            reason = f"{self._name} {self._path} cannot be used: {error}; what it held before is kept"
            if reason != self._error:
                _logger.warning("file not read again", extra={"file": str(self._path), "reason": str(error)})
            self._error = reason
            return
        self._content = content
        self._accept(is_new=True)

    def _accept(self, *, is_new: bool) -> None:
        if is_new or self._error is not None:
            _logger.info("file read again", extra={"file": str(self._path), "changed": is_new})
        self._error = None

    def _load(self) -> list[bytes]:
        return [_read(path) for path in self._paths]


def _read(path: Path) -> bytes:
    # Reading a pipe, for example, could block, and is possible only once.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"it is longer than {_MAX_BYTES} bytes")
    return content


def _sign(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns, status.st_ctime_ns
