"""How many calls to one API are left, and when the next one is allowed.

Pure: WSO2 counts by UTC clock minute, so the agent does too; every attempt counts, retries included.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Limit:
    """What the gateway allows one application on one API.

    requests: calls in a window, None for no limit. per_s [s]: length of the window, aligned to the epoch.
    """

    requests: int | None = 10
    per_s: int = 60


class CallBudget:
    """Counts the calls to one API within the gateway's windows."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._window = -1
        self._spent = 0
        self._closed_at = self._closed_until = _EPOCH

    def take(self, now: datetime) -> bool:
        """Spend one call; False when none is left or the gateway said to wait."""
        if self._is_closed(now):
            return False
        window = self._window_of(now)
        if window != self._window:
            self._window, self._spent = window, 0
        if self.limit.requests is not None and self._spent >= self.limit.requests:
            return False
        self._spent += 1
        return True

    def left(self, now: datetime) -> int | None:
        """Calls left in the window of `now`; None for no limit."""
        if self.limit.requests is None:
            return None
        if self._is_closed(now):
            return 0
        return self.limit.requests - (self._spent if self._window_of(now) == self._window else 0)

    def close_until(self, moment: datetime, now: datetime) -> None:
        """Make no call from `now` until `moment`: the gateway said so."""
        self._closed_until = max(self._closed_until, moment) if self._is_closed(now) else moment
        self._closed_at = now

    def window_end(self, now: datetime) -> datetime:
        """End of the gateway's window that holds `now`."""
        return _EPOCH + timedelta(seconds=(self._window_of(now) + 1) * self.limit.per_s)

    def _is_closed(self, now: datetime) -> bool:
        # A clock that was set back behind the closing would keep the API closed for as long as it was set back.
        return self._closed_at <= now < self._closed_until

    def _window_of(self, now: datetime) -> int:
        return int((now - _EPOCH).total_seconds() // self.limit.per_s)
