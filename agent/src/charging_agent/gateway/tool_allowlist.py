"""Which MCP servers still offer exactly the tools that were approved.

A model acts on a tool's description: whoever changes it changes what is done with the tool, and nobody has reviewed a
new tool. So a server whose list differs in anything is not used at all until the list is as approved again.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from wso2_terms.documents import ArtifactError
from wso2_terms.tools import Tool, ToolDifference, ToolsLock, compare_tools, read_tools_lock

_logger = logging.getLogger(__name__)

# Costs one call of a hundred that the plan allows.
_VALID_FOR = timedelta(minutes=10)
# After a correction the server is used again within this time, at one call a minute.
_RECHECK_AFTER = timedelta(minutes=1)
_MAX_DIFFERENCES, _MAX_NAME_LENGTH = 5, 64


class ToolCheckListener(Protocol):
    """Receives the result of each check."""

    def report_tool_check(self, server: str, is_refused: bool) -> None: ...


class ToolAllowlist:
    """Compares what each MCP server lists with the approved tools."""

    def __init__(
        self,
        approved: ToolsLock,
        servers: Sequence[str],
        clock: Clock,
        listener: ToolCheckListener | None = None,
    ) -> None:
        if unknown := [server for server in servers if not approved.get(server)]:
            raise ConfigurationError(f"no tools of {', '.join(unknown)} are approved; make tools-approve writes them")
        self._servers = {server: _ServerState(approved, server, clock) for server in servers}
        self._listener = listener

    @classmethod
    def from_file(
        cls, path: Path, servers: Sequence[str], clock: Clock, listener: ToolCheckListener | None = None
    ) -> "ToolAllowlist":
        """Read the lock once: what is approved later counts from the next start on.

        Raises:
            ConfigurationError: the file cannot be read, was changed by hand, or lacks a server.
        """
        try:
            approved = read_tools_lock(path)
        except ArtifactError as error:
            raise ConfigurationError(f"AGENT_TOOLS_LOCK_FILE: {error}") from error
        return cls(approved, servers, clock, listener)

    def is_due(self, server: str) -> bool:
        """Whether the list must be checked before the next call of this server."""
        return self._servers[server].is_due()

    def is_refused(self, server: str) -> bool:
        """Whether the last check found a difference."""
        return bool(self._servers[server].differences)

    def check(self, server: str, listed: Sequence[Tool]) -> None:
        """Compare the tools that a server lists with the approved ones.

        Raises:
            ValueError: something listed cannot be compared; the verdict stays as it was.
        """
        self._servers[server].check(listed)
        if self._listener is not None:
            self._listener.report_tool_check(server, self.is_refused(server))

    def invalidate(self, server: str) -> None:
        """Have the list checked before the next call: the server did not respond as expected."""
        self._servers[server].invalidate()

    def health_error(self) -> str | None:
        """Return which servers are refused and why, in one sentence; None: none."""
        refused = [
            f"{server} is refused ({pin.describe_differences()})"
            for server, pin in self._servers.items()
            if pin.differences
        ]
        return "; ".join(refused) or None


class _ServerState:
    """Result of the checks of one server."""

    def __init__(self, approved: ToolsLock, server: str, clock: Clock) -> None:
        self.differences: tuple[ToolDifference, ...] = ()
        self._approved = approved[server]
        self._server = server
        self._clock = clock
        self._checked_at: datetime | None = None

    def is_due(self) -> bool:
        if self._checked_at is None:
            return True
        age = self._clock.now() - self._checked_at
        # The age is negative if the clock was set back.
        return not timedelta(0) <= age < (_RECHECK_AFTER if self.differences else _VALID_FOR)

    def check(self, listed: Sequence[Tool]) -> None:
        before, self.differences = self.differences, compare_tools(self._approved, listed)
        self._checked_at = self._clock.now()
        if self.differences and self.differences != before:
            # Names and parts alone: the text of a description may be an attack on whoever reads the log.
            _logger.error(
                "tools are not those approved", extra={"server": self._server, "differs": self.describe_differences()}
            )
        elif before and not self.differences:
            _logger.info("tools are those approved again", extra={"server": self._server})

    def invalidate(self) -> None:
        # A refused server is checked again in its own time; checking it after each failure would cost a call each.
        if not self.differences:
            self._checked_at = None

    def describe_differences(self) -> str:
        parts: list[str] = []
        for difference in self.differences[:_MAX_DIFFERENCES]:
            name = "".join(char if char.isascii() and char.isprintable() else "?" for char in difference.name)
            parts.append(str(ToolDifference(difference.kind, name[:_MAX_NAME_LENGTH], difference.changed_parts)))
        if (more := len(self.differences) - len(parts)) > 0:
            parts.append(f"and {more} more")
        return ", ".join(parts)
