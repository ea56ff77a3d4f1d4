"""Which MCP servers still offer exactly the tools that somebody approved.

A description is what a model goes by: whoever changes it changes what is done with the tool, and a new tool was looked
at by nobody. So a server whose list differs in anything is not used at all, until the list is right again.
Knows no HTTP: it is told what a server lists.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ev_service.clock import Clock
from ev_service.errors import ConfigurationError
from wso2_terms.documents import ArtifactError
from wso2_terms.tools import Tool, ToolDifference, ToolsLock, compare_tools, read_tools_lock

_logger = logging.getLogger(__name__)

# One call of a hundred that the plan allows.
_GOOD_FOR = timedelta(minutes=10)
# Whoever put the list right waits no longer than this, at one call a minute.
_LOOK_AGAIN_AFTER = timedelta(minutes=1)
_MOST_SAID, _LONGEST_NAME = 5, 64


class ToolAllowlist:
    """Compares what each MCP server lists with the approved tools."""

    def __init__(
        self,
        approved: ToolsLock,
        servers: Sequence[str],
        clock: Clock,
        on_verdict: Callable[[str, bool], None] = lambda _server, _is_refused: None,
    ) -> None:
        if unknown := [server for server in servers if not approved.get(server)]:
            raise ConfigurationError(f"no tools of {', '.join(unknown)} are approved; make tools-approve writes them")
        self._servers = {server: _ServerState(approved, server, clock) for server in servers}
        self._on_verdict = on_verdict

    @classmethod
    def from_file(
        cls, path: Path, servers: Sequence[str], clock: Clock, on_verdict: Callable[[str, bool], None]
    ) -> "ToolAllowlist":
        """Read the lock once: what is approved later counts from the next start on.

        Raises:
            ConfigurationError: the file cannot be read, was changed by hand, or lacks a server.
        """
        try:
            approved = read_tools_lock(path)
        except ArtifactError as error:
            raise ConfigurationError(f"AGENT_TOOLS_LOCK_FILE: {error}") from error
        return cls(approved, servers, clock, on_verdict)

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
        self._on_verdict(server, self.is_refused(server))

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
        # A negative age is that of a clock set back.
        return not timedelta(0) <= age < (_LOOK_AGAIN_AFTER if self.differences else _GOOD_FOR)

    def check(self, listed: Sequence[Tool]) -> None:
        before, self.differences = self.differences, compare_tools(self._approved, listed)
        self._checked_at = self._clock.now()
        if self.differences and self.differences != before:
            # Names and parts alone: the text may be written for whoever reads the log.
            _logger.error(
                "tools are not those approved", extra={"server": self._server, "differs": self.describe_differences()}
            )
        elif before and not self.differences:
            _logger.info("tools are those approved again", extra={"server": self._server})

    def invalidate(self) -> None:
        # A refused server is looked at again in its own time: doubting it would cost a call each time.
        if not self.differences:
            self._checked_at = None

    def describe_differences(self) -> str:
        told = [_format_difference(each) for each in self.differences[:_MOST_SAID]]
        more = len(self.differences) - len(told)
        return ", ".join([*told, f"and {more} more"] if more else told)


def _format_difference(difference: ToolDifference) -> str:
    name = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in difference.name)
    return str(ToolDifference(difference.kind, name[:_LONGEST_NAME], difference.changed_parts))
