"""Call budgets: how many calls to an API are left, and when the next one is allowed.

WSO2 counts per UTC clock minute, so the agent does too; every attempt counts, retries included.
Source: WSO2 API Manager 4.6.0: the plan of each API and the application's limit for all APIs apply together.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from ev_service.errors import ConfigurationError
from wso2_terms import codes

_LIMITS_FILE = "limits.json"
APPLICATION_LIMIT = "*"
"""Name of the limit that the application has for all its APIs together, where it has one."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OF_THE_APPLICATION = frozenset({codes.APPLICATION_THROTTLED.code, codes.APPLICATION_BURST_THROTTLED.code})


@dataclass(frozen=True, slots=True)
class CallLimit:
    """Call limit of one application on one API."""

    requests: int | None = 10
    """Calls per window; None: no limit."""
    per_s: int = 60
    """Length of the window, aligned to the epoch [s]."""


class CallBudget:
    """Counts the calls to one API within the gateway's windows.

    Args:
        limit: what the plan allows.
        application: the budget of the application for all its APIs together; every call counts there too.
    """

    def __init__(self, limit: CallLimit, application: "CallBudget | None" = None) -> None:
        self.limit = limit
        self.application = application
        self._window = -1
        self._spent = 0
        self._closed_at = self._closed_until = _EPOCH

    def take(self, now: datetime) -> bool:
        """Spend one call; False if none is left or the gateway asked to wait."""
        budgets = [self] if self.application is None else [self, self.application]
        # Both are checked before one is spent: a call that the application may not make costs the API nothing.
        if any(budget.own_remaining(now) == 0 for budget in budgets):
            return False
        for budget in budgets:
            window = budget._window_of(now)
            budget._spent = budget._spent + 1 if window == budget._window else 1
            budget._window = window
        return True

    def remaining(self, now: datetime) -> int | None:
        """Calls left in the window of `now`, by this limit and the application's; None: no limit."""
        limits = [self.own_remaining(now), None if self.application is None else self.application.remaining(now)]
        return min((calls for calls in limits if calls is not None), default=None)

    def own_remaining(self, now: datetime) -> int | None:
        """Calls left by this limit alone; 0 while the gateway asks to wait, None for no limit."""
        if self._is_closed(now):
            return 0
        if self.limit.requests is None:
            return None
        return self.limit.requests - (self._spent if self._window_of(now) == self._window else 0)

    def has_more_than_half(self, now: datetime) -> bool:
        """Return whether more than half of the calls of the window of `now` are left, here and in the application."""
        left = self.own_remaining(now)
        is_enough = left is None or left * 2 > (self.limit.requests or 0)
        return is_enough and (self.application is None or self.application.has_more_than_half(now))

    def close_until(self, moment: datetime, now: datetime, code: str | None = None) -> None:
        """Allow no call from `now` until `moment`, as the gateway asked.

        Args:
            moment: when calls are allowed again.
            now: the run's time.
            code: WSO2's code of the refusal; that of the application's limit closes all APIs.
        """
        if self.application is not None and code in _OF_THE_APPLICATION:
            self.application.close_until(moment, now)
            return
        self._closed_until = max(self._closed_until, moment) if self._is_closed(now) else moment
        self._closed_at = now

    def window_end(self, now: datetime) -> datetime:
        """End of the gateway's window that holds `now`."""
        return _EPOCH + timedelta(seconds=(self._window_of(now) + 1) * self.limit.per_s)

    def _is_closed(self, now: datetime) -> bool:
        # If the clock was set back before the closing, the API would stay closed for that time in addition.
        return self._closed_at <= now < self._closed_until

    def _window_of(self, now: datetime) -> int:
        return int((now - _EPOCH).total_seconds() // self.limit.per_s)


def read_call_limits(limits_file: Path | None, client_secret_file: Path | None) -> dict[str, CallLimit]:
    """Limits that the bootstrap found on the gateway, by name of the API or MCP server, and `APPLICATION_LIMIT`.

    An API that is not in it has the default; without `APPLICATION_LIMIT` the application has no limit of its own.

    Args:
        limits_file: `AGENT_LIMITS_FILE`, which must be readable when set.
        client_secret_file: else `limits.json` beside it, where there is one.

    Raises:
        ConfigurationError: the file is not what the bootstrap writes.
    """
    path = limits_file
    if path is None and client_secret_file is not None:
        beside = client_secret_file.parent / _LIMITS_FILE
        path = beside if beside.exists() else None
    if path is None:
        return {}
    try:
        content = cast(dict[str, dict[str, Any]], json.loads(path.read_text(encoding="utf-8")))
        return {name: _parse_limit(entry) for name, entry in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"limits file {path} cannot be used: {error}") from error


def _parse_limit(entry: dict[str, Any]) -> CallLimit:
    requests, per_s = entry["requests"], int(entry["per_s"])
    if per_s <= 0 or (requests is not None and int(requests) < 0):
        raise ValueError(f"requests and per_s must be positive, got {entry}")
    return CallLimit(None if requests is None else int(requests), per_s)
