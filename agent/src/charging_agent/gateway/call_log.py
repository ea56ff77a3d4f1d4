"""What was called through the gateway, and what came of it: one entry for every attempt, refusals included.

Pure: keeps, calls nothing.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

OK = "ok"
"""Outcome of a call that brought what it was made for; every other outcome is a word of `readings.Trouble`."""

ProtocolName = Literal["rest", "mcp"]

# Every decision takes what there is. Without any, the plan's 10 calls a minute fill this in about a day.
_MAX_CALLS = 50_000


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt, as the gateway's log should hold it too.

    api: name of the API or the MCP server, as published. resource: verb and path, the tool's name, or `tools/list`.
    at: when it was sent, in the run's clock. status: HTTP status, None when no answer came.
    outcome: `ok` or one word of trouble. code: WSO2's code, where the answer had one.
    correlation_id: the one that came back in `activityid`, else the one sent.
    """

    api: str
    protocol: ProtocolName
    resource: str
    at: datetime
    status: int | None
    outcome: str
    code: str | None = None
    correlation_id: str | None = None


class CallLog:
    """The calls since somebody last took them, in the order in which they ended."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque(maxlen=_MAX_CALLS)

    def add(self, call: Call) -> None:
        """Keep a call; the oldest goes where nobody takes any."""
        self._calls.append(call)

    def take(self) -> tuple[Call, ...]:
        """Every call since the last take."""
        taken = tuple(self._calls)
        self._calls.clear()
        return taken


class FailureReason(StrEnum):
    """Why a reading could not be renewed."""

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
    """The service does not take the call for one of the gateway's."""
    INVALID_READING = "invalid_reading"
    TOO_OLD = "too_old"
    LEASED = "leased"
    """Of limits alone: somebody else commands the chargers."""
