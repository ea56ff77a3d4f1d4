"""Log of all calls through the gateway: one entry per attempt, rejected ones included."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

OK = "ok"
"""Outcome of a successful call; every other outcome is a value of `FailureReason`."""

ProtocolName = Literal["rest", "mcp"]

# Every decision takes what there is. Without any, the plan's 10 calls a minute fill this in about a day.
_MAX_CALLS = 50_000


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt, as the gateway's log should contain it too."""

    api: str
    """Published name of the API or the MCP server."""
    protocol: ProtocolName
    """`rest` or `mcp`."""
    resource: str
    """Verb and path, the tool's name, or `tools/list`."""
    at: datetime
    """Time at which it was sent, by the run's clock."""
    status: int | None
    """HTTP status; None: no response."""
    outcome: str
    """`ok` or a value of `FailureReason`."""
    code: str | None = None
    """WSO2's error code, if the response has one."""
    correlation_id: str | None = None
    """Returned in `activityid`, else the one that was sent."""


class CallLog:
    """Calls since the last `take`, in the order in which they ended."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=_MAX_CALLS)

    def add(self, call: Call) -> None:
        """Add a call; beyond the bound the oldest is dropped."""
        self._calls.append(call)

    def take(self) -> tuple[Call, ...]:
        """Return and remove all calls."""
        taken = tuple(self._calls)
        self._calls.clear()
        return taken


class FailureReason(StrEnum):
    """Why a call failed or a reading could not be renewed."""

    TOKEN_REFUSED = "token_refused"
    TOKEN_UNAVAILABLE = "token_unavailable"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    NOT_SUBSCRIBED = "not_subscribed"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    TIMEOUT = "timeout"
    GATEWAY_DOWN = "gateway_down"
    BACKEND_FAILED = "backend_failed"
    BACKEND_REFUSED = "backend_refused"
    """The service does not accept the call as one from the gateway."""
    INVALID_READING = "invalid_reading"
    TOO_OLD = "too_old"
    LEASED = "leased"
    """For limits only: another client commands the chargers."""
