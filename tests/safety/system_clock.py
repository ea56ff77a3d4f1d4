"""A wall clock that a test can set, for every process of a stack, while their monotonic time goes on undisturbed.

Each process finds `sitecustomize.py` on PYTHONPATH when it starts; that adds an offset, read from a file, to what
`ev_service.clock.SystemClock` says. Nobody in the stack asks the system for the time but that class.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

_HOOK = """
from datetime import timedelta
from pathlib import Path

from ev_service.clock import SystemClock

_FILE = Path({file!r})
_now = SystemClock.now


def _shifted_now(self):
    return _now(self) + timedelta(seconds=float(_FILE.read_text()))


SystemClock.now = _shifted_now
"""


class SystemClockFile:
    """The wall clock of a stack's processes.

    Args:
        folder: where the hook and the offset are kept; goes onto PYTHONPATH of each process.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._file = folder / "offset_s"
        self._offset_s = 0.0
        self.shift(0.0)
        (folder / "sitecustomize.py").write_text(_HOOK.format(file=str(self._file)), encoding="utf-8")

    def now(self) -> datetime:
        """What the processes are told."""
        return datetime.now(UTC) + timedelta(seconds=self._offset_s)

    def shift(self, seconds: float) -> None:
        """Set the clock forward, or back where `seconds` is negative."""
        self._offset_s += seconds
        draft = self._file.with_suffix(".draft")
        draft.write_text(repr(self._offset_s), encoding="utf-8")
        draft.replace(self._file)
