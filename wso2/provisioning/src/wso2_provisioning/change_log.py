"""Log of what a run changes, or would change in a dry run."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class ChangeLog:
    """Carries out changes, or in a dry run only logs them.

    Args:
        is_dry_run: change nothing.
        report: called with each line.
    """

    def __init__(self, *, is_dry_run: bool, report: Callable[[str], None]) -> None:
        self.is_dry_run = is_dry_run
        self.report = report
        self.entries: list[str] = []
        """What was changed, or would be."""
        self.warnings: list[str] = []
        """What was found and is left unchanged on purpose."""

    def apply(self, what: str, change: Callable[[], T]) -> T | None:
        """Carry out a change and return its result; in a dry run only log it and return None.

        Args:
            what: in the imperative, e.g. `add role Internal/solar_reader`.
            change: carries it out.
        """
        if self.is_dry_run:
            self.report(f"would {what}")
            self.entries.append(what)
            return None
        result = change()
        self.report(what)
        self.entries.append(what)
        return result

    def warn(self, what: str) -> None:
        """Log something that a person should check."""
        self.report(f"note: {what}")
        self.warnings.append(what)
