"""A small file that may be replaced while the process runs, such as a bundle of certificates.

Whoever asks gets what the file holds now, or what it last held that could be used: a file that is missing, cut off or
being written changes nothing, and is reported until it is mended.
"""

import logging
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_LARGEST_BYTES = 8 << 20
# Two changes within one tick of the file system's clock look the same: a file that has just changed is read once more
# after this time.
_SETTLED_S = 1.0


class WatchedFile(Generic[T]):
    """Reads a file again when it has changed.

    A look costs one `stat`; the file is read only after it changed. Not for use by several threads.
    """

    def __init__(
        self, path: Path, parse: Callable[[bytes], T], name: str, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the file for the first time.

        Args:
            path: the file.
            parse: makes a value of the file's content; raises OSError or ValueError where it cannot be used.
            name: the variable that names the file, for messages.
            monotonic_s: real time [s].

        Raises:
            OSError: the file cannot be read.
            ValueError: the file cannot be used.
        """
        self._path, self._parse, self._name = path, parse, name
        self._monotonic_s = monotonic_s
        self._obstacle: str | None = None
        self._content = self._load()
        self._value = parse(self._content)
        # Not yet looked at: the first `read` finds a change, and reads once more.
        self._signature: tuple[int, ...] | None = None
        self._changed_at_s = self._read_at_s = monotonic_s()

    def read(self) -> T:
        """What the file holds now, else what it last held that could be used; the same object until it changes."""
        signature, now_s = self._sign(), self._monotonic_s()
        if signature != self._signature:
            self._signature, self._changed_at_s = signature, now_s
        elif self._read_at_s >= self._changed_at_s + _SETTLED_S:
            return self._value
        self._renew(now_s)
        return self._value

    def read_error(self) -> str | None:
        """Why the file cannot be used now, in one sentence; None while it can."""
        self.read()
        return self._obstacle

    def _renew(self, now_s: float) -> None:
        try:
            content = self._load()
            self._read_at_s = now_s
            if content == self._content:
                self._accept(is_new=False)
                return
            self._value = self._parse(content)
        except (OSError, ValueError) as error:
            reason = f"{self._name} {self._path} cannot be used: {error}; what it held before is kept"
            if reason != self._obstacle:
                _logger.warning("file not read again", extra={"file": str(self._path), "reason": str(error)})
            self._obstacle = reason
            return
        self._content = content
        self._accept(is_new=True)

    def _accept(self, *, is_new: bool) -> None:
        if is_new or self._obstacle is not None:
            _logger.info("file read again", extra={"file": str(self._path), "changed": is_new})
        self._obstacle = None

    def _load(self) -> bytes:
        # Anything else, a pipe for one, could hold up whoever reads it, and cannot be read twice.
        if not stat.S_ISREG(self._path.stat().st_mode):
            raise ValueError("it is not a file")
        with self._path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
        if len(content) > _LARGEST_BYTES:
            raise ValueError(f"it is longer than {_LARGEST_BYTES} bytes")
        return content

    def _sign(self) -> tuple[int, ...] | None:
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_ino, seen.st_dev, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
