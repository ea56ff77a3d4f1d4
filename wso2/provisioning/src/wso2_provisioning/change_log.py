"""Keeps count of what a run changes, or would change.

The one place where a dry run differs from a real one.
"""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class ChangeLog:
    """Carries out changes, or only notes them.

    made: what was changed, or would be. warnings: what was found and is left alone on purpose.
    """

    def __init__(self, *, is_dry_run: bool, report: Callable[[str], None]) -> None:
        self.is_dry_run = is_dry_run
        self.report = report
        self.entries: list[str] = []
        self.warnings: list[str] = []

    def apply(self, what: str, change: Callable[[], T]) -> T | None:
        """Carry out a change and return what it gives; in a dry run only note it and return None.

        Args:
            what: in the imperative, e.g. `add role Internal/solar_reader`.
            change: does it.
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
        """Note something that a person should look at."""
        self.report(f"note: {what}")
        self.warnings.append(what)
