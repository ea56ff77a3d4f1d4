"""Counts calls and says when there are too many.

Quotas are counted by windows aligned to the epoch, which makes minutes UTC clock minutes; burst limits by windows
that open with their first call. Pure but for the counters that it holds: is told the time, asks nobody for it.
Source: WSO2 API Manager 4.6 (throttle policy templates, ThrottleHandler): refused calls are not counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from wso2_terms.codes import Fault

_MAX_WINDOWS = 10_000


@dataclass(frozen=True, slots=True)
class ThrottleLevel:
    """One limit that a call is counted against.

    count: calls allowed in a window of window_s [s]. is_aligned: windows follow the clock, else the first call.
    """

    key: tuple[str, ...]
    count: int
    window_s: int
    fault: Fault
    is_aligned: bool


@dataclass(frozen=True, slots=True)
class LimitExceeded:
    """The first limit that refuses, and when its window ends [s since epoch]."""

    level: ThrottleLevel
    ends_s: float


@dataclass(slots=True)
class _Window:
    ends_s: float
    count: int


class Throttle:
    """The counters of one gateway."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, ...], _Window] = {}

    def admit(self, levels: Iterable[ThrottleLevel], now_s: float) -> LimitExceeded | None:
        """Count a call, unless a level refuses it.

        Args:
            levels: in the order in which they are asked.
            now_s: the run's time [s since epoch].

        Returns:
            What refused, None when the call may pass.
        """
        counted: list[tuple[ThrottleLevel, _Window]] = []
        for level in levels:
            window = self._windows.get(level.key)
            if window is None or window.ends_s <= now_s:
                window = self._open_window(level, now_s)
            if window.count >= level.count:
                return LimitExceeded(level, window.ends_s)
            counted.append((level, window))
        for _, window in counted:
            window.count += 1
        return None

    def _open_window(self, level: ThrottleLevel, now_s: float) -> _Window:
        if len(self._windows) >= _MAX_WINDOWS:
            self._windows = {key: window for key, window in self._windows.items() if window.ends_s > now_s}
        ends_s = (now_s // level.window_s + 1) * level.window_s if level.is_aligned else now_s + level.window_s
        window = self._windows[level.key] = _Window(ends_s, 0)
        return window
