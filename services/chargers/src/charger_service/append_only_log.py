"""Lines that are only ever added: in a file, on disk before they count, or in memory.

Knows nothing of what stands in them.
"""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

from ev_service.errors import ConfigurationError

MOST_BYTES = 64 << 20
"""A file takes no more than this [bytes]: years of operators, and no more of somebody who fills it."""
_LEFT_FREE_BYTES = 1 << 20
_KEPT_IN_MEMORY = 1000

_logger = logging.getLogger(__name__)

T = TypeVar("T")


class AppendOnlyLog(Protocol):
    """Lines by number, the first is 1."""

    is_on_disk: bool

    def count(self) -> int:
        """How many there are, which is the number of the last."""
        ...

    def line(self, number: int) -> bytes | None:
        """One line, None where it is not there or no longer kept."""
        ...

    def add(self, line: bytes) -> None:
        """Add a line at the end; it is kept when this returns.

        Raises:
            OSError: it could not be kept, and is not there.
        """
        ...

    def write_error(self) -> str | None:
        """Why the next line could not be added, None when it could."""
        ...


def newest(
    lines: AppendOnlyLog, read: Callable[[int], T | None], limit: int, before: int | None
) -> tuple[tuple[T, ...], int | None]:
    """A page of what stands in lines, the newest first, without those that can not be read.

    Args:
        lines: where it stands.
        read: what stands in one line, None where that can not be read.
        limit: how many at most.
        before: only lines whose number is lower; None: from the last.

    Returns:
        The page, and the `before` of the next one, None on the last.
    """
    number = lines.count() + 1 if before is None else min(before, lines.count() + 1)
    found: list[T] = []
    while number > 1 and len(found) < limit:
        number -= 1
        if (content := read(number)) is not None:
            found.append(content)
    return tuple(found), number if lines.line(number - 1) is not None else None


class MemoryLog:
    """The last thousand lines, gone with the process."""

    is_on_disk = False

    def __init__(self) -> None:
        self._lines: dict[int, bytes] = {}
        self._count = 0

    def count(self) -> int:
        """How many there were."""
        return self._count

    def line(self, number: int) -> bytes | None:
        """One line, None where it is no longer kept."""
        return self._lines.get(number)

    def add(self, line: bytes) -> None:
        """Add a line, and forget the oldest."""
        self._count += 1
        self._lines[self._count] = line
        self._lines.pop(self._count - _KEPT_IN_MEMORY, None)

    def write_error(self) -> str | None:
        """Nothing stands in the way."""
        return None


class FileLog:
    """Lines in a file of one process.

    A line that a crash left half-written stays where it is: the next one begins below it.

    Raises:
        ConfigurationError: the file can not be made, read or written.
    """

    is_on_disk = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failed = False
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Unbuffered: what could not be written must not be tried again behind our back.
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0)
            _sync_folder(path.parent)
            self._starts, self._end, self._is_torn = _scan(path)
        except OSError as error:
            raise ConfigurationError(f"{path} can not be used: {error.strerror}") from error

    def count(self) -> int:
        """How many there are."""
        return len(self._starts)

    def line(self, number: int) -> bytes | None:
        """One line, None where it is not there."""
        if not 1 <= number <= len(self._starts):
            return None
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else self._end
        self._file.seek(start)
        return self._file.read(end - start)

    def add(self, line: bytes) -> None:
        """Add a line and wait until the disk has it.

        Raises:
            OSError: it is not there; what was written of it is taken back.
        """
        written = b"\n" * self._is_torn + line + b"\n"
        try:
            if self._end + len(written) > MOST_BYTES:
                raise OSError(errno.EFBIG, f"{self._path.name} has reached {MOST_BYTES >> 20} MiB: put it elsewhere")
            _write_whole(self._file.fileno(), written)
        except OSError:
            self._failed = True
            self._take_back()
            raise
        self._starts.append(self._end + self._is_torn)
        self._end += len(written)
        self._is_torn = self._failed = False

    def write_error(self) -> str | None:
        """Why the next line could not be added."""
        try:
            if not os.access(self._path, os.W_OK):
                return f"{self._path} is not writable"
            if shutil.disk_usage(self._path.parent).free < _LEFT_FREE_BYTES:
                return f"the disk of {self._path} is full"
            # What failed once is tried, and not believed: free space says nothing of quotas and broken disks.
            if self._failed:
                _try_to_write(self._path.with_suffix(".probe"))
                self._failed = False
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        return f"{self._path} has reached its {MOST_BYTES >> 20} MiB" if self._end >= MOST_BYTES else None

    def _take_back(self) -> None:
        with suppress(OSError):
            os.ftruncate(self._file.fileno(), self._end)
            os.fsync(self._file.fileno())
        if (size := os.fstat(self._file.fileno()).st_size) > self._end:
            # Half a line stays, as after a crash.
            self._starts.append(self._end + self._is_torn)
            self._end, self._is_torn = size, True


def _write_whole(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _try_to_write(path: Path) -> None:
    try:
        with path.open("wb") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)


def _scan(path: Path) -> tuple[list[int], int, bool]:
    """Where each line begins, where the last one ends, and whether that one is torn."""
    starts: list[int] = []
    end, last = 0, b"\n"
    for line in _lines_of(path):
        starts.append(end)
        end += len(line)
        last = line
    return starts, end, not last.endswith(b"\n")


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _sync_folder(folder: Path) -> None:
    # A new file is only on disk when its folder is. Windows has no such call, and needs none.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
